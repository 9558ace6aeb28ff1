/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VFIO_USER_IRQ_INTERNAL_H
#define VFIO_USER_IRQ_INTERNAL_H

#include <linux/vfio.h>

#include "vfio-user/irq.h"

/** vfio_user_irq_new() - @counts: vectors per index, VFIO_PCI_NUM_IRQS of them */
struct vfio_user_irq *vfio_user_irq_new(const uint32_t *counts);
void vfio_user_irq_free(struct vfio_user_irq *irq);

/** vfio_user_irq_unmask_fd() - the eventfd by which the client unmasks INTx; -1: none */
int vfio_user_irq_unmask_fd(const struct vfio_user_irq *irq);
/** vfio_user_irq_unmask_by_fd() - that eventfd is readable */
void vfio_user_irq_unmask_by_fd(struct vfio_user_irq *irq);

#endif
