// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/recovery.h"

#include "base/log.h"
#include "nvme/admin.h"
#include "nvme/async-event.h"
#include "nvme/controller-private.h"
#include "nvme/fused.h"
#include "nvme/interrupt.h"
#include "nvme/reservation-log.h"

/*
 * Theory of operation
 *
 * A successor finds the state as its predecessor's last store left it (state.h, journal.h). In
 * three steps, each of which may be cut short by the next death and is then done again:
 *
 * Adopting, before there are workers: what can be judged without the guest's memory and without the
 * images.
 *
 * Settling, for each completion queue, when its memory is there: an entry that is POSTING belongs
 * to one slot of the queue. Phase, queue and command id there tell whether the guest has its
 * completion. If not, it is written again: the same one to the same slot. That is right too when it
 * only has not arrived yet, by a message of the predecessor's that the client still has to execute:
 * ours is executed after it and changes nothing. Nothing new is posted before.
 *
 * Taking over, for each submission queue: what was executed is posted, everything else is started
 * from the beginning, in the order in which it was fetched. Requests are limited, so this goes on
 * while the first of them complete; nothing new is fetched before it is over. A command that wants
 * a namespace waits until that is ready (namespace.h).
 */

/* Commands that the dead had in hand: they will be failed, when that cannot hurt any more. */
static void poison(struct nvme_state *state, uint32_t hand)
{
	unsigned sqid = NVME_HAND_SQ(hand), slot = NVME_HAND_SLOT(hand);
	uint64_t *word;

	if (!hand || sqid >= NVME_MAX_QUEUES || slot >= state->sqs[sqid].slots)
		return;
	word = &state->journals[sqid].slots[slot].word;
	/* Of I/O commands it is the write of a pair that is STARTED: its compare has had its answer. */
	if (nvme_journal_stage(*word) != NVME_JOURNAL_FETCHED &&
	    !(sqid && nvme_journal_stage(*word) == NVME_JOURNAL_STARTED))
		return;
	log_warning("command %u of queue %u, opcode 0x%x, is failed: it was in hand when the "
		    "controller died",
		    state->journals[sqid].commands[slot].cid, sqid,
		    state->journals[sqid].commands[slot].opcode);
	NVME_STORE(*word,
		   NVME_JOURNAL_WORD(NVME_JOURNAL_FETCHED, NVME_INTERNAL_ERROR | NVME_DNR, 0));
}

/* An event that was given to its request, and whose bits do not say so yet. */
static void repeat_events(struct nvme_controller *ctrl)
{
	const struct nvme_state *state = ctrl->state;

	for (unsigned slot = 0; slot < state->sqs[0].slots; slot++) {
		uint64_t word = state->journals[0].slots[slot].word;

		if (nvme_journal_stage(word) == NVME_JOURNAL_EXECUTED &&
		    !nvme_journal_status(word) &&
		    state->journals[0].commands[slot].opcode == NVME_ADMIN_ASYNC_EVENT)
			nvme_async_event_told(ctrl, nvme_journal_result(word));
	}
}

void nvme_recovery_adopt(struct nvme_controller *ctrl)
{
	struct nvme_state *state = ctrl->state;

	for (unsigned i = 0; i < NVME_MAX_WORKERS; i++) {
		if (ctrl->config.poison)
			poison(state, state->hands[i].command);
		/* Of a worker that we may not have. */
		NVME_STORE(state->hands[i].command, 0);
	}
	nvme_fused_adopt(ctrl);
	repeat_events(ctrl);
	__atomic_fetch_or(&state->events.changed_namespaces, state->events.taken_namespaces,
			  __ATOMIC_SEQ_CST);
	NVME_STORE(state->events.taken_namespaces, 0);
	nvme_reservation_log_adopt(ctrl);
}

/* 1: the completion is in its slot, 0: it is not, -1: cannot look now. */
static int is_posted(struct nvme_cq *cq, struct nvme_sq *sq, unsigned slot)
{
	uint32_t position = nvme_journal_position(nvme_journal_word(&sq->journal, slot));
	unsigned place = NVME_POSITION_SLOT(position);
	struct nvme_completion cqe;

	if (nvme_ring_access(&cq->ring) == NVME_RING_UNMAPPED ||
	    nvme_host_read(cq->ring.host, cq->worker->index,
			   cq->ring.base + ((uint64_t)place << NVME_CQE_SHIFT), &cqe, sizeof(cqe)))
		return -1;
	return cqe.sqid == sq->id &&
	       (cqe.last & 0x1ffff) == (sq->journal.state->commands[slot].cid |
					(position >> NVME_POSITION_PHASE) << 16);
}

