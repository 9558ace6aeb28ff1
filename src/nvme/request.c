// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/request.h"

#include <errno.h>
#include <sys/mman.h>

#include "nvme/admin.h"
#include "nvme/controller-private.h"
#include "nvme/format.h"
#include "nvme/fused.h"
#include "nvme/io.h"
#include "nvme/journal.h"
#include "nvme/log-pages.h"
#include "nvme/smart.h"

void nvme_request_list_init(struct nvme_request_list *list)
{
	list->first = NULL;
	list->end = &list->first;
}

void nvme_request_list_append(struct nvme_request_list *list, struct nvme_request *request)
{
	request->next = NULL;
	*list->end = request;
	list->end = &request->next;
}

struct nvme_request *nvme_request_list_take(struct nvme_request_list *list)
{
	struct nvme_request *request = list->first;

	if (!request)
		return NULL;
	list->first = request->next;
	if (!list->first)
		list->end = &list->first;
	return request;
}

int nvme_request_pool_init(struct nvme_request_pool *pool, unsigned size)
{
	pool->requests = NULL;
	pool->free = NULL;
	pool->size = size;
	pool->touched = 0;
	if (!size)
		return 0;
	/* Not calloc(): it may have to clear memory that was in use, and most is never used. */
	pool->requests = mmap(NULL, size * sizeof(*pool->requests), PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pool->requests != MAP_FAILED)
		return 0;
	pool->requests = NULL;
	return -ENOMEM;
}

void nvme_request_pool_destroy(struct nvme_request_pool *pool)
{
	if (pool->requests)
		munmap(pool->requests, pool->size * sizeof(*pool->requests));
}

bool nvme_request_pool_has(const struct nvme_request_pool *pool, unsigned count)
{
	unsigned free = pool->free ? 1 + (pool->free->next != NULL) : 0;

	return free + pool->size - pool->touched >= count;
}

static struct nvme_request_pool *pool_of(struct nvme_sq *sq)
{
	return sq->id ? &sq->worker->pool : &sq->worker->admin_pool;
}

struct nvme_request *nvme_request_new(struct nvme_sq *sq)
{
	struct nvme_request_pool *pool = pool_of(sq);
	struct nvme_request *request = pool->free;

	if (request)
		pool->free = request->next;
	else if (pool->touched < pool->size)
		request = &pool->requests[pool->touched++];
	else
		return NULL;

	request->sq = sq;
	request->worker = sq->worker;
	request->ns = NULL;
	request->partner = NULL;
	request->bounce = NULL;
	request->direct = 0;
	request->result = 0;
	request->error_location = NVME_ERROR_NO_LOCATION;
	request->executing = false;
	request->has_written = false;
	request->rationed = false;
	request->on_executed = NULL;
	sq->in_flight++;
	sq->worker->in_flight++;
	if (sq->id) {
		sq->worker->outstanding++;
		if (!sq->worker->busy)
			nvme_smart_busy(sq->worker);
	}
	return request;
}

/* Whoever waits for the queue or the worker to be idle is not told yet. */
static void give_back(struct nvme_request *request)
{
	struct nvme_request_pool *pool = pool_of(request->sq);

	request->next = pool->free;
	pool->free = request;
	request->sq->in_flight--;
	if (request->sq->id)
		request->worker->outstanding--;
}

void nvme_request_put_back(struct nvme_request *request)
{
	give_back(request);
	request->worker->in_flight--;
}

/* Admin commands without a namespace are not counted: they are over at once, or go from worker to
 * worker by calls. */
void nvme_request_set_executing(struct nvme_request *request, bool executing)
{
	if (request->executing == executing || (!request->sq->id && !request->ns))
		return;
	request->executing = executing;
	if (executing) {
		request->worker->executing++;
		if (request->ns)
			nvme_namespace_share(request)->executing++;
	} else {
		if (request->ns)
			nvme_fused_quiet(nvme_namespace_share(request));
		nvme_worker_rest(request->worker);
	}
}

/* What it holds while it is executed; nothing of it is needed to post the completion. */
static void release(struct nvme_request *request)
{
	nvme_request_set_executing(request, false);
	if (request->bounce) {
		nvme_bounce_free(&request->worker->bounces, request->bounce);
		request->bounce = NULL;
	}
	if (request->ns) {
		nvme_fused_release(request);
		nvme_format_release(request);
		nvme_namespace_put(request->ns, request->worker->index);
		request->ns = NULL;
	}
}

static void end(struct nvme_request *request)
{
	struct nvme_sq *sq = request->sq;

	nvme_journal_remove(&sq->journal, request->slot);
	give_back(request);
	nvme_sq_check_idle(sq);
	nvme_worker_end(request->worker);
}

static void fail_inherited(struct nvme_request *request)
{
	nvme_request_complete(request, nvme_journal_status(nvme_journal_word(&request->sq->journal,
									     request->slot)));
}

/* Not to be parsed: that is what a predecessor may have died of. */
static void parse_inherited(struct nvme_request *request)
{
	struct nvme_controller *ctrl = request->worker->ctrl;

	if (request->sq->id)
		request->ns = nvme_namespace_find(ctrl, request->command.nsid);
	if (request->ns)
		nvme_namespace_get(request->ns, request->worker->index);
	request->execute = fail_inherited;
}

void nvme_request_take_in_hand(struct nvme_request *request)
{
	STORE_RELEASE(request->worker->hand->command, NVME_HAND(request->sq->id, request->slot));
}

