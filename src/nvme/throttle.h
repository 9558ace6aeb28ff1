/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_THROTTLE_H
#define NVME_THROTTLE_H

#include "nvme/controller.h"

struct nvme_request;
struct nvme_worker;

/*
 * Theory of operation
 *
 * Fair sharing: a namespace may have limits, of bytes and commands a second. A command that would be
 * above one waits before it is executed, in its worker's list `throttled`. It is in flight, but at no
 * backend, and keeps no buffer: to a freeze, a migration, an Abort, a reset or a successor it is a
 * command that was not executed. Nor does it keep a queue that is deleted: it is aborted then, as a
 * guest that deletes queues could exceed its limits otherwise.
 *
 * Each limit is a bucket that leaks at its rate. A bucket keeps one number, the time when it will be
 * empty; a command adds what it costs at the rate. A command may go while the bucket is not full,
 * however much it adds: so none is too large ever to go. Without a burst rate (`max`) a bucket holds
 * 100 ms of its rate; with one it holds a second of the burst rate, and a second bucket of 100 ms
 * leaks at the burst rate. This is how QEMU understands the same names.
 *
 * All workers pour into the same buckets. They are atomic one by one but not together: what several
 * workers decide at the same moment may exceed a limit by a command each, and is paid back after.
 *
 * Workers that want more than there is get the same. Who comes first would get all: one that is awake
 * finds out earlier that a bucket is not full any more than one that a timer wakes. So each counts
 * what it has *taken*, in time at the rate of the limit that takes longest, and lets those go first
 * that contend and have taken less. A worker contends from when a command of its could go until
 * shortly after it wanted to look again; one that does not come then has no claim, and one
 * that begins to contend has not more than a little to catch up. With a limit on the total reads and
 * writes are one class, else two.
 *
 * Who waits is looked at when the first of them may go, but not more often than each 500
 * microseconds. In a direction of which one waits, later ones wait behind it.
 */

struct nvme_bucket {
	uint64_t empty_at; /* nanoseconds, CLOCK_MONOTONIC; atomic */
	uint64_t burst_empty_at;
};

struct nvme_throttle {
	bool on;
	bool total; /* reads and writes have a limit together */
	struct nvme_limits limits;
	struct nvme_bucket buckets[NVME_LIMITS];
};

/** nvme_throttle_set() - other limits, with empty buckets; while all workers stand at a pause point
 */
void nvme_throttle_set(struct nvme_throttle *throttle, const struct nvme_limits *limits);

/**
 * nvme_throttle_take() - may a command go at @now?
 *
 * Return: 0: it may, and is counted; else for how many nanoseconds it may not.
 */
uint64_t nvme_throttle_take(struct nvme_throttle *throttle, bool write, uint64_t bytes,
			    uint64_t now);

/** nvme_throttle_spend() - a command that goes has found out that it moves so much more */
void nvme_throttle_spend(struct nvme_throttle *throttle, bool write, uint64_t bytes);

/** nvme_throttle_admit() - may the request, which is of a namespace, be executed now? If not it is
 * in the worker's list from here on, or aborted */
bool nvme_throttle_admit(struct nvme_request *request);

/** nvme_throttle_poll() - execute those that may go now. Return: was there any? */
bool nvme_throttle_poll(struct nvme_worker *worker);

/** nvme_throttle_hurry() - look at all of them with the next poll */
void nvme_throttle_hurry(struct nvme_worker *worker);

/** nvme_throttle_wait() - for how many nanoseconds nobody may go; -1: nobody waits */
int64_t nvme_throttle_wait(const struct nvme_worker *worker);

#endif
