// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Theory of operation
 *
 * Compare and Write is two commands that follow each other in a queue. They are fetched together
 * and are `partner`s until the compare is over; in the worker's lists is the first alone. Whatever
 * ends one of them meanwhile (an error, an Abort, a deleted queue) ends the other too.
 *
 * Nothing else of the namespace may come between or be seen half done, so the pair has it for itself.
 * Taking it is a round, as a freeze is: the first half sets `claim` to a number that is new, and calls
 * all workers. Each lets go what has waited for the last pair, remembers that it is `closed` for this
 * number, and reports when nothing of the namespace is executing there; what comes is gated. After the last
 * report the compare runs, then the write. Their end, once it is in the journal, clears `claim`, by
 * which every worker sees that the number is over. So a command costs one look at its worker's own
 * memory, and pairs without end do not starve it.
 *
 * Who shares the image from outside does not take part in this: such an image has no pairs.
 *
 * A compare that ran must not run again: it would find what the write has written. In the journal
 * of a pair there is, in this order of stores:
 *
 *	first FETCHED, second FETCHED		nothing happened
 *	second STARTED				the compare found no difference
 *	first EXECUTED, ...			and says so
 *	(the write is submitted here)
 *	second EXECUTED, ...
 *
 *	first FETCHED with a status		one half has failed
 *	second FETCHED with a status		and the other is told so
 *
 * A successor that finds the second one STARTED runs the write alone, and nothing else of that namespace
 * before it. What has a status ends with it. Two halves are found together by the numbers of their
 * fetches; a first half alone that the predecessor did not say it has fetched is fetched again.
 */
#include "nvme/fused.h"

#include "nvme/controller-private.h"
#include "nvme/io.h"

/* A claim of a predecessor's; others count up from here. */
#define INHERITED 1

nvme_status nvme_fused_judge_half(struct nvme_request *request)
{
	const struct nvme_command *command = &request->command;

	switch (command->flags & NVME_COMMAND_FUSE) {
	case NVME_FUSE_FIRST:
		if (!request->partner)
			return NVME_MISSING_FUSED | NVME_DNR;
		return command->opcode == NVME_IO_COMPARE ? 0 : nvme_invalid_field(request, flags);
	case NVME_FUSE_SECOND:
		/* Alone, when a predecessor has executed the first. */
		if (!request->partner && !nvme_request_was_judged(request))
			return NVME_MISSING_FUSED | NVME_DNR;
		return command->opcode == NVME_IO_WRITE ? 0 : nvme_invalid_field(request, flags);
	default:
		return nvme_invalid_field(request, flags);
	}
}

/*
 * The namespace
 */
void nvme_fused_closed(struct nvme_namespace_share *share)
{
	struct nvme_namespace *ns = share->ns;
	struct nvme_request *owner;

	share->closing = false;
	/* Who is last: from then on it may end, and the namespace with it. */
	owner = READ_ONCE(ns->owner);
	if (__atomic_sub_fetch(&ns->unclosed, 1, __ATOMIC_ACQ_REL) == 0)
		nvme_host_call(ns->ctrl->host, owner->worker->index, &owner->call);
}

void nvme_fused_close(struct nvme_host_call *call)
{
	struct nvme_namespace_share *share =
		container_of(call, struct nvme_namespace_share, close_call);
	struct nvme_worker *worker = share->ns->ctrl->workers[share - share->ns->shares];

	if (!nvme_controller_rests(worker->ctrl))
		nvme_worker_retry_gated(worker);
	share->closed = LOAD_ACQUIRE(share->ns->claim);
	share->closing = true;
	if (!share->executing)
		nvme_fused_closed(share);
}

void nvme_fused_open(struct nvme_namespace *ns)
{
	WRITE_ONCE(ns->owner, NULL);
	STORE_RELEASE(ns->claim, 0);
	for (unsigned i = 0; i < ns->ctrl->host->workers; i++)
		nvme_host_kick(ns->ctrl->host, i);
}

/* All workers have reported. A freeze may have come meanwhile, for it did not have to wait for us. */
static void claimed(struct nvme_host_call *call)
{
	struct nvme_request *first = container_of(call, struct nvme_request, call);

	if (!first->sq->live)
		nvme_request_drop(first);
	else if (nvme_controller_rests(first->worker->ctrl) || !nvme_fused_admits(first))
		nvme_request_wait(first, &first->worker->gated);
	else
		nvme_request_execute_now(first);
}

