// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/queue.h"

#include "nvme/controller-private.h"
#include "nvme/doorbell.h"

/* Commands taken of one queue before the next has its turn. */
#define BATCH 32

void nvme_cq_start(struct nvme_cq *cq, struct nvme_worker *worker)
{
	cq->worker = worker;
	cq->notify = false;
	nvme_request_list_init(&cq->waiting);
	nvme_ring_init(&cq->ring, worker->ctrl->host, cq->state->base,
		       (size_t)cq->state->entries << NVME_CQE_SHIFT, NVME_HOST_WRITE);
	cq->live = true;
	nvme_worker_add_cq(worker, cq);
}

void nvme_cq_stop(struct nvme_cq *cq)
{
	struct nvme_request *request;

	cq->live = false;
	nvme_worker_remove_cq(cq->worker, cq);
	while ((request = nvme_request_list_take(&cq->waiting)))
		nvme_request_drop(request);
}

bool nvme_cq_can_post(struct nvme_cq *cq)
{
	const struct nvme_controller *ctrl = cq->worker->ctrl;
	unsigned next = cq->state->tail + 1u;

	if (next == cq->state->entries)
		next = 0;
	if (next == nvme_doorbell_cq_head(cq) || !READ_ONCE(ctrl->bus_master))
		return false;
	switch (nvme_ring_access(&cq->ring)) {
	case NVME_RING_DIRECT:
		return !nvme_host_writes_pending(cq->ring.host, cq->worker->index) ||
		       nvme_host_write_room(cq->ring.host);
	case NVME_RING_MESSAGE:
		return nvme_host_write_room(cq->ring.host);
	case NVME_RING_UNMAPPED:
		break;
	}
	return false;
}

/*
 * The guest polls the phase, which is in the last dword: everything else must be there before, and
 * that dword must appear at once.
 */
static void write_direct(struct nvme_completion *slot, const struct nvme_completion *cqe)
{
	memcpy(slot, cqe, offsetof(struct nvme_completion, last));
	STORE_RELEASE(slot->last, cqe->last);
}

void nvme_cq_post(struct nvme_cq *cq, const struct nvme_sq *sq, uint16_t cid, nvme_status status,
		  uint32_t result)
{
	struct nvme_state_cq *state = cq->state;
	const struct nvme_completion cqe = {
		.result = result,
		.sq_head = sq->state->head,
		.sqid = sq->id,
		.last = cid | (uint32_t)state->phase << 16 | (uint32_t)status << 17,
	};

	/* The guest may look at the queue without an interrupt: it must not see the completion before
	 * data that goes by message. */
	if (nvme_ring_access(&cq->ring) == NVME_RING_DIRECT &&
	    !nvme_host_writes_pending(cq->ring.host, cq->worker->index))
		write_direct((struct nvme_completion *)cq->ring.memory + state->tail, &cqe);
	else
		nvme_host_write(cq->ring.host, cq->worker->index,
				cq->ring.base + ((uint64_t)state->tail << NVME_CQE_SHIFT), &cqe,
				sizeof(cqe));
	if (state->tail + 1u == state->entries) {
		state->phase ^= 1;
		WRITE_ONCE(state->tail, 0);
	} else {
		WRITE_ONCE(state->tail, state->tail + 1);
	}
	cq->notify = true;
}

bool nvme_cq_flush(struct nvme_cq *cq)
{
	bool any = false;

	while (cq->waiting.first && nvme_cq_can_post(cq)) {
		struct nvme_request *request = nvme_request_list_take(&cq->waiting);

		nvme_cq_post(cq, request->sq, request->command.cid, request->status,
			     request->result);
		nvme_request_posted(request);
		any = true;
	}
	return any;
}

void nvme_sq_start(struct nvme_sq *sq, struct nvme_cq *cq)
{
	sq->worker = cq->worker;
	sq->cq = cq;
	sq->deletion = NULL;
	nvme_ring_init(&sq->ring, sq->worker->ctrl->host, sq->state->base,
		       (size_t)sq->state->entries << NVME_SQE_SHIFT, NVME_HOST_READ);
	sq->live = true;
	nvme_worker_add_sq(sq->worker, sq);
}

void nvme_sq_stop(struct nvme_sq *sq)
{
	sq->live = false;
	nvme_worker_remove_sq(sq->worker, sq);
}

/* Commands up to the tail or the end of the ring, whichever comes first. */
static unsigned available(struct nvme_sq *sq)
{
	unsigned tail = nvme_doorbell_sq_tail(sq), head = sq->state->head;

	/* Judged by a predecessor of the queue that was larger. */
	if (tail >= sq->state->entries)
		return 0;
	return tail >= head ? tail - head : sq->state->entries - head;
}

static bool may_fetch(struct nvme_sq *sq)
{
	return !sq->deletion && !sq->cq->waiting.first && READ_ONCE(sq->worker->ctrl->bus_master) &&
	       nvme_ring_access(&sq->ring) != NVME_RING_UNMAPPED &&
	       !nvme_request_pool_is_empty(sq->id ? &sq->worker->pool : &sq->worker->admin_pool) &&
	       (sq->id || nvme_host_write_room(sq->ring.host));
}

bool nvme_sq_has_work(struct nvme_sq *sq)
{
	return available(sq) && may_fetch(sq);
}

/*
 * Copy @count entries from the guest, once. The barrier keeps the compiler from looking at guest
 * memory again later.
 */
static bool copy_entries(struct nvme_sq *sq, struct nvme_command *commands, unsigned count)
{
	size_t offset = (size_t)sq->state->head << NVME_SQE_SHIFT,
	       bytes = count * sizeof(*commands);

	if (sq->ring.access == NVME_RING_MESSAGE)
		return nvme_host_read(sq->ring.host, sq->worker->index, sq->ring.base + offset,
				      commands, bytes) == 0;
	memcpy(commands, (char *)sq->ring.memory + offset, bytes);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	return true;
}

unsigned nvme_sq_fetch(struct nvme_sq *sq)
{
	struct nvme_command commands[BATCH];
	struct nvme_request *requests[BATCH];
	unsigned count = MIN(available(sq), (unsigned)BATCH), n = 0;

	if (!count || !may_fetch(sq) || !copy_entries(sq, commands, count))
		return 0;
	while (n < count && (requests[n] = nvme_request_new(sq))) {
		requests[n]->command = commands[n];
		n++;
	}
	sq->state->head = (sq->state->head + n) % sq->state->entries;
	for (unsigned i = 0; i < n; i++)
		nvme_request_start(requests[i]);
	return n;
}