void nvme_request_start(struct nvme_request *request)
{
	struct nvme_sq *sq = request->sq;
	uint64_t word = nvme_journal_word(&sq->journal, request->slot);
	nvme_status status = 0;

	nvme_request_take_in_hand(request);
	if (nvme_journal_status(word))
		parse_inherited(request);
	else
		status = sq->id ? nvme_io_parse(request) : nvme_admin_parse(request);
	/* Whatever becomes of it: its end opens the namespace. */
	if (nvme_journal_stage(word) == NVME_JOURNAL_STARTED && sq->id && request->ns)
		nvme_fused_inherit(request);
	nvme_request_begin(request, status);
}

void nvme_request_begin(struct nvme_request *request, nvme_status status)
{
	if (status)
		nvme_request_complete(request, status);
	else if (request->ns && !nvme_fused_admits(request))
		nvme_request_wait(request, &request->worker->gated);
	else if (!request->ns || nvme_throttle_admit(request))
		nvme_request_execute(request);
}

void nvme_request_execute(struct nvme_request *request)
{
	nvme_request_set_executing(request, true);
	nvme_crash_point();
	request->execute(request);
}

void nvme_request_execute_now(struct nvme_request *request)
{
	struct nvme_worker *worker = request->worker;

	nvme_request_take_in_hand(request);
	nvme_request_execute(request);
	nvme_worker_put_down(worker);
}

void nvme_request_wait(struct nvme_request *request, struct nvme_request_list *list)
{
	nvme_request_list_append(list, request);
	nvme_request_set_executing(request, false);
}

void nvme_request_judged(struct nvme_request *request)
{
	nvme_journal_set(&request->sq->journal, request->slot,
			 NVME_JOURNAL_WORD(NVME_JOURNAL_STARTED, 0, 0));
}

bool nvme_request_was_judged(const struct nvme_request *request)
{
	return nvme_journal_stage(nvme_journal_word(&request->sq->journal, request->slot)) ==
	       NVME_JOURNAL_STARTED;
}

void nvme_request_resume(struct nvme_request *request)
{
	nvme_request_list_append(&request->sq->cq->waiting, request);
	nvme_cq_flush(request->sq->cq);
}

void nvme_request_executed(struct nvme_request *request)
{
	nvme_journal_set(&request->sq->journal, request->slot,
			 NVME_JOURNAL_WORD(NVME_JOURNAL_EXECUTED, request->status,
					   request->result));
}

static void executed(struct nvme_request *request)
{
	struct nvme_cq *cq = request->sq->cq;

	/* The guest that deletes the queue does not make room. */
	if (request->sq->deletion && (cq->waiting.first || !nvme_cq_can_post(cq))) {
		end(request);
		return;
	}
	nvme_request_executed(request);
	if (request->on_executed)
		request->on_executed(request);
	nvme_request_resume(request);
}

/* Until the client has acknowledged what this worker has posted so far. */
static void wait_for_client(struct nvme_request *request,
			    void (*acknowledged)(struct nvme_request *request))
{
	struct nvme_worker *worker = request->worker;

	request->acknowledged = acknowledged;
	request->mark = nvme_host_writes_posted(worker->ctrl->host, worker->index);
	nvme_request_list_append(&worker->unacknowledged, request);
}

void nvme_request_complete(struct nvme_request *request, nvme_status status)
{
	struct nvme_worker *worker = request->worker;

	nvme_crash_point();
	if (request->partner) {
		nvme_fused_over(request, status);
		return;
	}
	if (status)
		status |= nvme_log_pages_add_error(request, status);
	request->status = status;
	/* Before others may read or change what it has written: it is not written again. */
	if ((nvme_fused_is_owner(request) || nvme_format_is(request)) && request->sq->live)
		nvme_request_executed(request);
	release(request);
	if (!request->sq->live) {
		end(request); /* a reset dropped the queue: the guest has forgotten the command */
		return;
	}
	/* What is lost with this process must be written again by running the command again. */
	if (request->has_written && nvme_host_writes_pending(worker->ctrl->host, worker->index))
		wait_for_client(request, executed);
	else
		executed(request);
}

void nvme_request_finish(struct nvme_request *request, nvme_result result)
{
	if (result < 0)
		nvme_request_drop(request);
	else
		nvme_request_complete(request, result);
}

static void posted_there(struct nvme_request *request)
{
	request->sq->cq->unacknowledged--;
	end(request);
}

void nvme_request_posted(struct nvme_request *request)
{
	struct nvme_worker *worker = request->worker;

	if (nvme_host_writes_pending(worker->ctrl->host, worker->index)) {
		request->sq->cq->unacknowledged++;
		wait_for_client(request, posted_there);
	} else {
		end(request);
	}
}

bool nvme_request_has_acknowledged(const struct nvme_worker *worker)
{
	const struct nvme_request *request = worker->unacknowledged.first;

	return request &&
	       nvme_host_writes_acknowledged(worker->ctrl->host, worker->index) >= request->mark;
}

bool nvme_request_acknowledge(struct nvme_worker *worker)
{
	bool any = false;

	while (nvme_request_has_acknowledged(worker)) {
		struct nvme_request *request = nvme_request_list_take(&worker->unacknowledged);

		request->acknowledged(request);
		any = true;
	}
	return any;
}

void nvme_request_drop(struct nvme_request *request)
{
	struct nvme_request *partner = request->partner;

	if (partner) {
		request->partner = partner->partner = NULL;
		nvme_request_drop(partner);
	}
	release(request);
	end(request);
}
