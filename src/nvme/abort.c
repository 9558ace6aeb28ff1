// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Theory of operation
 *
 * A command is aborted if nothing of it has begun: an event request that is parked, a command that
 * waits for a bounce buffer, for its namespace or for its turn. What an image has in hand cannot be
 * taken back, and what has completed is complete: then the answer is that it was not aborted, and
 * its own completion comes as always.
 *
 * The search runs on the worker that owns the command's queue. A successor that runs an Abort again
 * finds a command that is aborted already complete, and says so.
 */
#include "nvme/abort.h"

#include "nvme/admin.h"
#include "nvme/controller-private.h"

/* It, or the other half of a pair, which is in no list: both end with either. */
static struct nvme_request *wanted(struct nvme_request *request, unsigned sqid, uint16_t cid)
{
	if (request->sq->id != sqid)
		return NULL;
	if (request->command.cid == cid)
		return request;
	return request->partner && request->partner->command.cid == cid ? request->partner : NULL;
}

static struct nvme_request *take(struct nvme_request_list *list, unsigned sqid, uint16_t cid)
{
	struct nvme_request_list all = *list;
	struct nvme_request *request, *half, *found = NULL;

	if (!all.first)
		return NULL;
	nvme_request_list_init(list);
	while ((request = nvme_request_list_take(&all))) {
		if (!found && (half = wanted(request, sqid, cid)))
			found = half;
		else
			nvme_request_list_append(list, request);
	}
	return found;
}

static struct nvme_request *find(struct nvme_worker *worker, unsigned sqid, uint16_t cid)
{
	struct nvme_request *found = take(&worker->bounce_waiters, sqid, cid);

	if (!found)
		found = take(&worker->gated, sqid, cid);
	if (!found)
		found = take(&worker->throttled, sqid, cid);
	return found || sqid ? found : take(&worker->parked, sqid, cid);
}

static void aborted(struct nvme_request *request)
{
	nvme_request_complete(request, NVME_SUCCESS);
}

/* The queue may have been deleted and created with another owner meanwhile: then nothing is found. */
static void search(struct nvme_request *request)
{
	struct nvme_worker *worker = request->worker->ctrl->workers[request->step_worker];
	struct nvme_request *found = find(worker, NVME_ABORT_SQ(request->command.cdw10),
					  NVME_ABORT_CID(request->command.cdw10));

	if (found) {
		request->result = 0;
		nvme_request_complete(found, NVME_ABORT_REQUESTED);
	}
	nvme_admin_go_on(request, 0, aborted);
}

void nvme_abort(struct nvme_request *request)
{
	struct nvme_controller *ctrl = request->worker->ctrl;
	unsigned sqid = NVME_ABORT_SQ(request->command.cdw10);

	request->result = NVME_NOT_ABORTED;
	if (sqid < NVME_MAX_QUEUES && ctrl->state->sqs[sqid].entries)
		nvme_admin_go_on(request,
				 nvme_controller_worker_of(ctrl, ctrl->state->sqs[sqid].cqid),
				 search);
	else
		nvme_request_complete(request, NVME_SUCCESS);
}
