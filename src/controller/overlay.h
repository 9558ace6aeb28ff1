/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_OVERLAY_H
#define CONTROLLER_OVERLAY_H

#include "base/error.h"
#include "controller/message-mode.h"
#include "nvme/controller.h"

/*
 * The guest memory that a device wrote directly while a migration was copying memory already, to be
 * written over what arrived at the destination. Control thread only.
 *
 * Format: struct overlay_header, then `count` times struct overlay_range and its bytes. Native
 * integers; ranges in the order of their addresses, not overlapping.
 */
#define OVERLAY_MAGIC	0x79616c7265766f76ULL
#define OVERLAY_VERSION 1u
#define OVERLAY_MAX	(64 * MiB) /* no state of a migration is as large */

struct overlay_header {
	uint64_t magic;
	uint32_t version;
	uint32_t count;
	uint64_t size; /* all of it */
};

struct overlay_range {
	uint64_t iova;
	uint32_t len;
	uint32_t padding;
};

/**
 * overlay_export() - what was written since message_mode_enter()'s time
 * @fd: an empty file
 * @stopped: when the guest stood, CLOCK_MONOTONIC in microseconds, rather too early; 0: it is not known
 * @limit: bytes that it may have, 0: OVERLAY_MAX
 *
 * The guest stands, and nothing is in flight: then the content is final.
 *
 * Return: 0 with the number of ranges and bytes, or -errno with a sentence.
 */
int overlay_export(const struct message_mode *mode, const struct nvme_controller *ctrl, int fd,
		   uint64_t stopped, uint64_t limit, uint32_t *ret_ranges, uint64_t *ret_bytes,
		   struct error **errp);

/**
 * overlay_bound() - how much overlay_export() will write at most, whatever queues the guest makes
 *
 * At any time in message mode.
 *
 * Return: bytes, UINT64_MAX: not known, as long as reads are in flight that began before it.
 */
uint64_t overlay_bound(const struct message_mode *mode, const struct nvme_controller *ctrl);

/** overlay_apply() - judge all of it, then write it into the guest's memory. 0 or -errno with a
 * sentence, nothing written then. */
int overlay_apply(const struct host *host, int fd, uint32_t *ret_ranges, struct error **errp);

#endif
