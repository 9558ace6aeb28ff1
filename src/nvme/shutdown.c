// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/shutdown.h"

#include "nvme/controller-private.h"

static void shutdown_over(struct nvme_host_call *call)
{
	struct nvme_controller *ctrl = container_of(call, struct nvme_controller, shutdown.call);
	uint32_t *csts = &ctrl->state->registers.csts;

	ctrl->shutdown.occurs = false;
	*csts = (*csts & ~NVME_CSTS_SHST_MASK) | NVME_CSTS_SHST_OVER;
}

static void flush_next(struct nvme_shutdown *shutdown);

static void flush_done(struct block_request *flush, int result)
{
	struct nvme_shutdown *shutdown = container_of(flush, struct nvme_shutdown, flush);

	/* There is no one to tell of an error: the guest is going away. */
	nvme_namespace_put(shutdown->ns, 0);
	flush_next(shutdown);
}

static void flush_next(struct nvme_shutdown *shutdown)
{
	struct nvme_controller *ctrl = container_of(shutdown, struct nvme_controller, shutdown);
	struct nvme_worker *worker = ctrl->workers[0];

	while (shutdown->nsid < NVME_MAX_NAMESPACES) {
		struct nvme_namespace *ns = nvme_namespace_find(ctrl, ++shutdown->nsid);

		if (!ns || !ns->volatile_cache)
			continue;
		nvme_namespace_get(ns, 0);
		shutdown->ns = ns;
		shutdown->flush = (struct block_request){ .op = BLOCK_FLUSH, .done = flush_done };
		block_submit(ns->block, worker->ring, &shutdown->flush);
		return;
	}
	shutdown->call.run = shutdown_over;
	nvme_host_call(ctrl->host, NVME_HOST_CONTROL, &shutdown->call);
	nvme_worker_end(worker);
}

static void shutdown_run(struct nvme_host_call *call)
{
	struct nvme_controller *ctrl = container_of(call, struct nvme_controller, shutdown.call);

	ctrl->workers[0]->in_flight++; /* a reset waits for it */
	ctrl->shutdown.nsid = 0;
	flush_next(&ctrl->shutdown);
}

void nvme_shutdown_start(struct nvme_controller *ctrl)
{
	uint32_t *csts = &ctrl->state->registers.csts;

	*csts = (*csts & ~NVME_CSTS_SHST_MASK) | NVME_CSTS_SHST_OCCURS;
	if (ctrl->shutdown.occurs)
		return;
	ctrl->shutdown.occurs = true;
	ctrl->shutdown.call.run = shutdown_run;
	nvme_host_call(ctrl->host, 0, &ctrl->shutdown.call);
}
