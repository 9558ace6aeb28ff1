/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_STATE_H
#define NVME_STATE_H

#include "base/error.h"
#include "nvme/limits.h"
#include "nvme/spec.h"

/*
 * Theory of operation
 *
 * All of a controller that must outlive its process, in one block of shared memory that a keeper
 * holds. The layout is fixed: native integers, explicit padding, no pointers. A change of it is a
 * new NVME_STATE_VERSION. Commands in flight will be a table behind the fixed part; `size` says
 * where the state ends, and the memory is provided by whoever starts us, so it can grow.
 *
 * Each field has one writer: the control thread (registers, doorbells, namespaces), worker 0
 * (features, definitions of I/O queues, parked event requests), or the worker that owns the queue
 * (its head or tail and phase). What others read meanwhile is accessed with READ_ONCE() and
 * friends. The bit sets of events are atomic.
 */

#define NVME_STATE_MAGIC   0x656d766e74726976ULL /* "virtnvme" */
#define NVME_STATE_VERSION 1

struct nvme_state_registers {
	uint32_t cc;
	uint32_t csts;
	uint32_t intms;
	uint32_t aqa;
	uint64_t asq;
	uint64_t acq;
};

struct nvme_state_sq {
	uint64_t base;
	uint32_t entries; /* 0: there is no such queue */
	uint32_t tail;	  /* doorbell: the control thread's */
	uint16_t cqid;
	uint16_t head;
	uint32_t padding;
};

struct nvme_state_cq {
	uint64_t base;
	uint32_t entries;
	uint32_t head; /* doorbell: the control thread's */
	uint16_t tail;
	uint16_t vector;
	uint8_t phase;
	uint8_t interrupts;
	uint16_t padding;
};

struct nvme_state_features {
	uint32_t arbitration;
	uint32_t power;
	uint32_t over_temperature;
	uint32_t under_temperature;
	uint32_t error_recovery;
	uint32_t write_cache;
	uint32_t coalescing;
	uint32_t write_atomicity;
	uint32_t async_event;
	uint32_t padding;
	uint64_t vectors_uncoalesced[NVME_MAX_QUEUES / 64 + 1];
};

/* Events by enum nvme_event, see async-event.h. */
struct nvme_state_events {
	uint32_t pending;	     /* atomic */
	uint32_t masked;	     /* by event type: until the log page is read */
	uint64_t changed_namespaces; /* atomic; bit nsid - 1 */
	uint16_t count;		     /* of cids */
	uint16_t cids[NVME_MAX_ASYNC_EVENTS];
	uint16_t padding[3];
};
_Static_assert(NVME_MAX_NAMESPACES <= 64, "changed_namespaces");

struct nvme_state_namespace {
	uint64_t blocks; /* 0: not attached */
	uint32_t block_size;
	uint32_t read_only;
	uint8_t uuid[16];
};

struct nvme_state_counters {
	uint64_t read_commands, read_bytes, write_commands, write_bytes, flush_commands, errors;
};

struct nvme_state {
	uint64_t magic;
	uint32_t version;
	uint32_t size;

	struct nvme_state_registers registers;
	struct nvme_state_features features;
	struct nvme_state_events events;
	struct nvme_state_sq sqs[NVME_MAX_QUEUES];
	struct nvme_state_cq cqs[NVME_MAX_QUEUES];
	struct nvme_state_namespace namespaces[NVME_MAX_NAMESPACES];

	/* SMART: for the life of the controller, resets or not. */
	uint64_t power_cycles;
	uint64_t media_errors;			    /* atomic */
	uint64_t error_count;			    /* atomic */
	uint64_t errors[NVME_ERROR_LOG_ENTRIES][8]; /* struct nvme_error_entry */
	struct nvme_state_counters retired;	    /* of namespaces that are gone */
	struct nvme_state_counters counters[NVME_MAX_WORKERS][NVME_MAX_NAMESPACES];
};
_Static_assert(sizeof(struct nvme_state_sq) == 24, "layout");
_Static_assert(sizeof(struct nvme_state_cq) == 24, "layout");
_Static_assert(sizeof(struct nvme_state) == 206080, "a change of the layout is a new version");

/** nvme_state_init() - a new controller, out of power-on reset; @state is zero-filled */
void nvme_state_init(struct nvme_state *state);

/**
 * nvme_state_judge() - may a predecessor's state be gone on with?
 * @queues: I/O queue pairs that this controller has
 * @vectors: interrupt vectors that it has
 *
 * Checks every value that is later used as an index or a size.
 *
 * Return: 0 or -errno with a sentence.
 */
int nvme_state_judge(const struct nvme_state *state, unsigned queues, unsigned vectors,
		     struct error **errp);

/** nvme_state_reset() - what a controller reset clears (section 3.7.2): all but the admin queue's
 * registers, CC and what SMART counts */
void nvme_state_reset(struct nvme_state *state);

#endif
