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
 *
 * A guest may want fewer interrupts (features 08h and 09h): then a queue's completions wait for their
 * interrupt until there are more of them than the threshold, or the first has waited for the time.
 * Each queue counts for itself, as vectors are not shared between queues where it matters, and the
 * admin queue and INTx never wait. The worker sleeps no longer than until the next is due. What must
 * be told after a freeze or by a successor is told at once.
 */
struct nvme_controller;

/** nvme_interrupt_flush() - signal if something was posted since the last time, unless it can wait.
 * Return: was it? */
bool nvme_interrupt_flush(struct nvme_cq *cq);

/** nvme_interrupt_is_due() - would nvme_interrupt_flush() signal? */
bool nvme_interrupt_is_due(struct nvme_cq *cq);

/** nvme_interrupt_now() - signal at the next occasion, whatever was posted */
void nvme_interrupt_now(struct nvme_cq *cq);

/** nvme_interrupt_wait() - nanoseconds until what waits is due; -1: nothing waits */
int64_t nvme_interrupt_wait(const struct nvme_cq *cq);

/** nvme_interrupt_level() - tails or heads of @worker have moved: have the level computed anew; without
 * MSI-X */
void nvme_interrupt_level(struct nvme_worker *worker);

/** nvme_interrupt_update_intx() - compute the level anew; control thread */
void nvme_interrupt_update_intx(struct nvme_controller *ctrl);

/** nvme_interrupt_intx_call() - a worker's intx_call */
void nvme_interrupt_intx_call(struct nvme_host_call *call);

#endif
