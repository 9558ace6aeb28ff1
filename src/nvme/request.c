// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/request.h"

#include <errno.h>

#include "nvme/admin.h"
#include "nvme/controller-private.h"
#include "nvme/io.h"
#include "nvme/log-pages.h"

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
	pool->requests = calloc(size, sizeof(*pool->requests));
	pool->free = NULL;
	pool->size = size;
	pool->touched = 0;
	return pool->requests ? 0 : -ENOMEM;
}

void nvme_request_pool_destroy(struct nvme_request_pool *pool)
{
	free(pool->requests);
}

bool nvme_request_pool_is_empty(const struct nvme_request_pool *pool)
{
	return !pool->free && pool->touched == pool->size;
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
	request->bounce = NULL;
	request->result = 0;
	request->error_location = NVME_ERROR_NO_LOCATION;
	sq->in_flight++;
	sq->worker->in_flight++;
	return request;
}

/* What it holds while it is executed; nothing of it is needed to post the completion. */
static void release(struct nvme_request *request)
{
	if (request->bounce) {
		nvme_bounce_free(&request->worker->bounces, request->bounce);
		request->bounce = NULL;
	}
	if (request->ns) {
		nvme_namespace_put(request->ns, request->worker->index);
		request->ns = NULL;
	}
}

static void end(struct nvme_request *request)
{
	struct nvme_sq *sq = request->sq;
	struct nvme_request_pool *pool = pool_of(sq);

	request->next = pool->free;
	pool->free = request;
	if (--sq->in_flight == 0 && sq->deletion)
		nvme_admin_sq_idle(sq);
	nvme_worker_end(request->worker);
}

void nvme_request_start(struct nvme_request *request)
{
	nvme_status status = request->sq->id ? nvme_io_parse(request) : nvme_admin_parse(request);

	if (status)
		nvme_request_complete(request, status);
	else
		request->execute(request);
}

void nvme_request_complete(struct nvme_request *request, nvme_status status)
{
	struct nvme_cq *cq = request->sq->cq;

	if (status)
		status |= nvme_log_pages_add_error(request, status);
	release(request);
	if (!request->sq->live) {
		end(request); /* a reset dropped the queue: the guest has forgotten the command */
		return;
	}
	/* The guest that deletes the queue does not make room. */
	if (request->sq->deletion && (cq->waiting.first || !nvme_cq_can_post(cq))) {
		end(request);
		return;
	}
	request->status = status;
	nvme_request_list_append(&cq->waiting, request);
	nvme_cq_flush(cq);
}

void nvme_request_finish(struct nvme_request *request, nvme_result result)
{
	if (result < 0)
		nvme_request_drop(request);
	else
		nvme_request_complete(request, result);
}

void nvme_request_posted(struct nvme_request *request)
{
	end(request);
}

void nvme_request_park(struct nvme_request *request)
{
	end(request);
}

void nvme_request_drop(struct nvme_request *request)
{
	release(request);
	end(request);
}
