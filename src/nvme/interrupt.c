// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/interrupt.h"

#include "nvme/controller-private.h"

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

bool nvme_interrupt_flush(struct nvme_cq *cq)
{
	struct nvme_worker *worker = cq->worker;
	struct nvme_controller *ctrl = worker->ctrl;

	if (!cq->notify)
		return false;
	cq->notify = false;
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
