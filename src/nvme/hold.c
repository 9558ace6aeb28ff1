// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/hold.h"

#include <errno.h>

#include "base/log.h"
#include "nvme/controller-private.h"

/* What will be the same however often it is tried is the guest's to know. */
static bool may_pass(int result)
{
	return result != -EINVAL && result != -ENOTSUP && result != -EROFS && result != -EBADE;
}

static bool wants_hold(const struct nvme_namespace *ns, int result)
{
	switch (ns->error_policy) {
	case NVME_ERROR_REPORT:
		return false;
	case NVME_ERROR_STOP:
		return may_pass(result);
	case NVME_ERROR_ENOSPACE:
		break;
	}
	return result == -ENOSPC;
}

void nvme_hold_report(struct nvme_host_call *call)
{
	struct nvme_namespace_share *share =
		container_of(call, struct nvme_namespace_share, error_call);
	struct nvme_namespace *ns = share->ns;
	enum block_op op = share->error_op;
	int error = share->error;

	STORE_RELEASE(share->error_called, false);
	nvme_host_io_error(ns->ctrl->host, ns->nsid, op, error);
}

/* Once is enough: what came later is held and tried again as well. */
static void report(struct nvme_namespace_share *share, enum block_op op, int error)
{
	if (share->error_told)
		return;
	share->error_told = true;
	/* An earlier one on its way says the same. */
	if (LOAD_ACQUIRE(share->error_called))
		return;
	share->error_called = true;
	share->error_op = op;
	share->error = error;
	nvme_host_call(share->ns->ctrl->host, NVME_HOST_CONTROL, &share->error_call);
}

bool nvme_hold(struct nvme_request *request, int result)
{
	struct nvme_worker *worker = request->worker;
	struct nvme_namespace_share *share = nvme_namespace_share(request);

	if (!wants_hold(request->ns, result) || share->leaving || worker->giving_up ||
	    !request->sq->live)
		return false;
	if (request->bounce) {
		nvme_bounce_free(&worker->bounces, request->bounce);
		request->bounce = NULL;
	}
	request->held_result = result;
	nvme_request_wait(request, &worker->held);
	report(share, request->block.op, -result);
	return true;
}

void nvme_hold_drop(struct nvme_worker *worker)
{
	struct nvme_request *request;

	while ((request = nvme_request_list_take(&worker->held))) {
		nvme_namespace_share(request)->error_told = false;
		nvme_request_drop(request);
	}
}

/* All of @ns, or all (NULL). */
static struct nvme_request_list take(struct nvme_worker *worker, const struct nvme_namespace *ns)
{
	struct nvme_request_list all = worker->held, taken;
	struct nvme_request *request;

	nvme_request_list_init(&taken);
	nvme_request_list_init(&worker->held);
	while ((request = nvme_request_list_take(&all))) {
		if (ns && request->ns != ns) {
			nvme_request_list_append(&worker->held, request);
			continue;
		}
		nvme_namespace_share(request)->error_told = false;
		nvme_request_list_append(&taken, request);
	}
	return taken;
}

void nvme_hold_give_up(struct nvme_worker *worker, const struct nvme_namespace *ns)
{
	struct nvme_request_list requests = take(worker, ns);
	struct nvme_request *request;

	worker->giving_up = true;
	while ((request = nvme_request_list_take(&requests)))
		request->block.done(&request->block, request->held_result);
	worker->giving_up = false;
}

void nvme_hold_retry(struct nvme_host_call *call)
{
	struct nvme_worker *worker = container_of(call, struct nvme_worker, retry_call);
	bool give_up = __atomic_exchange_n(&worker->retry_gives_up, false, __ATOMIC_SEQ_CST);
	struct nvme_request_list requests;
	struct nvme_request *request;

	STORE_RELEASE(worker->retry_called, false);
	if (give_up) {
		nvme_hold_give_up(worker, NULL);
		return;
	}
	requests = take(worker, NULL);
	while ((request = nvme_request_list_take(&requests)))
		nvme_request_list_append(&worker->gated, request);
}

void nvme_controller_retry(struct nvme_controller *ctrl, bool give_up)
{
	for (unsigned i = 0; i < ctrl->host->workers; i++) {
		struct nvme_worker *worker = ctrl->workers[i];

		if (give_up)
			__atomic_store_n(&worker->retry_gives_up, true, __ATOMIC_SEQ_CST);
		if (!__atomic_exchange_n(&worker->retry_called, true, __ATOMIC_SEQ_CST))
			nvme_host_call(ctrl->host, i, &worker->retry_call);
	}
}
