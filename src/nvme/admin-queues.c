// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/admin.h"

#include "nvme/controller-private.h"
#include "nvme/doorbell.h"

static struct nvme_controller *controller_of(struct nvme_request *request)
{
	return request->worker->ctrl;
}

/* QID of all four commands, section 5.3 to 5.6. */
static unsigned id_of(const struct nvme_request *request)
{
	return request->command.cdw10 & 0xffff;
}

static unsigned entries_of(const struct nvme_request *request)
{
	return (request->command.cdw10 >> 16) + 1;
}

static bool id_in_range(struct nvme_request *request, unsigned id)
{
	return id && id <= controller_of(request)->config.queues;
}

static struct nvme_request *request_of(struct nvme_host_call *call)
{
	return container_of(call, struct nvme_request, call);
}

static void run_step(struct nvme_host_call *call)
{
	struct nvme_request *request = request_of(call);
	struct nvme_controller *ctrl = controller_of(request);

	request->step(request);
	__atomic_fetch_sub(&ctrl->steps, 1, __ATOMIC_SEQ_CST);
}

void nvme_admin_go_on(struct nvme_request *request, unsigned index,
		      void (*step)(struct nvme_request *request))
{
	__atomic_fetch_add(&controller_of(request)->steps, 1, __ATOMIC_SEQ_CST);
	request->step = step;
	request->step_worker = index;
	request->call.run = run_step;
	nvme_host_call(controller_of(request)->host, index, &request->call);
}

/* The owner may have ended this epoch before our call came: then the queue is gone already. */
static struct nvme_worker *owner_of(struct nvme_request *request, unsigned cqid)
{
	struct nvme_controller *ctrl = controller_of(request);
	struct nvme_worker *owner = ctrl->workers[nvme_controller_worker_of(ctrl, cqid)];

	return owner->dropped_epoch == ctrl->epoch ? NULL : owner;
}

static void succeed(struct nvme_request *request)
{
	nvme_request_complete(request, NVME_SUCCESS);
}

/* What both kinds of queue have in common: memory and size. */
static nvme_status judge_ring(struct nvme_request *request, unsigned entry_shift,
			      unsigned wanted_shift)
{
	unsigned entries = entries_of(request);

	if (entry_shift != wanted_shift || entries < 2 || entries > NVME_MAX_IO_ENTRIES)
		return NVME_INVALID_QUEUE_SIZE | NVME_DNR;
	if (!(request->command.cdw11 & NVME_QUEUE_CONTIGUOUS)) /* CAP.CQR */
		return nvme_invalid_field(request, cdw11);
	if (request->command.prp1 % NVME_PAGE_SIZE)
		return NVME_PRP_OFFSET_INVALID | NVME_DNR;
	return 0;
}

static nvme_status judge_create_cq(struct nvme_request *request)
{
	struct nvme_controller *ctrl = controller_of(request);
	unsigned id = id_of(request), vector = request->command.cdw11 >> 16;
	uint32_t cc = READ_ONCE(ctrl->state->registers.cc);
	nvme_status status;

	if (!id_in_range(request, id) || ctrl->state->cqs[id].entries)
		return NVME_INVALID_QUEUE_ID | NVME_DNR;
	status = judge_ring(request, NVME_CC_IOCQES(cc), NVME_CQE_SHIFT);
	if (status)
		return status;
	if ((request->command.cdw11 & NVME_CQ_INTERRUPTS) &&
	    vector >= (READ_ONCE(ctrl->msix) ? ctrl->config.vectors : 1))
		return NVME_INVALID_VECTOR | NVME_DNR;
	return 0;
}

static void create_cq_on_owner(struct nvme_request *request)
{
	unsigned id = id_of(request);
	struct nvme_worker *owner = owner_of(request, id);

	if (owner)
		nvme_cq_start(&controller_of(request)->cqs[id], owner);
	nvme_admin_go_on(request, 0, succeed);
}

