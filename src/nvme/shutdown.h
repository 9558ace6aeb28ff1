/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_SHUTDOWN_H
#define NVME_SHUTDOWN_H

#include "block/block.h"
#include "nvme/host.h"

struct nvme_controller;
struct nvme_namespace;

/* CC.SHN: the flush of all namespaces with a volatile cache, one after the other, on worker 0. */
struct nvme_shutdown {
	bool occurs;   /* the control thread's */
	uint32_t nsid; /* the last one begun; worker 0's, as what follows */
	struct nvme_namespace *ns;
	struct block_request flush;
	struct nvme_host_call call;
};

/** nvme_shutdown_start() - control thread; CSTS.SHST follows */
void nvme_shutdown_start(struct nvme_controller *ctrl);

#endif
