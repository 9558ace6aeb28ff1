/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_DOORBELL_H
#define NVME_DOORBELL_H

#include "nvme/queue.h"

/*
 * Theory of operation
 *
 * The only place that knows where a queue's tail or head comes from. Today: the guest writes a
 * register, the access is trapped, the control thread checks the value and stores it in the state,
 * and kicks the worker. The worker reads what is stored, so a doorbell costs it no system call and
 * many writes between two polls cost it one read.
 *
 * Store then kick on one side, and arm then look again on the other, are each separated by a full
 * fence, so that not both can miss the other's (Dekker).
 */
struct nvme_controller;

/**
 * nvme_doorbell_write() - control thread
 * @index: of the register: 2 * qid for a submission queue's tail, 2 * qid + 1 for a completion
 *queue's head
 *
 * What is wrong with it is reported by an asynchronous event (section 5.2, error status).
 */
void nvme_doorbell_write(struct nvme_controller *ctrl, unsigned index, uint32_t value);

static inline unsigned nvme_doorbell_sq_tail(const struct nvme_sq *sq)
{
	return LOAD_ACQUIRE(sq->state->tail);
}

static inline unsigned nvme_doorbell_cq_head(const struct nvme_cq *cq)
{
	return LOAD_ACQUIRE(cq->state->head);
}

/** nvme_doorbell_arm() - the worker is about to look for the last time before it sleeps */
static inline void nvme_doorbell_arm(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

#endif