void nvme_admin_create_cq(struct nvme_request *request)
{
	struct nvme_controller *ctrl = controller_of(request);
	unsigned id = id_of(request);
	struct nvme_state_cq *cq;
	nvme_status status;

	/* A predecessor did, and could not say so; the queue came with its state. */
	if (nvme_request_was_judged(request) && ctrl->state->cqs[id].entries) {
		succeed(request);
		return;
	}
	status = judge_create_cq(request);
	if (!status)
		status = nvme_doorbell_clear(ctrl, id * 2 + 1);
	if (status) {
		nvme_request_complete(request, status);
		return;
	}
	nvme_request_judged(request);
	cq = &ctrl->state->cqs[id];
	cq->base = request->command.prp1;
	cq->interrupts = request->command.cdw11 & NVME_CQ_INTERRUPTS ? 1 : 0;
	cq->vector = cq->interrupts ? request->command.cdw11 >> 16 : 0;
	WRITE_ONCE(cq->position, 1u << NVME_POSITION_PHASE);
	WRITE_ONCE(cq->head, 0);
	/* The control thread takes doorbells from here on. */
	NVME_STORE(cq->entries, entries_of(request));
	nvme_admin_go_on(request, nvme_controller_worker_of(ctrl, id), create_cq_on_owner);
}

static nvme_status judge_create_sq(struct nvme_request *request)
{
	struct nvme_controller *ctrl = controller_of(request);
	unsigned id = id_of(request), cqid = request->command.cdw11 >> 16;
	uint32_t cc = READ_ONCE(ctrl->state->registers.cc);

	if (!id_in_range(request, id) || ctrl->state->sqs[id].entries)
		return NVME_INVALID_QUEUE_ID | NVME_DNR;
	if (!id_in_range(request, cqid))
		return NVME_INVALID_QUEUE_ID | NVME_DNR;
	if (!ctrl->state->cqs[cqid].entries || ctrl->cqs[cqid].leaving)
		return NVME_CQ_INVALID | NVME_DNR;
	return judge_ring(request, NVME_CC_IOSQES(cc), NVME_SQE_SHIFT);
}

static void create_sq_on_owner(struct nvme_request *request)
{
	struct nvme_controller *ctrl = controller_of(request);
	unsigned id = id_of(request), cqid = ctrl->state->sqs[id].cqid;

	if (owner_of(request, cqid))
		nvme_sq_start(&ctrl->sqs[id], &ctrl->cqs[cqid]);
	nvme_admin_go_on(request, 0, succeed);
}

void nvme_admin_create_sq(struct nvme_request *request)
{
	struct nvme_controller *ctrl = controller_of(request);
	unsigned id = id_of(request), cqid = request->command.cdw11 >> 16;
	struct nvme_state_sq *sq;
	nvme_status status;

	if (nvme_request_was_judged(request) && ctrl->state->sqs[id].entries) {
		succeed(request);
		return;
	}
	status = judge_create_sq(request);
	if (!status)
		status = nvme_doorbell_clear(ctrl, id * 2);
	if (status) {
		nvme_request_complete(request, status);
		return;
	}
	nvme_request_judged(request);
	sq = &ctrl->state->sqs[id];
	sq->base = request->command.prp1;
	nvme_journal_clear(ctrl->state, id);
	WRITE_ONCE(sq->cqid, cqid);
	WRITE_ONCE(sq->tail, 0);
	NVME_STORE(sq->entries, entries_of(request));
	nvme_admin_go_on(request, nvme_controller_worker_of(ctrl, cqid), create_sq_on_owner);
}

static void sq_deleted(struct nvme_request *request)
{
	struct nvme_controller *ctrl = controller_of(request);
	unsigned id = id_of(request);

	NVME_STORE(ctrl->state->sqs[id].entries, 0);
	ctrl->sqs[id].leaving = false;
	succeed(request);
}

