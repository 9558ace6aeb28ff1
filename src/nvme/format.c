// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Theory of operation
 *
 * A format is an erasure: whether user data is to be erased or may be
 * lost, it is zeroes afterwards, which gives its space back where the image can. One piece after
 * another: request->block is each piece's in turn. Each is begun by a call of its own: there may be
 * any number of them, a backend that needs no wait ends them inside submit, and others' commands
 * have their turn in between.
 *
 * It holds its namespace and counts as executing, so a freeze waits for the piece in hand; the rest
 * waits for the thaw, or for a fused pair that came before it. A namespace that is detached waits
 * for the piece in hand only: all of them may take hours.
 *
 * From its first piece until its result is in the journal the namespace says which command of the
 * admin queue it is formatted by, and every other command for it is refused. So a successor, which
 * begins again from the first piece, erases nothing that anybody was told is written: it finds the
 * format in the journal and goes on refusing, before it fetches anything. What was fetched earlier
 * and has not ended is not refused: it may be before or after the format.
 *
 * Others of the image on this host are told by the page they have in common (share.h): its `owner` is the
 * key of the controller that formats, and above it a number that each attempt changes. They refuse
 * their commands as long as that one, or its successor, is there. Of one that is gone for good they
 * take the word away, by an exchange of what they have seen. So a successor that comes all the same,
 * after a restore say, finds that its attempt is not there any more: then somebody may have been told that he
 * has written, and it erases nothing more and fails.
 *
 * To the other block size. What a block number means must be the same for all who ever read it, so:
 * (1) Nothing else is in flight in the namespace. What comes is refused, and each worker is asked in turn
 * what has come before; if there is any, the format fails, as section 5.23 allows. Nothing that was parsed
 * with the one size is executed with the other, not by a successor either.
 * (2) The image is erased to its end. Zeroes are the same in blocks of every size.
 * (3) The machine records the size where its next start will find it (nvme_host_block_size()). From
 * here on it may be the one or the other, and nobody but the machine knows: `next_shift` keeps the
 * namespace closed until it says so, over resets and the end of this command too, and a successor is
 * given it with the namespace.
 * (4) It says so: the namespace has its new size, and the format ends with success. Or it cannot now,
 * as during a migration: then nothing has changed but that the data is gone.
 * Whoever dies at any point of this, the next one has zeroes, in blocks of a size that was recorded.
 */
#include "nvme/format.h"

#include <errno.h>

#include "nvme/controller-private.h"
#include "nvme/fused.h"
#include "nvme/hold.h"
#include "nvme/io.h"

#define PIECE (64ULL << 20)

/* ns->format while no command formats it, and its block size is being recorded. */
#define RECORDING UINT32_MAX

/* A key has at most 2^48. */
#define OWNER_KEY     ((1ULL << 49) - 1)
#define OWNER_ATTEMPT (1ULL << 49)

static void erase(struct nvme_request *request);

static unsigned wanted_shift(const struct nvme_request *request)
{
	return nvme_format_shift(request->ns, request->command.cdw10 & NVME_FORMAT_LBAF);
}

static bool changes_size(const struct nvme_request *request)
{
	return wanted_shift(request) != request->ns->block_shift;
}

static void ask_to_record(struct nvme_host_call *call)
{
	struct nvme_namespace *ns = container_of(call, struct nvme_namespace, record_call);

	nvme_host_block_size(ns->ctrl->host, ns->nsid, 1u << LOAD_ACQUIRE(ns->next_shift));
}

/* All zeroes: (3) above. */
static void erased(struct nvme_request *request)
{
	struct nvme_namespace *ns = request->ns;

	if (!changes_size(request)) {
		nvme_request_complete(request, NVME_SUCCESS);
		return;
	}
	/* Nobody would find what is to be recorded for it. */
	if (nvme_namespace_share(request)->leaving) {
		nvme_request_complete(request, NVME_INVALID_NAMESPACE | NVME_DNR);
		return;
	}
	nvme_request_wait(request, &request->worker->recording);
	/* A predecessor may have asked. */
	if (ns->next_shift)
		return;
	STORE_RELEASE(ns->next_shift, wanted_shift(request));
	nvme_host_call(ns->ctrl->host, NVME_HOST_CONTROL, &ns->record_call);
}

static uint64_t end_of(const struct nvme_request *request)
{
	const struct nvme_namespace *ns = request->ns;

	/* Smaller blocks may reach further. */
	if (changes_size(request))
		return ROUND_DOWN(block_get_info(ns->block)->capacity, 512);
	return READ_ONCE(ns->blocks) << ns->block_shift;
}

static void erase_next(struct nvme_host_call *call)
{
	struct nvme_request *request = container_of(call, struct nvme_request, call);
	struct nvme_worker *worker = request->worker;

	nvme_request_take_in_hand(request);
	request->ns->formatted += request->block.bytes;
	if (!request->sq->live)
		nvme_request_complete(request, NVME_SUCCESS);
	else if (nvme_controller_rests(worker->ctrl) || !nvme_fused_admits(request))
		nvme_request_wait(request, &worker->gated);
	else
		erase(request);
	nvme_worker_put_down(worker);
}

