/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_WORKER_H
#define NVME_WORKER_H

#include "nvme/bounce.h"
#include "nvme/controller.h"
#include "nvme/data-pointer.h"
#include "nvme/limits.h"
#include "nvme/request.h"
#include "nvme/ring.h"
#include "nvme/state.h"

/*
 * Theory of operation
 *
 * A worker is one I/O thread's part of the controller. It owns completion queues and every
 * submission queue that posts to them: queue q belongs to worker (q - 1) % workers by the CQ's id,
 * the admin queue to worker 0. Everything here is touched by that thread alone.
 *
 * Calls from other threads run between two polls, never inside one.
 */
struct nvme_worker {
	struct nvme_controller *ctrl;
	struct block_ring *ring;
	unsigned index;
	struct nvme_write_log *write_log;
	unsigned direct_reads; /* in flight, into guest memory; others read it */

	struct nvme_state_hand *hand;
	struct nvme_sq *sqs[NVME_MAX_QUEUES];
	struct nvme_cq *cqs[NVME_MAX_QUEUES];
	unsigned sq_count, cq_count;
	unsigned next_sq; /* round robin: where the next poll begins */

	struct nvme_ring shadow, events; /* with shadow doorbells: the guest's two pages */

	struct nvme_request_pool pool;
	struct nvme_request_pool admin_pool; /* worker 0 */
	struct nvme_bounce_pool bounces;
	struct nvme_request_list bounce_waiters;
	struct nvme_request_list delivery_waiters; /* reads whose data found no room */
	struct nvme_request_list held;		   /* see hold.h */
	bool giving_up;
	bool retry_called, retry_gives_up; /* atomic */
	struct nvme_host_call retry_call;
	struct nvme_request_list reserving; /* until others have seen it, see reservation.h */
	struct nvme_request_list gated;	    /* their namespaces are not ready, or a pair's own */
	struct nvme_request_list throttled; /* see throttle.h */
	uint64_t throttle_due;		    /* when to look at them; CLOCK_MONOTONIC, ns */
	uint64_t throttle_round;	    /* from 1 */
	struct nvme_request_list parked;    /* worker 0: Asynchronous Event Requests */
	struct nvme_request_list recording; /* worker 0: see format.c */
	struct nvme_request_list unacknowledged;	 /* see request.h */
	struct nvme_segment segments[NVME_MAX_SEGMENTS]; /* of the data pointer in hand */

	unsigned outstanding;	/* I/O commands */
	bool busy;		/* since one came, see smart.c */
	unsigned in_flight;	/* requests, and the flushes of a shutdown */
	uint64_t dropped_epoch; /* the last that was ended, see controller-private.h */
	unsigned executing;	/* of these, what may be at an image now */
	bool stopping;		/* the control thread waits for in_flight to be 0 */
	bool freezing;		/* and for executing */

	struct nvme_host_call stop_call;
	struct nvme_host_call stopped_call;
	struct nvme_host_call freeze_call;
	struct nvme_host_call frozen_call;
	struct nvme_host_call thaw_call;
	struct nvme_host_call intx_call;
	bool intx_called; /* atomic */
};

/** nvme_worker_end() - one thing less in flight */
void nvme_worker_end(struct nvme_worker *worker);

/** nvme_worker_rest() - one thing less executing */
void nvme_worker_rest(struct nvme_worker *worker);

/** nvme_worker_put_down() - what nvme_request_take_in_hand() has taken */
static inline void nvme_worker_put_down(struct nvme_worker *worker)
{
	STORE_RELEASE(worker->hand->command, 0);
}

/** nvme_worker_retry_gated() - execute those whose namespaces are ready and open now. Return: was there
 * any? */
bool nvme_worker_retry_gated(struct nvme_worker *worker);

void nvme_worker_add_cq(struct nvme_worker *worker, struct nvme_cq *cq);
void nvme_worker_remove_cq(struct nvme_worker *worker, struct nvme_cq *cq);
void nvme_worker_add_sq(struct nvme_worker *worker, struct nvme_sq *sq);
void nvme_worker_remove_sq(struct nvme_worker *worker, struct nvme_sq *sq);

#endif
