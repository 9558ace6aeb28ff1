// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/controller-private.h"

/*
 * Theory of operation
 *
 * `frozen` makes every worker rest. Then each reports when none of its commands is executing: what
 * has completed is in the journal, what waits (for memory, its namespace, an event, room in its
 * completion queue) is in the journal as not run. Commands about queues are on their way between
 * workers meanwhile, three messages at most; rounds of asking go on until none is. A stop or
 * shutdown under way is waited for, unless it waits for us.
 */

static void ask(struct nvme_controller *ctrl)
{
	ctrl->freeze_left = ctrl->host->workers;
	for (unsigned i = 0; i < ctrl->host->workers; i++)
		nvme_host_call(ctrl->host, i, &ctrl->workers[i]->freeze_call);
}

void nvme_controller_check_frozen(struct nvme_controller *ctrl)
{
	if (!ctrl->freezing || ctrl->freeze_left || ctrl->draining || ctrl->shutdown.running ||
	    ctrl->haunted)
		return;
	ctrl->freezing = false;
	ctrl->freeze_done(ctrl->freeze_opaque);
}

void nvme_controller_worker_frozen(struct nvme_host_call *call)
{
	struct nvme_controller *ctrl = container_of(call, struct nvme_worker, frozen_call)->ctrl;

	if (--ctrl->freeze_left)
		return;
	if (__atomic_load_n(&ctrl->steps, __ATOMIC_SEQ_CST))
		ask(ctrl);
	else
		nvme_controller_check_frozen(ctrl);
}

void nvme_controller_freeze(struct nvme_controller *ctrl, void (*done)(void *opaque), void *opaque)
{
	/* One that was adopted so has executed nothing, and its predecessor is another host's or was
	 * frozen itself. */
	if (ctrl->frozen && ctrl->haunted) {
		done(opaque);
		return;
	}
	__atomic_store_n(&ctrl->frozen, true, __ATOMIC_SEQ_CST);
	ctrl->freezing = true;
	ctrl->freeze_done = done;
	ctrl->freeze_opaque = opaque;
	ask(ctrl);
}

static void sync_over(struct nvme_sync *sync)
{
	sync->ctrl->sync_done(sync->ctrl->sync_opaque, sync->result);
}

void nvme_controller_sync(struct nvme_controller *ctrl, void (*done)(void *opaque, int result),
			  void *opaque)
{
	ctrl->sync_done = done;
	ctrl->sync_opaque = opaque;
	nvme_sync_start(&ctrl->sync, ctrl, sync_over);
}

void nvme_controller_thaw(struct nvme_controller *ctrl)
{
	if (!ctrl->frozen)
		return;
	__atomic_store_n(&ctrl->frozen, false, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < ctrl->host->workers; i++)
		nvme_host_call(ctrl->host, i, &ctrl->workers[i]->thaw_call);
	nvme_controller_wake(ctrl);
}

bool nvme_controller_is_frozen(const struct nvme_controller *ctrl)
{
	return ctrl->frozen;
}
