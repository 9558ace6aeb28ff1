// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/interrupt.h"

#include "base/clock.h"
#include "nvme/controller-private.h"

/* Feature 08h, section 5.21.1.8 */
#define THRESHOLD(coalescing) ((coalescing)&0xff) /* 0-based */
#define TIME_NS(coalescing)   (((coalescing) >> 8 & 0xff) * 100000ULL)

#define DUE_NOW		      1 /* long ago */

static void call_intx(void *opaque, unsigned unused)
{
	struct nvme_worker *worker = opaque;

	nvme_host_call(worker->ctrl->host, NVME_HOST_CONTROL, &worker->intx_call);
}

void nvme_interrupt_level(struct nvme_worker *worker)
{
	if (!__atomic_exchange_n(&worker->intx_called, true, __ATOMIC_ACQ_REL))
		nvme_host_after_writes(worker->ctrl->host, worker->index, call_intx, worker, 0);
}

static bool may_wait(const struct nvme_cq *cq, uint32_t coalescing)
{
	const struct nvme_controller *ctrl = cq->worker->ctrl;
	unsigned vector = cq->state->vector;

	return TIME_NS(coalescing) > 0 && cq->id && READ_ONCE(ctrl->msix) &&
	       cq->posted <= THRESHOLD(coalescing) &&
	       !(READ_ONCE(ctrl->state->features.vectors_uncoalesced[vector / 64]) >>
			 (vector % 64) &
		 1);
}

bool nvme_interrupt_is_due(struct nvme_cq *cq)
{
	uint32_t coalescing = READ_ONCE(cq->worker->ctrl->state->features.coalescing);
	uint64_t now;

	if (!cq->notify || cq->due == DUE_NOW || !may_wait(cq, coalescing))
		return cq->notify;
	now = clock_ns(CLOCK_MONOTONIC);
	if (!cq->due)
		cq->due = now + TIME_NS(coalescing);
	return now >= cq->due;
}

void nvme_interrupt_now(struct nvme_cq *cq)
{
	cq->notify = true;
	cq->due = DUE_NOW;
}

int64_t nvme_interrupt_wait(const struct nvme_cq *cq)
{
	uint64_t now;

	if (!cq->notify || !cq->due)
		return -1;
	now = clock_ns(CLOCK_MONOTONIC);
	return now >= cq->due ? 0 : (int64_t)(cq->due - now);
}

bool nvme_interrupt_flush(struct nvme_cq *cq)
{
	struct nvme_worker *worker = cq->worker;
	struct nvme_controller *ctrl = worker->ctrl;

	if (!nvme_interrupt_is_due(cq))
		return false;
	cq->notify = false;
	cq->posted = 0;
	cq->due = 0;
	if (!cq->state->interrupts)
		return true;
	if (READ_ONCE(ctrl->msix))
		nvme_host_interrupt(ctrl->host, worker->index, cq->state->vector);
	else
		nvme_interrupt_level(worker);
	return true;
}

void nvme_interrupt_intx_call(struct nvme_host_call *call)
{
	struct nvme_worker *worker = container_of(call, struct nvme_worker, intx_call);

	/* First, so that what is posted from here on calls again. */
	(void)__atomic_exchange_n(&worker->intx_called, false, __ATOMIC_ACQ_REL);
	nvme_interrupt_update_intx(worker->ctrl);
}

void nvme_interrupt_update_intx(struct nvme_controller *ctrl)
{
	const struct nvme_state *state = ctrl->state;
	bool asserted = false;

	for (unsigned id = 0; !ctrl->msix && id < NVME_MAX_QUEUES; id++) {
		const struct nvme_state_cq *cq = &state->cqs[id];

		/* Without MSI-X the only vector is 0, see Create I/O Completion Queue. */
		if (LOAD_ACQUIRE(cq->entries) && cq->interrupts && !cq->vector &&
		    NVME_POSITION_SLOT(READ_ONCE(cq->position)) != cq->head)
			asserted = true;
	}
	nvme_host_set_intx(ctrl->host, asserted && !(state->registers.intms & 1));
}
