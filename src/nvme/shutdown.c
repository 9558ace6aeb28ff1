// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/shutdown.h"

#include "nvme/controller-private.h"

/* There is no one to tell of an error: the guest is going away. */
static void shutdown_over(struct nvme_sync *sync)
{
	uint32_t *csts = &sync->ctrl->state->registers.csts;

	*csts = (*csts & ~NVME_CSTS_SHST_MASK) | NVME_CSTS_SHST_OVER;
	nvme_controller_check_frozen(sync->ctrl);
}

void nvme_shutdown_start(struct nvme_controller *ctrl)
{
	uint32_t *csts = &ctrl->state->registers.csts;

	*csts = (*csts & ~NVME_CSTS_SHST_MASK) | NVME_CSTS_SHST_OCCURS;
	ctrl->shutdown_due = true;
	nvme_controller_go_on(ctrl);
}

void nvme_shutdown_go_on(struct nvme_controller *ctrl)
{
	ctrl->shutdown_due = false;
	if (!ctrl->shutdown.running)
		nvme_sync_start(&ctrl->shutdown, ctrl, shutdown_over);
}