static void claim(struct nvme_request *first)
{
	struct nvme_namespace *ns = first->ns;
	uint64_t nobody = 0, number;

	if (READ_ONCE(ns->owner) == first) {
		first->alone(first);
		return;
	}
	number = __atomic_add_fetch(&ns->claims, 1, __ATOMIC_RELAXED);
	if (!__atomic_compare_exchange_n(&ns->claim, &nobody, number + INHERITED, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		nvme_request_wait(first, &first->worker->gated);
		return;
	}
	WRITE_ONCE(ns->owner, first);
	ns->unclosed = ns->ctrl->host->workers;
	first->call.run = claimed;
	nvme_request_set_executing(first, false);
	for (unsigned i = 0, workers = ns->ctrl->host->workers; i < workers; i++)
		nvme_host_call(ns->ctrl->host, i, &ns->shares[i].close_call);
}

/*
 * The pair
 */
static nvme_status doomed(const struct nvme_request *request)
{
	return nvme_journal_status(nvme_journal_word(&request->sq->journal, request->slot));
}

static void doom(struct nvme_request *request, nvme_status status)
{
	nvme_journal_set(&request->sq->journal, request->slot,
			 NVME_JOURNAL_WORD(NVME_JOURNAL_FETCHED, status, 0));
}

static void fail(struct nvme_request *guilty, nvme_status status, struct nvme_request *other,
		 nvme_status other_status)
{
	guilty->partner = other->partner = NULL;
	doom(guilty, status);
	doom(other, other_status);
	nvme_request_complete(guilty, status);
	nvme_request_complete(other, other_status);
}

/* The second takes over the namespace, and counts as executing before the first does no more: a freeze
 * shall not come between. */
static void go_on(struct nvme_request *first, struct nvme_request *second)
{
	first->partner = second->partner = NULL;
	nvme_request_judged(second);
	WRITE_ONCE(second->ns->owner, second);
	nvme_request_set_executing(second, true);
	nvme_throttle_spend(&second->ns->throttle, true, second->block.bytes);
	second->rationed = true;
	nvme_request_complete(first, NVME_SUCCESS);
	nvme_request_take_in_hand(second);
	nvme_request_execute(second);
}

void nvme_fused_over(struct nvme_request *request, nvme_status status)
{
	if (!request->sq->live)
		nvme_request_drop(request);
	else if (status)
		fail(request, status, request->partner, NVME_FAILED_FUSED | NVME_DNR);
	else
		go_on(request, request->partner);
}

/* Section 3.4.2: one range for both. */
static bool agree(const struct nvme_request *first, const struct nvme_request *second)
{
	return first->ns == second->ns && first->command.cdw10 == second->command.cdw10 &&
	       first->command.cdw11 == second->command.cdw11 &&
	       (first->command.cdw12 & 0xffff) == (second->command.cdw12 & 0xffff);
}

static void start_doomed(struct nvme_request *first, struct nvme_request *second)
{
	if (!doomed(first))
		doom(first, NVME_FAILED_FUSED | NVME_DNR);
	if (!doomed(second))
		doom(second, NVME_FAILED_FUSED | NVME_DNR);
	nvme_request_start(first);
	nvme_request_start(second);
}

void nvme_fused_start(struct nvme_request *first, struct nvme_request *second)
{
	nvme_status status;

	if (doomed(first) || doomed(second)) {
		start_doomed(first, second);
		return;
	}
	if (nvme_request_was_judged(second)) {
		nvme_request_complete(first, NVME_SUCCESS);
		nvme_request_start(second);
		return;
	}
	first->partner = second;
	second->partner = first;
	nvme_request_take_in_hand(first);
	status = nvme_io_parse(first);
	if (status) {
		nvme_fused_over(first, status);
		return;
	}
	status = nvme_io_parse(second);
	if (status) {
		nvme_fused_over(second, status);
		return;
	}
	if (!agree(first, second) || first->ns->shareable) {
		fail(first, nvme_invalid_field(first, cdw10), second,
		     nvme_invalid_field(second, cdw10));
		return;
	}
	first->alone = first->execute;
	first->execute = claim;
	nvme_request_begin(first, NVME_SUCCESS);
}

/*
 * After a predecessor
 */

/* It died of the pair before it could say that the compare was over: so it is not, see recovery.c. */
static bool is_after_doomed(const struct nvme_state *state, unsigned sqid, unsigned slot)
{
	const struct nvme_state_journal *journal = &state->journals[sqid];

	for (unsigned i = 0; i < state->sqs[sqid].slots; i++)
		if (journal->slots[i].order + 1 == journal->slots[slot].order &&
		    nvme_journal_stage(journal->slots[i].word) == NVME_JOURNAL_FETCHED)
			return nvme_journal_status(journal->slots[i].word);
	return false;
}

static void adopt_queue(struct nvme_controller *ctrl, unsigned sqid)
{
	const struct nvme_state *state = ctrl->state;

	for (unsigned slot = 0; slot < state->sqs[sqid].slots; slot++) {
		uint32_t nsid = state->journals[sqid].commands[slot].nsid;

		if (nvme_journal_stage(state->journals[sqid].slots[slot].word) ==
			    NVME_JOURNAL_STARTED &&
		    state->journals[sqid].commands[slot].opcode == NVME_IO_WRITE &&
		    nsid - 1 < NVME_MAX_NAMESPACES && !is_after_doomed(state, sqid, slot))
			ctrl->half_done |= 1ULL << (nsid - 1);
	}
}

void nvme_fused_adopt(struct nvme_controller *ctrl)
{
	for (unsigned sqid = 1; sqid < NVME_MAX_QUEUES; sqid++)
		if (ctrl->state->sqs[sqid].entries)
			adopt_queue(ctrl, sqid);
}

void nvme_fused_close_new(struct nvme_namespace *ns)
{
	ns->claim = INHERITED;
	for (unsigned i = 0; i < ns->ctrl->host->workers; i++)
		ns->shares[i].closed = INHERITED;
}

void nvme_fused_forget(struct nvme_controller *ctrl)
{
	ctrl->half_done = 0;
	for (uint32_t nsid = 1; nsid <= NVME_MAX_NAMESPACES; nsid++) {
		struct nvme_namespace *ns = nvme_namespace_find(ctrl, nsid);

		if (ns && ns->claim)
			nvme_fused_open(ns);
	}
}

void nvme_fused_inherit(struct nvme_request *request)
{
	struct nvme_namespace *ns = request->ns;
	struct nvme_request *nobody = NULL;

	if (LOAD_ACQUIRE(ns->claim) == INHERITED)
		__atomic_compare_exchange_n(&ns->owner, &nobody, request, false, __ATOMIC_ACQ_REL,
					    __ATOMIC_ACQUIRE);
}