void nvme_admin_sq_idle(struct nvme_sq *sq)
{
	struct nvme_request *request = sq->deletion;

	sq->deletion = NULL;
	if (sq->live)
		nvme_sq_stop(sq);
	nvme_admin_go_on(request, 0, sq_deleted);
}

/* Completions that found no room: the guest that deletes the queue does not wait for them. */
static void drop_waiting(struct nvme_sq *sq)
{
	struct nvme_request_list waiting = sq->cq->waiting;
	struct nvme_request *request;

	if (!waiting.first)
		return;
	nvme_request_list_init(&sq->cq->waiting);
	while ((request = nvme_request_list_take(&waiting))) {
		if (request->sq == sq)
			nvme_request_drop(request);
		else
			nvme_request_list_append(&sq->cq->waiting, request);
	}
}

static void delete_sq_on_owner(struct nvme_request *request)
{
	struct nvme_controller *ctrl = controller_of(request);
	struct nvme_sq *sq = &ctrl->sqs[id_of(request)];

	if (!owner_of(request, sq->state->cqid)) {
		nvme_admin_go_on(request, 0, sq_deleted);
		return;
	}
	drop_waiting(sq);
	sq->deletion = request;
	nvme_throttle_hurry(sq->worker);
	nvme_sq_check_idle(sq);
}

void nvme_admin_delete_sq(struct nvme_request *request)
{
	struct nvme_controller *ctrl = controller_of(request);
	unsigned id = id_of(request);

	/* A predecessor did, and could not say so. */
	if (nvme_request_was_judged(request) && !ctrl->state->sqs[id].entries) {
		succeed(request);
		return;
	}
	if (!id_in_range(request, id) || !ctrl->state->sqs[id].entries || ctrl->sqs[id].leaving) {
		nvme_request_complete(request, NVME_INVALID_QUEUE_ID | NVME_DNR);
		return;
	}
	nvme_request_judged(request);
	ctrl->sqs[id].leaving = true;
	nvme_admin_go_on(request, nvme_controller_worker_of(ctrl, ctrl->state->sqs[id].cqid),
			 delete_sq_on_owner);
}

static nvme_status judge_delete_cq(struct nvme_request *request)
{
	struct nvme_controller *ctrl = controller_of(request);
	unsigned id = id_of(request);

	if (!id_in_range(request, id) || !ctrl->state->cqs[id].entries || ctrl->cqs[id].leaving)
		return NVME_INVALID_QUEUE_ID | NVME_DNR;
	for (unsigned i = 1; i < NVME_MAX_QUEUES; i++)
		if (ctrl->state->sqs[i].entries && ctrl->state->sqs[i].cqid == id)
			return NVME_INVALID_QUEUE_DELETION | NVME_DNR;
	return 0;
}

static void cq_deleted(struct nvme_request *request)
{
	struct nvme_controller *ctrl = controller_of(request);
	unsigned id = id_of(request);

	NVME_STORE(ctrl->state->cqs[id].entries, 0);
	ctrl->cqs[id].leaving = false;
	succeed(request);
}

static void delete_cq_on_owner(struct nvme_request *request)
{
	unsigned id = id_of(request);

	if (owner_of(request, id))
		nvme_cq_stop(&controller_of(request)->cqs[id]);
	nvme_admin_go_on(request, 0, cq_deleted);
}

void nvme_admin_delete_cq(struct nvme_request *request)
{
	struct nvme_controller *ctrl = controller_of(request);
	unsigned id = id_of(request);
	nvme_status status;

	if (nvme_request_was_judged(request) && !ctrl->state->cqs[id].entries) {
		succeed(request);
		return;
	}
	status = judge_delete_cq(request);
	if (status) {
		nvme_request_complete(request, status);
		return;
	}
	nvme_request_judged(request);
	ctrl->cqs[id].leaving = true;
	nvme_admin_go_on(request, nvme_controller_worker_of(ctrl, id), delete_cq_on_owner);
}