/* For each entry that is POSTING; false: not now. */
static bool for_each_posted(struct nvme_cq *cq,
			    bool (*fn)(struct nvme_cq *cq, struct nvme_sq *sq, unsigned slot))
{
	struct nvme_worker *worker = cq->worker;

	for (unsigned i = 0; i < worker->sq_count; i++) {
		struct nvme_sq *sq = worker->sqs[i];

		for (unsigned n = 0; sq->cq == cq && n < sq->journal.inherited_count; n++) {
			unsigned slot = sq->journal.inherited[n];

			if (nvme_journal_stage(nvme_journal_word(&sq->journal, slot)) ==
				    NVME_JOURNAL_POSTING &&
			    !fn(cq, sq, slot))
				return false;
		}
	}
	return true;
}

static bool write_missing(struct nvme_cq *cq, struct nvme_sq *sq, unsigned slot)
{
	int posted = is_posted(cq, sq, slot);

	if (posted < 0)
		return false;
	if (!posted)
		nvme_cq_write(cq, sq, slot);
	else
		nvme_cq_count_on(cq, nvme_journal_position(nvme_journal_word(&sq->journal, slot)));
	return true;
}

static bool forget(struct nvme_cq *cq, struct nvme_sq *sq, unsigned slot)
{
	nvme_journal_remove(&sq->journal, slot);
	return true;
}

bool nvme_recovery_can_settle(struct nvme_cq *cq)
{
	const struct nvme_controller *ctrl = cq->worker->ctrl;

	if (!cq->unsettled || !READ_ONCE(ctrl->bus_master))
		return false;
	if (cq->unsettled == NVME_RECOVERY_TO_LOOK)
		return nvme_ring_access(&cq->ring) != NVME_RING_UNMAPPED;
	return !nvme_host_writes_pending(ctrl->host, cq->worker->index);
}

bool nvme_recovery_settle(struct nvme_cq *cq)
{
	if (!nvme_recovery_can_settle(cq))
		return false;
	if (cq->unsettled == NVME_RECOVERY_TO_LOOK) {
		if (!for_each_posted(cq, write_missing))
			return false;
		cq->unsettled = NVME_RECOVERY_WRITTEN;
		return true;
	}
	for_each_posted(cq, forget);
	cq->unsettled = NVME_RECOVERY_OVER;
	nvme_interrupt_now(cq); /* the predecessor may not have told */
	return true;
}

/* Two halves that were fetched together and are both still to be executed, or the second is. */
static bool is_pair(const struct nvme_sq *sq)
{
	const struct nvme_journal *journal = &sq->journal;
	const struct nvme_state_journal *state = journal->state;
	unsigned first, second;

	if (!sq->id || journal->left + 1 >= journal->inherited_count)
		return false;
	first = journal->inherited[journal->left];
	second = journal->inherited[journal->left + 1];
	if (!nvme_fused_is_pair(&state->commands[first], &state->commands[second]) ||
	    state->slots[first].order + 1 != state->slots[second].order ||
	    nvme_journal_stage(nvme_journal_word(journal, first)) != NVME_JOURNAL_FETCHED)
		return false;
	switch (nvme_journal_stage(nvme_journal_word(journal, second))) {
	case NVME_JOURNAL_FETCHED:
	case NVME_JOURNAL_STARTED:
		return true;
	default:
		return false;
	}
}

static struct nvme_request *take(struct nvme_sq *sq, unsigned slot)
{
	struct nvme_request *request = nvme_request_new(sq);
	uint64_t word = nvme_journal_word(&sq->journal, slot);

	if (!request)
		return NULL;
	request->slot = slot;
	request->command = sq->journal.state->commands[slot];
	request->status = nvme_journal_status(word);
	request->result = nvme_journal_result(word);
	return request;
}

static bool take_pair(struct nvme_sq *sq)
{
	const uint16_t *slots = &sq->journal.inherited[sq->journal.left];
	struct nvme_request *first = take(sq, slots[0]),
			    *second = first ? take(sq, slots[1]) : NULL;

	if (second)
		nvme_fused_start(first, second);
	else if (first)
		nvme_request_put_back(first);
	return second;
}

unsigned nvme_recovery_take_over(struct nvme_sq *sq)
{
	struct nvme_journal *journal = &sq->journal;
	struct nvme_request *request;
	unsigned taken = 0;

	for (; nvme_recovery_left(sq); journal->left++) {
		unsigned slot = journal->inherited[journal->left];
		uint64_t word = nvme_journal_word(journal, slot);

		if (nvme_journal_stage(word) == NVME_JOURNAL_FREE)
			continue; /* it was posted */
		if (is_pair(sq)) {
			if (!take_pair(sq))
				break;
			journal->left++;
			taken += 2;
			continue;
		}
		request = take(sq, slot);
		if (!request)
			break;
		if (nvme_journal_stage(word) == NVME_JOURNAL_EXECUTED)
			nvme_request_resume(request);
		else
			nvme_request_start(request);
		taken++;
		/* See nvme_sq_fetch(). */
		if (!sq->id) {
			journal->left++;
			break;
		}
	}
	nvme_worker_put_down(sq->worker);
	nvme_sq_check_idle(sq);
	return taken;
}
