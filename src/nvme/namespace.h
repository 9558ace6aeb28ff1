/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_NAMESPACE_H
#define NVME_NAMESPACE_H

#include "block/block.h"
#include "nvme/controller.h"
#include "nvme/host.h"
#include "nvme/spec.h"
#include "nvme/state.h"
#include "nvme/throttle.h"
#include "nvme/worker.h"

/*
 * Theory of operation
 *
 * The control thread attaches and detaches. A worker takes a namespace by its number for each
 * command, and counts its own commands in flight in its own `share`, so that nothing is contended.
 *
 * Detaching takes the pointer out of the table and sends a call to every worker. When the call runs
 * there (between two polls) no later command of that worker can find the namespace; the worker
 * reports back once its share is idle, and after the last report the namespace is freed.
 *
 * A dead predecessor's requests go on in the kernel after it is gone: its writes would land after
 * ours, and its reads in memory that the guest uses for something else once it has been told that
 * they are over. So a namespace may be attached before it is `ready`: commands for it are fetched
 * and parsed, and wait. Until all namespaces of the predecessor are ready (`haunted`), no stop of the
 * controller ends.
 *
 * A successor does not know at first what it will be given back: until every namespace that its
 * predecessor had is attached (`awaited`) it rests, for a command could miss one of them.
 */
struct nvme_controller;

struct nvme_namespace_share {
	struct nvme_namespace *ns;
	struct nvme_state_counters *counters;
	unsigned in_flight;
	unsigned executing; /* of these, what may be at the image now */
	bool leaving;
	uint64_t blocked[2]; /* reads, writes: in this round of the worker's, see throttle.h */
	uint64_t taken[2], contends_from[2], contends_until[2]; /* by class, see throttle.h */
	struct nvme_host_call call;

	/* See fused.c. */
	uint64_t closed; /* for this claim */
	bool closing;
	struct nvme_host_call close_call;

	/* See hold.h. */
	bool error_told;   /* the worker's */
	bool error_called; /* atomic; error_op and error are the control thread's meanwhile */
	enum block_op error_op;
	int error;
	struct nvme_host_call error_call;
} __attribute__((aligned(64)));

struct nvme_namespace {
	struct nvme_controller *ctrl;
	struct block *block;
	uint64_t blocks; /* atomic: resizing changes it */
	uint32_t nsid;
	uint32_t memory_alignment;
	uint8_t block_shift; /* changed by a format, while nothing else is in flight */
	bool formattable;    /* to the other block size as well */
	bool read_only;
	bool shareable;
	bool shared; /* and other controllers of the subsystem may have it */
	bool volatile_cache;
	enum nvme_error_policy error_policy;
	struct nvme_reservation *reservation; /* NULL: it has none */
	bool ready; /* atomic: nobody else's requests are under way, its commands may be executed */

	struct nvme_share *share; /* NULL: nobody else is known to have the image */

	/* See format.c; worker 0's. */
	uint32_t format;     /* the command's slot in the admin queue's journal, from 1; atomic */
	uint64_t formatted;  /* bytes */
	unsigned in_the_way; /* other commands in flight */
	uint8_t next_shift;  /* of the block size that is being recorded; 0: of none; atomic */
	struct nvme_host_call record_call;

	/* Of a fused pair, see fused.c; atomic. */
	uint64_t claim; /* 0: there is none */
	uint64_t claims;
	struct nvme_request *owner;
	unsigned unclosed;

	uint8_t nguid[16], uuid[16], eui64[8];
	struct nvme_throttle throttle;

	/* The control thread's, while detaching. */
	unsigned workers_left;
	void (*done)(void *opaque);
	void *opaque;

	struct nvme_namespace_share shares[]; /* a worker each */
};

/** nvme_namespace_find() - NULL: not attached, or no such id; good until the end of the poll */
struct nvme_namespace *nvme_namespace_find(const struct nvme_controller *ctrl, uint32_t nsid);

/** nvme_namespace_share() - of the namespace that @request holds, its worker's */
static inline struct nvme_namespace_share *nvme_namespace_share(const struct nvme_request *request)
{
	return &request->ns->shares[request->worker->index];
}

static inline bool nvme_namespace_is_ready(const struct nvme_namespace *ns)
{
	return LOAD_ACQUIRE(ns->ready);
}

/** nvme_namespace_adopt() - await those that a predecessor had */
void nvme_namespace_adopt(struct nvme_controller *ctrl);

/** nvme_namespace_get() - one more command of @worker in flight */
static inline void nvme_namespace_get(struct nvme_namespace *ns, unsigned worker)
{
	ns->shares[worker].in_flight++;
}

void nvme_namespace_put(struct nvme_namespace *ns, unsigned worker);

/** nvme_namespace_counters() - of @worker, to be counted up with nvme_count() by it alone */
static inline struct nvme_state_counters *nvme_namespace_counters(struct nvme_namespace *ns,
								  unsigned worker)
{
	return ns->shares[worker].counters;
}

static inline void nvme_count(uint64_t *counter, uint64_t n)
{
	WRITE_ONCE(*counter, *counter + n);
}

/** nvme_namespace_total() - of all namespaces that are and were, for SMART */
void nvme_namespace_total(const struct nvme_controller *ctrl, struct nvme_state_counters *ret);

/** nvme_namespace_free() - at the controller's end; nothing in flight */
void nvme_namespace_free(struct nvme_namespace *ns);

#endif