static void piece_erased(struct block_request *block, int result)
{
	struct nvme_request *request = container_of(block, struct nvme_request, block);

	if (result < 0 && nvme_hold(request, result))
		return;
	if (result < 0) {
		nvme_request_complete(request, nvme_io_result(request, result));
		return;
	}
	request->call.run = erase_next;
	nvme_host_call(request->worker->ctrl->host, request->worker->index, &request->call);
}

static void erase(struct nvme_request *request)
{
	const struct nvme_namespace *ns = request->ns;
	uint64_t offset = ns->formatted, end = end_of(request);

	if (offset >= end) {
		erased(request);
		return;
	}
	if (nvme_namespace_share(request)->leaving) {
		nvme_request_complete(request, NVME_INVALID_NAMESPACE | NVME_DNR);
		return;
	}
	if (ns->share)
		WRITE_ONCE(nvme_share_format(ns->share)->left, nvme_format_percent_left(ns));
	request->block = (struct block_request){
		.op = BLOCK_WRITE_ZEROES,
		.flags = BLOCK_FUA,
		.offset = offset,
		.bytes = MIN(end - offset, PIECE),
		.done = piece_erased,
	};
	nvme_io_submit(request);
}

/*
 * Others of the image
 */
static bool exchange(const struct nvme_share *share, uint64_t seen, uint64_t owner)
{
	return __atomic_compare_exchange_n(&nvme_share_format(share)->owner, &seen, owner, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static uint64_t owner_of(const struct nvme_share *share)
{
	return __atomic_load_n(&nvme_share_format(share)->owner, __ATOMIC_SEQ_CST);
}

static bool is_ours(const struct nvme_share *share, uint64_t owner)
{
	return (owner & OWNER_KEY) == share->key;
}

bool nvme_format_is_elsewhere(const struct nvme_namespace *ns)
{
	struct nvme_share *share = ns->share;
	uint64_t owner;

	if (!share)
		return false;
	do {
		owner = owner_of(share);
		if (!owner || is_ours(share, owner))
			return false;
		if (share->is_alive(share, owner & OWNER_KEY))
			return true;
	} while (!exchange(share, owner, 0));
	return false;
}

static void disown(const struct nvme_namespace *ns)
{
	uint64_t owner = ns->share ? owner_of(ns->share) : 0;

	if (owner && is_ours(ns->share, owner))
		exchange(ns->share, owner, 0);
}

/* The number is a new one also where the word is ours: who has seen us dead takes nothing away then. */
static nvme_status take(const struct nvme_namespace *ns, bool again)
{
	struct nvme_share *share = ns->share;
	uint64_t owner;

	do {
		if (nvme_format_is_elsewhere(ns))
			return NVME_FORMAT_IN_PROGRESS;
		owner = owner_of(share);
		if (again && !is_ours(share, owner))
			return NVME_INTERNAL_ERROR;
	} while ((owner && !is_ours(share, owner)) ||
		 !exchange(share, owner, share->key | ((owner & ~OWNER_KEY) + OWNER_ATTEMPT)));
	return 0;
}

void nvme_format_end(struct nvme_namespace *ns)
{
	disown(ns);
	ns->formatted = 0;
	STORE_RELEASE(ns->format, ns->next_shift ? RECORDING : 0);
}

void nvme_format_init(struct nvme_namespace *ns, uint32_t next_block_size)
{
	ns->record_call.run = ask_to_record;
	if (!next_block_size)
		return;
	ns->next_shift = next_block_size == 4096 ? 12 : 9;
	ns->format = RECORDING;
}

void nvme_format_recorded(struct nvme_namespace *ns, unsigned shift)
{
	ns->block_shift = shift;
	WRITE_ONCE(ns->blocks, block_get_info(ns->block)->capacity >> shift);
	STORE_RELEASE(ns->next_shift, 0);
	if (ns->format == RECORDING)
		STORE_RELEASE(ns->format, 0);
}

static bool is_recorded(const struct nvme_request *request)
{
	return !LOAD_ACQUIRE(request->ns->next_shift);
}

bool nvme_format_has_work(const struct nvme_worker *worker)
{
	const struct nvme_request *request;

	for (request = worker->recording.first; request; request = request->next)
		if (is_recorded(request))
			return true;
	return false;
}

bool nvme_format_poll(struct nvme_worker *worker)
{
	struct nvme_request_list recording = worker->recording;
	struct nvme_request *request;
	bool any = false;

	nvme_request_list_init(&worker->recording);
	while ((request = nvme_request_list_take(&recording))) {
		if (!is_recorded(request)) {
			nvme_request_list_append(&worker->recording, request);
			continue;
		}
		any = true;
		nvme_request_complete(request,
				      changes_size(request) ? NVME_INTERNAL_ERROR : NVME_SUCCESS);
	}
	return any;
}

void nvme_format_give_up(struct nvme_worker *worker, const struct nvme_namespace *ns)
{
	struct nvme_request_list recording = worker->recording;
	struct nvme_request *request;

	nvme_request_list_init(&worker->recording);
	while ((request = nvme_request_list_take(&recording))) {
		if (request->ns == ns)
			nvme_request_complete(request, NVME_INVALID_NAMESPACE | NVME_DNR);
		else
			nvme_request_list_append(&worker->recording, request);
	}
}

/* The last of them, worker 0. */
static void all_counted(struct nvme_request *request)
{
	struct nvme_worker *worker = request->worker;

	nvme_request_take_in_hand(request);
	if (!request->sq->live)
		nvme_request_complete(request, NVME_SUCCESS);
	else if (request->ns->in_the_way > 1) /* than itself */
		nvme_request_complete(request, NVME_COMMAND_SEQUENCE_ERROR);
	else if (nvme_controller_rests(worker->ctrl) || !nvme_fused_admits(request))
		nvme_request_wait(request, &worker->gated);
	else
		erase(request);
	nvme_worker_put_down(worker);
}

/* On each worker, after which it refuses what comes. */
static void count_in_flight(struct nvme_host_call *call)
{
	struct nvme_request *request = container_of(call, struct nvme_request, call);
	struct nvme_namespace *ns = request->ns;
	unsigned worker = request->step_worker;

	ns->in_the_way += ns->shares[worker].in_flight;
	if (!worker) {
		all_counted(request);
		return;
	}
	request->step_worker = worker - 1;
	nvme_host_call(ns->ctrl->host, request->step_worker, call);
}

static void close_and_erase(struct nvme_request *request)
{
	struct nvme_namespace *ns = request->ns;

	ns->in_the_way = 0;
	request->step_worker = ns->ctrl->host->workers - 1;
	request->call.run = count_in_flight;
	nvme_host_call(ns->ctrl->host, request->step_worker, &request->call);
}

void nvme_format(struct nvme_request *request)
{
	struct nvme_namespace *ns = request->ns;
	bool again = nvme_format_is(request);
	nvme_status status = 0;

	/* It came while the other one waited to begin, or after one whose size is not recorded yet. */
	if ((ns->format && !again) || (ns->next_shift && ns->next_shift != wanted_shift(request)))
		status = NVME_FORMAT_IN_PROGRESS;
	else if (ns->share)
		status = take(ns, again);
	if (status) {
		nvme_request_complete(request, status);
		return;
	}
	STORE_RELEASE(ns->format, request->slot + 1);
	if (changes_size(request))
		close_and_erase(request);
	else
		erase(request);
}

void nvme_format_adopt(struct nvme_namespace *ns, bool was_there)
{
	const struct nvme_state *state = ns->ctrl->state;

	for (unsigned slot = 0; was_there && slot < state->sqs[0].slots; slot++) {
		const struct nvme_command *command = &state->journals[0].commands[slot];
		uint64_t word = state->journals[0].slots[slot].word;

		if (nvme_journal_stage(word) == NVME_JOURNAL_FETCHED &&
		    !nvme_journal_status(word) && command->opcode == NVME_ADMIN_FORMAT &&
		    !command->flags && command->nsid == ns->nsid)
			ns->format = slot + 1;
	}
	if (!ns->format)
		disown(ns);
}

void nvme_format_forget(struct nvme_controller *ctrl)
{
	for (uint32_t nsid = 1; nsid <= NVME_MAX_NAMESPACES; nsid++) {
		struct nvme_namespace *ns = nvme_namespace_find(ctrl, nsid);

		if (ns)
			nvme_format_end(ns);
	}
}

unsigned nvme_format_percent_left(const struct nvme_namespace *ns)
{
	uint64_t blocks = READ_ONCE(ns->blocks), done = ns->formatted >> ns->block_shift;

	if (ns->next_shift)
		return 1; /* it is not over */
	if (ns->format)
		return DIV_ROUND_UP((blocks - MIN(done, blocks)) * 100, blocks);
	return nvme_format_is_elsewhere(ns)
		       ? MIN(READ_ONCE(nvme_share_format(ns->share)->left), 100u)
		       : 0;
}

nvme_status nvme_format_judge(struct nvme_request *request)
{
	uint32_t cdw10 = request->command.cdw10;
	nvme_status status;

	/* Identify says that one command formats one namespace. */
	if (request->command.nsid == NVME_NSID_ALL)
		return nvme_invalid_field(request, nsid);
	status = nvme_io_hold_namespace(request);
	if (status)
		return status;
	if ((cdw10 & NVME_FORMAT_LBAF) >= nvme_format_count(request->ns) ||
	    cdw10 & NVME_FORMAT_PROTECTION)
		return NVME_INVALID_FORMAT | NVME_DNR;
	if (NVME_FORMAT_ERASE(cdw10) > NVME_FORMAT_USER_DATA)
		return nvme_request_invalid_field(request,
						  offsetof(struct nvme_command, cdw10) + 1);
	if (request->ns->read_only)
		return NVME_WRITE_PROTECTED | NVME_DNR;
	return 0;
}
