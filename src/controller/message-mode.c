// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/message-mode.h"

#include "base/clock.h"

/*
 * Theory of operation
 *
 * QEMU does not see what we store into the guest's memory, so a page that changes while a migration
 * copies memory would stay behind. What goes through QEMU as VFIO_USER_DMA_WRITE is marked dirty
 * and copied again. QEMU executes our messages in order: what it has executed is always a prefix of
 * what we have posted, and data comes before the completion that announces it.
 *
 * Entering is a barrier: all I/O threads stand, none is in the middle of a store, and when they go on
 * nvme_host_resolve() gives no pointer for writing any more; queues notice it by the map's
 * generation. Reads that are in flight in the kernel still land directly.
 *
 * Leaving has two steps. While there are posted writes that are not executed, a direct store could
 * overtake them; under load there are always some. So first nothing more is posted (there is no
 * room) until all are acknowledged, which takes a round trip; then directly. The client's main thread
 * may be waiting for us meanwhile: nothing of ours waits, but what is put off for want of room.
 *
 * What landed directly since the migration's beginning is the overlay's (overlay.h), and what QEMU
 * has executed when the guest stood already (late-writes.h). The write logs
 * that say so are always kept, for when the mode is entered it is too late to begin one.
 *
 * The mode outlives this process. A successor begins in it: its writes go the same way and so cannot
 * overtake what its predecessor has posted.
 */
#define STATE_VERSION 1u

/* The state in a page of its own, then the late writes, then a log for each worker. */
#define LATE_OFFSET 4096
#define LOGS_OFFSET (LATE_OFFSET + ROUND_UP(sizeof(struct late_writes), 4096))

size_t message_mode_memory_size(void)
{
	return ROUND_UP(LOGS_OFFSET + IO_THREADS_MAX * sizeof(struct nvme_write_log), 4096);
}

static void written(void *opaque, uint64_t iova, uint32_t len)
{
	struct message_mode *mode = opaque;

	if (mode->state->enabled)
		late_writes_add(mode->late, iova, len);
}

void message_mode_init(struct message_mode *mode, struct host *host, void *memory)
{
	struct message_mode_state *state = memory;
	unsigned i;

	*mode = (struct message_mode){
		.host = host,
		.state = state,
		.late = (void *)((char *)memory + LATE_OFFSET),
		.logs = (void *)((char *)memory + LOGS_OFFSET),
		.entered = clock_us(CLOCK_MONOTONIC),
	};
	if (state->version != STATE_VERSION)
		*state = (struct message_mode_state){ .version = STATE_VERSION };
	for (i = 0; i < host->nvme.workers; i++)
		nvme_write_log_init(&mode->logs[i]);
	host->nvme.write_logs = mode->logs;
	host->written = written;
	host->written_opaque = mode;
	if (state->enabled)
		host_set_writes(host, HOST_WRITES_BY_MESSAGE);
}

bool message_mode_enabled(const struct message_mode *mode)
{
	return mode->state->enabled;
}

static void keep_logs(struct message_mode *mode, bool keep)
{
	unsigned i;

	for (i = 0; i < mode->host->nvme.workers; i++)
		nvme_write_log_keep(&mode->logs[i], keep);
}

static void end_leaving(struct message_mode *mode, bool still_on)
{
	void (*left)(void *opaque, bool still_on) = mode->left;

	mode->round++;
	mode->left = NULL;
	if (left)
		left(mode->opaque, still_on);
}

void message_mode_enter(struct message_mode *mode, uint64_t since)
{
	/* In this order: a successor that finds it on must find the right time. */
	if (!mode->state->enabled)
		late_writes_reset(mode->late);
	mode->state->since = since;
	mode->entered = clock_us(CLOCK_MONOTONIC);
	STORE_RELEASE(mode->state->enabled, 1);
	host_pause(mode->host);
	keep_logs(mode, true);
	host_set_writes(mode->host, HOST_WRITES_BY_MESSAGE);
	host_resume(mode->host);
	end_leaving(mode, true);
}

static void drained(void *opaque, unsigned round)
{
	struct message_mode *mode = opaque;

	if (round != mode->round || --mode->draining)
		return;
	STORE_RELEASE(mode->state->enabled, 0);
	host_pause(mode->host);
	keep_logs(mode, false);
	host_set_writes(mode->host, HOST_WRITES_DIRECT);
	host_resume(mode->host);
	end_leaving(mode, false);
}

void message_mode_leave(struct message_mode *mode, void (*left)(void *opaque, bool still_on),
			void *opaque)
{
	struct nvme_host *nvme = &mode->host->nvme;
	unsigned i;

	end_leaving(mode, true);
	if (!mode->state->enabled) {
		left(opaque, false);
		return;
	}
	mode->left = left;
	mode->opaque = opaque;
	mode->draining = nvme->workers + 1;
	host_pause(mode->host);
	host_set_writes(mode->host, HOST_WRITES_DRAINING);
	for (i = 0; i < nvme->workers; i++)
		nvme_host_after_writes(nvme, i, drained, mode, mode->round);
	/* A predecessor may have posted the last. */
	nvme_host_fence(nvme, drained, mode, mode->round);
	host_resume(mode->host);
}
