/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_WRITE_LOG_H
#define NVME_WRITE_LOG_H

#include "base/util.h"

/*
 * Which of the guest's memory a worker has written directly, and until when.
 *
 * Theory of operation
 *
 * A migration's dirty log does not see what we store directly. Message mode ends that, but it
 * begins a little after the log did, so what landed in between must be known afterwards. So every
 * direct write of data is noted, always: a store of 8 bytes, no lock, no clock, no system call.
 * Completion queues and the like are not noted: they are few, and all of them count as written.
 *
 * An entry is a run of pages, or, with no pages, a time: everything before it had landed by then.
 * Times are those of a coarse clock, one a tick and only where something was written; so an entry
 * counts as a little later than it was, which costs pages and loses none.
 *
 * Entries are in one of two halves. When it is full, or holds enough of long ago, the other one is
 * emptied and goes on: what was noted since the present half's beginning, and all of the half before
 * it, is there. `complete_since` says so in one number. While a migration wants to know, halves
 * are not changed for age.
 *
 * In shared memory: a successor of this process goes on. One writer, the worker; others read while
 * it stands or is drained.
 */
#define NVME_WRITE_LOG_ENTRIES (128 * 1024u) /* of a half: a tenth of a second at 1.3 M a second */

struct nvme_write_log_half {
	uint64_t begun; /* CLOCK_MONOTONIC, microseconds */
	uint32_t count;
	uint32_t padding;
	uint64_t entries[NVME_WRITE_LOG_ENTRIES];
};

struct nvme_write_log {
	uint32_t version; /* 0: new */
	uint32_t half;	  /* the present one */
	uint64_t complete_since;
	uint64_t last_time; /* in the present half */
	uint32_t looked;    /* entries of the present half when the clock was read last */
	uint32_t keep;	    /* the control thread's, in a pause: do not forget for age */
	struct nvme_write_log_half halves[2];
};

#define NVME_WRITE_LOG_PAGE 4096u

/** nvme_write_log_init() - a new one, or a predecessor's, which is judged: nonsense is forgotten */
void nvme_write_log_init(struct nvme_write_log *log);

/** nvme_write_log_next_half() - the present one is full */
void nvme_write_log_next_half(struct nvme_write_log *log);

/** nvme_write_log_look() - read the clock, there is something new */
void nvme_write_log_look(struct nvme_write_log *log);

/**
 * nvme_write_log_add() - these bytes were written directly
 * @log: NULL: nobody wants to know
 * @len: at least 1, less than 16 MiB
 */
static inline void nvme_write_log_add(struct nvme_write_log *log, uint64_t iova, uint32_t len)
{
	struct nvme_write_log_half *half;
	uint64_t first = iova / NVME_WRITE_LOG_PAGE;
	uint32_t count;

	if (!log)
		return;
	half = &log->halves[log->half];
	count = half->count;
	/* The entry before it counts: this process may die between the two. */
	WRITE_ONCE(half->entries[count],
		   first * NVME_WRITE_LOG_PAGE |
			   ((iova + len - 1) / NVME_WRITE_LOG_PAGE - first + 1));
	WRITE_ONCE(half->count, count + 1);
	/* The last is for the time. */
	if (count + 1 == NVME_WRITE_LOG_ENTRIES - 1)
		nvme_write_log_next_half(log);
}

/** nvme_write_log_poll() - once after each batch */
static inline void nvme_write_log_poll(struct nvme_write_log *log)
{
	if (log && log->halves[log->half].count != log->looked)
		nvme_write_log_look(log);
}

/** nvme_write_log_keep() - a migration wants to know from now on, or no longer; in a pause */
void nvme_write_log_keep(struct nvme_write_log *log, bool keep);

/**
 * nvme_write_log_since() - what was written after @since (CLOCK_MONOTONIC, microseconds), and a
 * little more
 *
 * Return: 0, the first negative result of @run, or -ENODATA: it is not known any more.
 */
int nvme_write_log_since(const struct nvme_write_log *log, uint64_t since,
			 int (*run)(void *opaque, uint64_t iova, uint64_t len), void *opaque);

#endif
