// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/sync.h"

#include "nvme/controller-private.h"

static void over(struct nvme_host_call *call)
{
	struct nvme_sync *sync = container_of(call, struct nvme_sync, call);

	sync->running = false;
	sync->done(sync);
}

static void flush_next(struct nvme_sync *sync);

static void flush_done(struct block_request *flush, int result)
{
	struct nvme_sync *sync = container_of(flush, struct nvme_sync, flush);

	if (!sync->result)
		sync->result = result;
	nvme_namespace_put(sync->ns, 0);
	flush_next(sync);
}

static void flush_next(struct nvme_sync *sync)
{
	struct nvme_controller *ctrl = sync->ctrl;
	struct nvme_worker *worker = ctrl->workers[0];

	while (sync->nsid < NVME_MAX_NAMESPACES) {
		struct nvme_namespace *ns = nvme_namespace_find(ctrl, ++sync->nsid);

		if (!ns || !ns->volatile_cache)
			continue;
		nvme_namespace_get(ns, 0);
		sync->ns = ns;
		sync->flush = (struct block_request){ .op = BLOCK_FLUSH, .done = flush_done };
		block_submit(ns->block, worker->ring, &sync->flush);
		return;
	}
	sync->call.run = over;
	nvme_host_call(ctrl->host, NVME_HOST_CONTROL, &sync->call);
	nvme_worker_rest(worker);
	nvme_worker_end(worker);
}

static void run(struct nvme_host_call *call)
{
	struct nvme_sync *sync = container_of(call, struct nvme_sync, call);
	struct nvme_worker *worker = sync->ctrl->workers[0];

	/* A reset waits for it, and a freeze. */
	worker->in_flight++;
	worker->executing++;
	flush_next(sync);
}

void nvme_sync_start(struct nvme_sync *sync, struct nvme_controller *ctrl,
		     void (*done)(struct nvme_sync *sync))
{
	*sync = (struct nvme_sync){ .ctrl = ctrl, .running = true, .done = done };
	sync->call.run = run;
	nvme_host_call(ctrl->host, 0, &sync->call);
}
