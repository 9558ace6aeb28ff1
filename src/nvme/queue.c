// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/queue.h"

#include "nvme/admin.h"
#include "nvme/controller-private.h"
#include "nvme/doorbell.h"
#include "nvme/fused.h"
#include "nvme/io.h"
#include "nvme/recovery.h"
#include "nvme/write-log.h"

/* Commands taken of one queue before the next has its turn. Of the admin queue only one: it answers
 * whether there is room or not, with as many messages as its data has pages. */
#define BATCH 32

void nvme_cq_start(struct nvme_cq *cq, struct nvme_worker *worker)
{
	cq->worker = worker;
	cq->notify = false;
	cq->posted = 0;
	cq->due = 0;
	cq->unacknowledged = 0;
	cq->unsettled = NVME_RECOVERY_OVER;
	cq->shadow = cq->event = NVME_DOORBELL_UNKNOWN;
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
	/* From here on it is memory as any other. */
	nvme_write_log_add(cq->worker->write_log, cq->ring.base, cq->ring.bytes);
	nvme_worker_remove_cq(cq->worker, cq);
	while ((request = nvme_request_list_take(&cq->waiting)))
		nvme_request_drop(request);
}

bool nvme_cq_can_post(struct nvme_cq *cq)
{
	const struct nvme_controller *ctrl = cq->worker->ctrl;
	unsigned next = NVME_POSITION_SLOT(cq->state->position) + 1;

	if (next == cq->state->entries)
		next = 0;
	/* A slot is not used again before its last completion is known to be there: which of two
	 * was lost could not be told. */
	if (next == nvme_doorbell_cq_head(cq) || cq->unacknowledged >= cq->state->entries ||
	    cq->unsettled || nvme_controller_rests(ctrl) || !READ_ONCE(ctrl->bus_master))
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
	nvme_crash_point();
	STORE_RELEASE(slot->last, cqe->last);
}

void nvme_cq_count_on(struct nvme_cq *cq, uint32_t position)
{
	uint32_t place = NVME_POSITION_SLOT(position) + 1, phase = position >> NVME_POSITION_PHASE;

	if (cq->state->position != position)
		return; /* a predecessor did */
	if (place == cq->state->entries) {
		place = 0;
		phase ^= 1;
	}
	NVME_STORE(cq->state->position, place | phase << NVME_POSITION_PHASE);
}

void nvme_cq_write(struct nvme_cq *cq, struct nvme_sq *sq, unsigned slot)
{
	uint64_t word = nvme_journal_word(&sq->journal, slot);
	uint32_t position = nvme_journal_position(word);
	unsigned place = NVME_POSITION_SLOT(position);
	const struct nvme_completion cqe = {
		.result = nvme_journal_result(word),
		.sq_head = sq->head,
		.sqid = sq->id,
		.last = sq->journal.state->commands[slot].cid |
			(position >> NVME_POSITION_PHASE & 1) << 16 |
			(uint32_t)nvme_journal_status(word) << 17,
	};

	/* The guest may look at the queue without an interrupt: it must not see the completion before
	 * data that goes by message. */
	if (nvme_ring_access(&cq->ring) == NVME_RING_DIRECT &&
	    !nvme_host_writes_pending(cq->ring.host, cq->worker->index))
		write_direct((struct nvme_completion *)cq->ring.memory + place, &cqe);
	else
		nvme_host_write(cq->ring.host, cq->worker->index,
				cq->ring.base + ((uint64_t)place << NVME_CQE_SHIFT), &cqe,
				sizeof(cqe));
	nvme_cq_count_on(cq, position);
	cq->notify = true;
	cq->posted++;
}

