/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_LATE_WRITES_H
#define CONTROLLER_LATE_WRITES_H

#include "base/util.h"

/*
 * Which of our messages the client has executed, and when: the newest of them.
 *
 * Theory of operation
 *
 * What QEMU executes is marked dirty, and that is of use only as long as it looks at the marks again.
 * It does so for the last time when the guest stands already, and lets its main thread run after it
 * (in run_on_cpu(), which waits without the lock that the main thread needs). A message that is executed
 * there is acknowledged like any other, its command ends, and its page may not be sent any more. So what
 * was acknowledged after the guest stood is to be carried (overlay.h).
 *
 * Counted is when the acknowledgement came: a message may have been posted long before. One that was
 * not noted has not counted for its command either: whoever dies in between leaves a command that is
 * executed again. Control thread only; in shared memory, so that a successor goes on.
 */
#define LATE_WRITES 16384u

struct late_write {
	uint64_t at; /* CLOCK_MONOTONIC, microseconds */
	uint64_t iova;
	uint64_t len;
};

struct late_writes {
	uint64_t count;		 /* ever; the newest LATE_WRITES of them are there */
	uint64_t complete_since; /* the same clock; what was executed later is there */
	struct late_write ring[LATE_WRITES];
};

/** late_writes_reset() - none yet */
void late_writes_reset(struct late_writes *writes);

/** late_writes_add() - these bytes were executed now */
void late_writes_add(struct late_writes *writes, uint64_t iova, uint32_t len);

/**
 * late_writes_since() - what was executed at or after @since; 0: all
 *
 * Return: 0, the first negative result of @run, or -ENODATA: it is not known any more.
 */
int late_writes_since(const struct late_writes *writes, uint64_t since,
		      int (*run)(void *opaque, uint64_t iova, uint64_t len), void *opaque);

#endif
