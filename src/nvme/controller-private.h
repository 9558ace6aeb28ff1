/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_CONTROLLER_PRIVATE_H
#define NVME_CONTROLLER_PRIVATE_H

#include <uuid.h>

#include "nvme/controller.h"
#include "nvme/keep-alive.h"
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
	bool frozen;
	bool failed;	  /* CSTS.CFS came while it was running */
	uint64_t awaited; /* namespaces of a predecessor, see namespace.h */

	struct nvme_peers peers; /* see subsystem.h */

	uint64_t haunted;     /* bits; the control thread's */
	uint64_t half_done;   /* bits: a predecessor's pair is, see fused.c; the control thread's */
	unsigned steps;	      /* atomic: of queue commands, on their way to a worker */
	unsigned freeze_left; /* workers that have not reported */
	bool freezing;
	void (*freeze_done)(void *opaque);
	void *freeze_opaque;

	/*
	 * One epoch is one time of being enabled. It is counted up at the start, and the next start
	 * comes only after all workers have reported the end of this one: whoever works on a
	 * command of an epoch sees a stable number.
	 */
	uint64_t epoch;

	uint64_t busy; /* see smart.c; atomic */

	struct nvme_keep_alive keep_alive;

	bool notices_due; /* see reservation-log.h; atomic */

	enum nvme_phase phase;
	unsigned draining; /* workers that have not reported */
	/* Then those whose posted writes are not executed; a reset makes an end of it by counting
	 * on. */
	unsigned unexecuted, stop_count;
	struct nvme_host_call reset_call;
	bool reset_called;
	bool drained;	     /* they have, and the stop waits for something else */
	bool inherited_stop; /* a predecessor began it */
	bool stop_waits;     /* for a predecessor's requests */
	bool start_due;	     /* a predecessor was about to start */
	bool unfenced;	     /* writes that a predecessor has posted may not be executed */
	bool fence_due;	     /* and nobody has asked yet */
	bool shutdown_due;
	bool resetting;
	struct nvme_reset_waiter *reset_waiters;
	struct nvme_host_call start_call;
	struct nvme_sync shutdown;
	struct nvme_sync sync;
	void (*sync_done)(void *opaque, int result);
	void *sync_opaque;
};

/** nvme_config_subsystem() - the uuid of the subsystem: the controller's own where it is alone */
static inline const uint8_t *nvme_config_subsystem(const struct nvme_controller_config *config)
{
	return uuid_is_null(config->subsystem) ? config->uuid : config->subsystem;
}

/** nvme_controller_rests() - workers fetch, execute and post nothing now */
static inline bool nvme_controller_rests(const struct nvme_controller *ctrl)
{
	return READ_ONCE(ctrl->frozen) || READ_ONCE(ctrl->awaited) || READ_ONCE(ctrl->failed);
}

/** nvme_controller_wake() - something that may have been waited for has come */
void nvme_controller_wake(struct nvme_controller *ctrl);

/** nvme_controller_go_on() - end a stop, start, shut down: what is due and possible now */
void nvme_controller_go_on(struct nvme_controller *ctrl);

/** nvme_controller_check_frozen() - is the freeze complete? */
void nvme_controller_check_frozen(struct nvme_controller *ctrl);

/** nvme_controller_worker_frozen() - a worker executes nothing; runs as a call on the control thread
 */
void nvme_controller_worker_frozen(struct nvme_host_call *call);

/** nvme_controller_set_cc() - a write of CC; control thread */
void nvme_controller_set_cc(struct nvme_controller *ctrl, uint32_t cc);

/** nvme_controller_fence_due() - the guest's memory is there now */
void nvme_controller_fence_due(struct nvme_controller *ctrl);

/** nvme_controller_start_due() - the guest's memory is there now */
void nvme_controller_start_due(struct nvme_controller *ctrl);

/** nvme_controller_stopped() - a worker has drained; runs as a call on the control thread */
void nvme_controller_stopped(struct nvme_host_call *call);

/** nvme_controller_worker_of() - who owns CQ @cqid and the SQs that post to it */
static inline unsigned nvme_controller_worker_of(const struct nvme_controller *ctrl, unsigned cqid)
{
	return cqid ? (cqid - 1) % ctrl->host->workers : 0;
}

#endif
