/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VFIO_USER_IRQ_H
#define VFIO_USER_IRQ_H

#include "base/util.h"

/* The eventfds that SET_IRQS gave us, per index (INTx, MSI, MSI-X, error, request) and vector. */
struct vfio_user_irq;

/**
 * vfio_user_irq_trigger() - write the eventfd of @vector of the index that is in use (MSI-X or MSI)
 *
 * Any thread, lock-free; a vector without an eventfd or masked is remembered as pending where
 * SET_IRQS says so, else nothing happens. The eventfd stays open while any thread is inside
 * (changes happen between dma_pause and dma_resume).
 */
void vfio_user_irq_trigger(struct vfio_user_irq *irq, unsigned vector);

/** vfio_user_irq_set_intx() - the level of INTx#; the eventfd is written at the rising edge and at
 * unmask while high */
void vfio_user_irq_set_intx(struct vfio_user_irq *irq, bool level);

/** vfio_user_irq_trigger_all() - every vector that has an eventfd, once (after adoption, replay) */
void vfio_user_irq_trigger_all(struct vfio_user_irq *irq);

#endif
