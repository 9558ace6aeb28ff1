/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_DOORBELL_H
#define NVME_DOORBELL_H

#include "nvme/queue.h"

/*
 * Theory of operation
 *
 * The only place that knows where a queue's tail or head comes from. There are three ways.
 *
 * Trapped: the guest writes a register, the control thread checks the value and stores it in the
 * state, and kicks the worker. The worker reads what is stored, so a doorbell costs it no system
 * call and many writes between two polls cost it one read.
 *
 * Shadow doorbells (sections 5.7 and 7.13): the guest gave us two pages of its memory. In one it
 * stores the value of each doorbell, in the other we store an event index for each: only when its
 * new value passes that, it writes the register as well. The worker samples the values of its queues
 * at each poll, judges them as trapped ones, and puts them into the state, where the rest of the
 * controller finds them. A trapped write is a kick then and its value of no interest, as the guest
 * has stored it before. While the worker is awake it keeps the event indexes
 * behind the guest, which passes them never. The admin queue has no shadow: no driver keeps one.
 *
 * Mapped: the client has mapped the page of the registers, and nothing is told of a store there. The
 * worker samples it at each poll as it does with shadow doorbells, the admin queue's too, and while
 * there are queues it sleeps for a bounded time only (nvme_worker_looks()). There are no shadow
 * doorbells then, for there is nothing that they would spare. The page outlives the process and is
 * what counts: a write that a client sends all the same goes there first. But it does not travel:
 * where the state has come from elsewhere, and the page is new, it is made to say what the state does.
 *
 * Not losing a doorbell. Store then kick on one side, and arm then look again on the other, are each
 * separated by a full fence, so that not both can miss the other's (Dekker). With shadow doorbells
 * the guest is the one side: it stores its value, then (full fence) reads the event index. To arm is
 * to store the sampled value as the event index. Where that goes by message it is there only when the
 * message is acknowledged: then comes a kick and the worker looks again.
 *
 * A completion queue's event index is stored only when the head matters at once: completions wait
 * for room, or the level of INTx depends on it.
 */
struct nvme_controller;
struct nvme_worker;

/* `shadow` and `event` of a queue: what was sampled last, and the event index stored last. This is
 * no value of a doorbell: not yet. */
#define NVME_DOORBELL_UNKNOWN UINT32_MAX

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

/** nvme_doorbell_sample() - look at the shadow doorbells of the worker's queues */
void nvme_doorbell_sample(struct nvme_worker *worker);

/** nvme_doorbell_arm() - the worker is about to look for the last time before it sleeps */
void nvme_doorbell_arm(struct nvme_worker *worker);

/** nvme_doorbell_disarm() - the worker is awake again, and has posted nothing yet */
void nvme_doorbell_disarm(struct nvme_worker *worker);

/** nvme_doorbell_start() - the controller is being enabled: mapped registers are 0 */
void nvme_doorbell_start(struct nvme_controller *ctrl);

/** nvme_doorbell_adopt() - a predecessor's state; the mapped registers may be new */
void nvme_doorbell_adopt(struct nvme_controller *ctrl);

/** nvme_doorbell_has_config() - is Doorbell Buffer Config offered? */
bool nvme_doorbell_has_config(const struct nvme_controller *ctrl);

/** nvme_doorbell_config() - Doorbell Buffer Config, the admin command */
void nvme_doorbell_config(struct nvme_request *request);

/** nvme_doorbell_clear() - a queue is being created: its shadow or mapped doorbell is an older one's; worker
 * 0. 0 or the status. */
nvme_status nvme_doorbell_clear(struct nvme_controller *ctrl, unsigned index);

#endif
