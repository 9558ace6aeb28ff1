// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/write-log.h"

#include <errno.h>

#include "base/clock.h"

#define LOG_VERSION 1u
#define PAGES_MASK  (NVME_WRITE_LOG_PAGE - 1)

/* So long at least is remembered where there was room for it. */
#define AGE_US (2 * 1000 * 1000)
/* Not worth forgetting: a page. */
#define FEW 512
/* More than the coarse clock is ever behind: a tick of the slowest kernel is 10 ms. */
#define COARSE_US (20 * 1000)

void nvme_write_log_init(struct nvme_write_log *log)
{
	bool is_new = !log->version;

	if (log->version == LOG_VERSION && log->half < ARRAY_SIZE(log->halves) &&
	    log->halves[log->half].count < NVME_WRITE_LOG_ENTRIES - 1 &&
	    log->halves[!log->half].count <= NVME_WRITE_LOG_ENTRIES)
		return;
	log->half = log->looked = log->keep = 0;
	log->last_time = 0;
	log->halves[0].count = log->halves[1].count = 0;
	log->halves[0].begun = clock_us(CLOCK_MONOTONIC);
	/* Before a new one nothing was written. */
	log->complete_since = is_new ? 0 : log->halves[0].begun;
	STORE_RELEASE(log->version, LOG_VERSION);
}

static void add_time(struct nvme_write_log *log, uint64_t time)
{
	struct nvme_write_log_half *half = &log->halves[log->half];

	WRITE_ONCE(half->entries[half->count], time * NVME_WRITE_LOG_PAGE);
	WRITE_ONCE(half->count, half->count + 1);
	log->last_time = time;
}

void nvme_write_log_next_half(struct nvme_write_log *log)
{
	struct nvme_write_log_half *next = &log->halves[!log->half];
	uint64_t now = clock_us(CLOCK_MONOTONIC);

	add_time(log, now);
	/* In this order, whenever this process may die: what is forgotten is not promised. */
	WRITE_ONCE(log->complete_since, log->halves[log->half].begun);
	WRITE_ONCE(next->count, 0);
	WRITE_ONCE(next->begun, now);
	WRITE_ONCE(log->half, !log->half);
	log->looked = 0;
}

void nvme_write_log_look(struct nvme_write_log *log)
{
	struct nvme_write_log_half *half = &log->halves[log->half];
	uint64_t now = clock_us(CLOCK_MONOTONIC_COARSE);

	if (now != log->last_time) {
		/* Something was added, and that left room for a time. */
		add_time(log, now);
		if (half->count == NVME_WRITE_LOG_ENTRIES - 1 ||
		    (half->count > FEW && now > half->begun + AGE_US && !log->keep)) {
			nvme_write_log_next_half(log);
			return;
		}
	}
	log->looked = half->count;
}

void nvme_write_log_keep(struct nvme_write_log *log, bool keep)
{
	log->keep = keep;
}

static int run_entries(const struct nvme_write_log_half *half, uint32_t from, uint32_t to,
		       int (*run)(void *opaque, uint64_t iova, uint64_t len), void *opaque)
{
	int ret = 0;

	for (; from < to && !ret; from++) {
		uint64_t entry = half->entries[from];

		ret = run(opaque, entry & ~(uint64_t)PAGES_MASK,
			  (entry & PAGES_MASK) * NVME_WRITE_LOG_PAGE);
	}
	return ret;
}

static int run_half(const struct nvme_write_log_half *half, uint64_t since,
		    int (*run)(void *opaque, uint64_t iova, uint64_t len), void *opaque)
{
	uint32_t from = 0, i;
	int ret = 0;

	for (i = 0; i < half->count && !ret; i++) {
		if (half->entries[i] & PAGES_MASK)
			continue;
		if (half->entries[i] / NVME_WRITE_LOG_PAGE + COARSE_US >= since)
			ret = run_entries(half, from, i, run, opaque);
		from = i + 1;
	}
	/* Behind the last time: now, as far as we know. */
	return ret ? ret : run_entries(half, from, half->count, run, opaque);
}

int nvme_write_log_since(const struct nvme_write_log *log, uint64_t since,
			 int (*run)(void *opaque, uint64_t iova, uint64_t len), void *opaque)
{
	int ret;

	if (since < log->complete_since)
		return -ENODATA;
	ret = run_half(&log->halves[!log->half], since, run, opaque);
	return ret ? ret : run_half(&log->halves[log->half], since, run, opaque);
}
