/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_SYNC_H
#define NVME_SYNC_H

#include "block/block.h"
#include "nvme/host.h"

/*
 * Flushing every namespace, one after another, on worker 0: at a shutdown, and when the controller
 * is frozen.
 */
struct nvme_controller;
struct nvme_namespace;

struct nvme_sync {
	struct nvme_controller *ctrl;
	bool running; /* the control thread's */
	int result;   /* the first error */
	uint32_t nsid;
	struct nvme_namespace *ns;
	struct block_request flush;
	struct nvme_host_call call;
	void (*done)(struct nvme_sync *sync);
};

/** nvme_sync_start() - @done on the control thread; not while it is running */
void nvme_sync_start(struct nvme_sync *sync, struct nvme_controller *ctrl,
		     void (*done)(struct nvme_sync *sync));

#endif
