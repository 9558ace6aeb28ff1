/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_INTERRUPT_H
#define NVME_INTERRUPT_H

#include "nvme/queue.h"

/*
 * Theory of operation
 *
 * With MSI-X a completion queue signals its vector once a poll, however many completions the poll
 * posted. Without, there is the INTx level: asserted while any queue with interrupts enabled is not
 * empty and its vector is not masked by INTMS. The level belongs to the control thread, which sees
 * heads move and masks change; a worker that has posted sends it a call, at most one at a time.
 */
struct nvme_controller;

/** nvme_interrupt_flush() - signal if something was posted since the last time. Return: was it? */
bool nvme_interrupt_flush(struct nvme_cq *cq);

/** nvme_interrupt_level() - tails or heads of @worker have moved: have the level computed anew; without
 * MSI-X */
void nvme_interrupt_level(struct nvme_worker *worker);

/** nvme_interrupt_update_intx() - compute the level anew; control thread */
void nvme_interrupt_update_intx(struct nvme_controller *ctrl);

/** nvme_interrupt_intx_call() - a worker's intx_call */
void nvme_interrupt_intx_call(struct nvme_host_call *call);

#endif
