// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/doorbell.h"

#include "base/log.h"
#include "nvme/async-event.h"
#include "nvme/controller-private.h"
#include "nvme/interrupt.h"

static void kick(struct nvme_controller *ctrl, unsigned cqid)
{
	nvme_host_kick(ctrl->host, nvme_controller_worker_of(ctrl, cqid));
}

/* Is there such a queue, and is the value inside it? */
static bool judge(struct nvme_controller *ctrl, unsigned index, uint32_t value, uint32_t entries)
{
	if (value < entries)
		return true;
	log_guest(LOG_NOTICE, "guest wrote %u to the doorbell of %s queue %u, which has %u entries",
		  value, index & 1 ? "completion" : "submission", index / 2, entries);
	nvme_async_event_raise(ctrl,
			       entries ? NVME_EVENT_DOORBELL_VALUE : NVME_EVENT_DOORBELL_REGISTER);
	return false;
}

static void write_tail(struct nvme_controller *ctrl, unsigned id, uint32_t value)
{
	struct nvme_state_sq *sq = &ctrl->state->sqs[id];

	if (!judge(ctrl, id * 2, value, LOAD_ACQUIRE(sq->entries)))
		return;
	STORE_RELEASE(sq->tail, value);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	kick(ctrl, READ_ONCE(sq->cqid));
}

static void write_head(struct nvme_controller *ctrl, unsigned id, uint32_t value)
{
	struct nvme_state_cq *cq = &ctrl->state->cqs[id];

	if (!judge(ctrl, id * 2 + 1, value, LOAD_ACQUIRE(cq->entries)))
		return;
	STORE_RELEASE(cq->head, value);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	/* Mostly it is only told that there is room where there was enough. The admin queue has more
	 * that waits for room than completions. */
	if (!id || READ_ONCE(ctrl->cqs[id].starved))
		kick(ctrl, id);
	if (!ctrl->msix)
		nvme_interrupt_update_intx(ctrl);
}

void nvme_doorbell_write(struct nvme_controller *ctrl, unsigned index, uint32_t value)
{
	unsigned id = index / 2;

	if (ctrl->phase != NVME_RUNNING)
		return;
	if (id >= NVME_MAX_QUEUES)
		judge(ctrl, index, value, 0);
	else if (index & 1)
		write_head(ctrl, id, value);
	else
		write_tail(ctrl, id, value);
}
