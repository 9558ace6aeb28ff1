/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_QUEUE_H
#define NVME_QUEUE_H

#include "nvme/journal.h"
#include "nvme/request.h"
#include "nvme/ring.h"

/*
 * Submission and completion queues, as their worker holds them. The definitions (base, size,
 * position) are in the state; see there for who writes what. An object is live from
 * nvme_sq_start() to nvme_sq_stop(), and stays in place after that: requests that are over late
 * still find it, not live, and post nothing.
 */
struct nvme_worker;

struct nvme_cq {
	struct nvme_worker *worker;
	struct nvme_state_cq *state;
	struct nvme_ring ring;
	struct nvme_request_list waiting; /* complete, but there is no room or no way to post */
	unsigned unacknowledged;	  /* completions on their way by message */
	uint16_t id;
	bool live;
	uint8_t unsettled; /* enum nvme_recovery of what a predecessor posted */
	bool notify;	   /* posted since the last interrupt */
	unsigned posted;   /* so many, and no later than `due` is there one: see nvme/interrupt.h */
	uint64_t due;
	bool starved; /* atomic: when the worker fell asleep, completions waited for room */
	bool leaving; /* worker 0's: Delete has begun */
	uint32_t shadow, event; /* see nvme/doorbell.h */
};

struct nvme_sq {
	struct nvme_worker *worker;
	struct nvme_cq *cq;
	struct nvme_state_sq *state;
	struct nvme_ring ring;
	struct nvme_journal journal;
	struct nvme_request *deletion; /* Delete I/O SQ, waiting for what is in flight */
	unsigned in_flight;
	unsigned head;
	uint16_t id;
	bool live;
	bool leaving;		/* worker 0's: Delete has begun */
	uint32_t shadow, event; /* see nvme/doorbell.h */
};

/** nvme_cq_start() - from here on @worker owns it */
void nvme_cq_start(struct nvme_cq *cq, struct nvme_worker *worker);
/** nvme_cq_stop() - drops what waits to be posted */
void nvme_cq_stop(struct nvme_cq *cq);

/** nvme_cq_can_post() - is there a free slot, in memory that we may write now? */
bool nvme_cq_can_post(struct nvme_cq *cq);

/** nvme_cq_write() - write the completion of a journal entry that is POSTING, where that says, and
 * count the queue's position on */
void nvme_cq_write(struct nvme_cq *cq, struct nvme_sq *sq, unsigned slot);

/** nvme_cq_count_on() - there is a completion at @position: the next goes behind it */
void nvme_cq_count_on(struct nvme_cq *cq, uint32_t position);

/** nvme_cq_flush() - post what waits, as far as there is room. Return: whether any was. */
bool nvme_cq_flush(struct nvme_cq *cq);

void nvme_sq_start(struct nvme_sq *sq, struct nvme_cq *cq);
void nvme_sq_stop(struct nvme_sq *sq);

/** nvme_sq_check_idle() - a deletion goes on when nothing is in flight */
void nvme_sq_check_idle(struct nvme_sq *sq);

/** nvme_sq_has_work() - would nvme_sq_fetch() get something? */
bool nvme_sq_has_work(struct nvme_sq *sq);

/** nvme_sq_fetch() - take a batch of commands, a predecessor's first, and execute them. Return: how
 * many. */
unsigned nvme_sq_fetch(struct nvme_sq *sq);

#endif