bool nvme_cq_flush(struct nvme_cq *cq)
{
	bool any = false;

	while (cq->waiting.first && nvme_cq_can_post(cq)) {
		struct nvme_request *request = nvme_request_list_take(&cq->waiting);
		struct nvme_sq *sq = request->sq;

		nvme_journal_set(&sq->journal, request->slot,
				 NVME_JOURNAL_WORD(NVME_JOURNAL_POSTING, request->status,
						   request->result) |
					 NVME_JOURNAL_PLACE(cq->state->position));
		nvme_cq_write(cq, sq, request->slot);
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
	nvme_journal_open(&sq->journal, sq->worker->ctrl->state, sq->id);
	sq->head = sq->journal.fetched % sq->state->entries;
	sq->shadow = sq->event = NVME_DOORBELL_UNKNOWN;
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

/* Commands up to the tail. */
static unsigned available(struct nvme_sq *sq)
{
	unsigned tail = nvme_doorbell_sq_tail(sq), head = sq->head;

	/* Judged by a predecessor of the queue that was larger. */
	if (tail >= sq->state->entries)
		return 0;
	return tail >= head ? tail - head : sq->state->entries - head + tail;
}

static bool may_start(struct nvme_sq *sq)
{
	const struct nvme_controller *ctrl = sq->worker->ctrl;

	return !sq->cq->waiting.first && !sq->cq->unsettled && READ_ONCE(ctrl->bus_master) &&
	       (sq->id ? nvme_request_pool_has(&sq->worker->pool, 2)
		       : nvme_request_pool_has(&sq->worker->admin_pool, 1)) &&
	       (sq->id || nvme_host_write_room(sq->ring.host));
}

static bool may_fetch(struct nvme_sq *sq)
{
	return !sq->deletion && may_start(sq) && nvme_ring_access(&sq->ring) != NVME_RING_UNMAPPED;
}

bool nvme_sq_has_work(struct nvme_sq *sq)
{
	if (nvme_recovery_left(sq))
		return may_start(sq);
	return available(sq) && may_fetch(sq);
}

void nvme_sq_check_idle(struct nvme_sq *sq)
{
	if (sq->deletion && !sq->in_flight && !nvme_recovery_left(sq))
		nvme_admin_sq_idle(sq);
}

static bool copy_piece(struct nvme_sq *sq, struct nvme_command *commands, unsigned slot,
		       unsigned count)
{
	size_t offset = (size_t)slot << NVME_SQE_SHIFT, bytes = count * sizeof(*commands);

	if (!count)
		return true;

	if (sq->ring.access == NVME_RING_MESSAGE)
		return nvme_host_read(sq->ring.host, sq->worker->index, sq->ring.base + offset,
				      commands, bytes) == 0;
	memcpy(commands, (char *)sq->ring.memory + offset, bytes);
	return true;
}

/*
 * Copy @count entries from the guest, once. The barrier keeps the compiler from looking at guest
 * memory again later.
 */
static bool copy_entries(struct nvme_sq *sq, struct nvme_command *commands, unsigned count)
{
	unsigned to_the_end = MIN(count, sq->state->entries - sq->head);

	if (!copy_piece(sq, commands, sq->head, to_the_end) ||
	    !copy_piece(sq, commands + to_the_end, 0, count - to_the_end))
		return false;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	return true;
}

unsigned nvme_sq_fetch(struct nvme_sq *sq)
{
	struct nvme_command commands[BATCH];
	struct nvme_request *requests[BATCH];
	unsigned all, count, n = 0;

	if (nvme_recovery_left(sq))
		return may_start(sq) ? nvme_recovery_take_over(sq) : 0;
	all = available(sq);
	count = MIN(all, sq->id ? BATCH : 1u);
	if (!count || !may_fetch(sq) || !copy_entries(sq, commands, count))
		return 0;
	if (sq->id)
		nvme_io_prefetch(sq->worker->ctrl, &commands[0]);
	while (n < count && (requests[n] = nvme_request_new(sq)))
		n++;
	/* One doorbell is for both halves of a pair: what follows is the other one. */
	if (n > 1 && n < all && (commands[n - 1].flags & NVME_COMMAND_FUSE) == NVME_FUSE_FIRST)
		nvme_request_put_back(requests[--n]);
	for (unsigned i = 0; i < n; i++) {
		requests[i]->command = commands[i];
		requests[i]->slot = nvme_journal_add(&sq->journal, &commands[i]);
	}
	/* Before any of them is executed: the guest may reuse what it has seen fetched. */
	nvme_journal_advance(&sq->journal);
	sq->head = (sq->head + n) % sq->state->entries;
	for (unsigned i = 0; i < n; i++) {
		/* While this one's data is copied the next one's comes. */
		if (sq->id && i + 1 < n)
			nvme_io_prefetch(sq->worker->ctrl, &commands[i + 1]);
		if (sq->id && i + 1 < n && nvme_fused_is_pair(&commands[i], &commands[i + 1])) {
			nvme_fused_start(requests[i], requests[i + 1]);
			i++;
		} else {
			nvme_request_start(requests[i]);
		}
	}
	nvme_worker_put_down(sq->worker);
	return n;
}
