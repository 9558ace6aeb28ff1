/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_CONTROLLER_PRIVATE_H
#define NVME_CONTROLLER_PRIVATE_H

#include "nvme/controller.h"
#include "nvme/namespace.h"
#include "nvme/queue.h"
#include "nvme/shutdown.h"
#include "nvme/state.h"
#include "nvme/worker.h"

/* The states of a controller; the control thread's. */
enum nvme_phase {
	NVME_STOPPED,
	NVME_RUNNING,
	NVME_STOPPING, /* workers drain */
};

struct nvme_reset_waiter;

struct nvme_controller {
	struct nvme_controller_config config;
	struct nvme_host *host;
	struct nvme_state *state;
	struct nvme_worker *workers[NVME_MAX_WORKERS];
	struct nvme_sq sqs[NVME_MAX_QUEUES];
	struct nvme_cq cqs[NVME_MAX_QUEUES];

	/* By nsid - 1. The control thread stores (release), workers load (acquire). */
	struct nvme_namespace *namespaces[NVME_MAX_NAMESPACES];
	uint64_t namespaces_leaving; /* bits; the control thread's */

	/* The control thread stores, workers load. */
	bool bus_master;
	bool msix;

	/*
	 * One epoch is one time of being enabled. It is counted up at the start, and the next start
	 * comes only after all workers have reported the end of this one: whoever works on a
	 * command of an epoch sees a stable number.
	 */
	uint64_t epoch;

	enum nvme_phase phase;
	unsigned draining; /* workers that have not reported */
	/* Then those whose posted writes are not executed; a reset makes an end of it by counting
	 * on. */
	unsigned unexecuted, stop_count;
	bool resetting;
	struct nvme_reset_waiter *reset_waiters;
	struct nvme_host_call start_call;
	struct nvme_host_call reset_call;
	bool reset_called;
	struct nvme_shutdown shutdown;
};

/** nvme_controller_set_cc() - a write of CC; control thread */
void nvme_controller_set_cc(struct nvme_controller *ctrl, uint32_t cc);

/** nvme_controller_stopped() - a worker has drained; runs as a call on the control thread */
void nvme_controller_stopped(struct nvme_host_call *call);

/** nvme_controller_worker_of() - who owns CQ @cqid and the SQs that post to it */
static inline unsigned nvme_controller_worker_of(const struct nvme_controller *ctrl, unsigned cqid)
{
	return cqid ? (cqid - 1) % ctrl->host->workers : 0;
}

#endif
