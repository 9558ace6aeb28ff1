/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_MARKS_H
#define NVME_MARKS_H

#include "base/util.h"

struct block;

/*
 * Theory of operation
 *
 * The blocks of an image that are marked as invalid (Write Uncorrectable): ranges of bytes, so that
 * they mean the same whatever the size of a block is, in order, and with something between each two.
 *
 * They are kept in a file of two slots, as reservations are (reservation-durable.h): each has the
 * ranges, a number and a checksum, and the higher number is in force. The other one is written.
 */
#define NVME_MARKS_MAX	      254
#define NVME_MARKS_FILE_BYTES 8192

struct nvme_marks {
	uint32_t count;
	uint32_t padding;
	struct {
		uint64_t offset, end;
	} ranges[NVME_MARKS_MAX];
};

struct nvme_marks_slot {
	uint64_t magic;
	uint32_t version;
	uint32_t checksum; /* of all, with a 0 here */
	uint64_t number;   /* not 0 */
	struct nvme_marks marks;
};
_Static_assert(sizeof(struct nvme_marks_slot) == NVME_MARKS_FILE_BYTES / 2, "layout");

/* Where they are kept. */
struct nvme_marks_file {
	struct block *block; /* the file */
	/* What is there; no write is under way. 0 or -errno. */
	int (*recall)(struct nvme_marks_file *file, struct nvme_marks_slot ret[2]);
};

/** nvme_marks_meet() - is any of these bytes marked? */
bool nvme_marks_meet(const struct nvme_marks *marks, uint64_t offset, uint64_t end);

/** nvme_marks_set() - mark or unmark; 0, or -ENOSPC: there would be too many ranges, and nothing has
 * changed */
int nvme_marks_set(struct nvme_marks *marks, uint64_t offset, uint64_t end, bool mark);

/** nvme_marks_fill() - make a slot */
void nvme_marks_fill(struct nvme_marks_slot *slot, const struct nvme_marks *marks, uint64_t number);

/** nvme_marks_find() - the index of the slot in force; -ENOENT: there never was one; -EBADMSG: none
 * makes sense */
int nvme_marks_find(const struct nvme_marks_slot slots[2]);

#endif
