// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/marks.h"

#include <errno.h>

#include "base/crc32c.h"

#define MARKS_MAGIC   0x736b72616d76746eULL /* "ntvmarks" */
#define MARKS_VERSION 1

bool nvme_marks_meet(const struct nvme_marks *marks, uint64_t offset, uint64_t end)
{
	for (uint32_t i = 0; i < marks->count && offset < end; i++)
		if (marks->ranges[i].offset < end && offset < marks->ranges[i].end)
			return true;
	return false;
}

static int add(struct nvme_marks *marks, uint64_t offset, uint64_t end)
{
	if (offset >= end)
		return 0;
	if (marks->count == NVME_MARKS_MAX)
		return -ENOSPC;
	marks->ranges[marks->count].offset = offset;
	marks->ranges[marks->count++].end = end;
	return 0;
}

int nvme_marks_set(struct nvme_marks *marks, uint64_t offset, uint64_t end, bool mark)
{
	struct nvme_marks next = { .count = 0 };
	bool added = !mark;
	int ret = 0;

	if (offset >= end)
		return 0;
	for (uint32_t i = 0; i < marks->count && ret == 0; i++) {
		uint64_t from = marks->ranges[i].offset, to = marks->ranges[i].end;

		if (mark && from <= end && offset <= to) {
			offset = MIN(offset, from);
			end = MAX(end, to);
			continue;
		}
		if (!added && from > end) {
			ret = add(&next, offset, end);
			added = true;
		}
		if (ret == 0 && mark)
			ret = add(&next, from, to);
		if (!mark) {
			ret = add(&next, from, MIN(to, offset));
			if (ret == 0)
				ret = add(&next, MAX(from, end), to);
		}
	}
	if (ret == 0 && !added)
		ret = add(&next, offset, end);
	if (ret == 0)
		*marks = next;
	return ret;
}

static uint32_t checksum(const struct nvme_marks_slot *slot)
{
	static const uint32_t none;
	const size_t at = offsetof(struct nvme_marks_slot, checksum);
	uint32_t crc = crc32c(0, slot, at);

	crc = crc32c(crc, &none, sizeof(none));
	return crc32c(crc, (const uint8_t *)slot + at + sizeof(none),
		      sizeof(*slot) - at - sizeof(none));
}

void nvme_marks_fill(struct nvme_marks_slot *slot, const struct nvme_marks *marks, uint64_t number)
{
	*slot = (struct nvme_marks_slot){
		.magic = MARKS_MAGIC,
		.version = MARKS_VERSION,
		.number = number,
		.marks = *marks,
	};
	slot->checksum = checksum(slot);
}

static bool is_sane(const struct nvme_marks *marks)
{
	uint64_t last = 0;

	if (marks->count > NVME_MARKS_MAX)
		return false;
	for (uint32_t i = 0; i < marks->count; i++) {
		if ((i && marks->ranges[i].offset <= last) ||
		    marks->ranges[i].offset >= marks->ranges[i].end)
			return false;
		last = marks->ranges[i].end;
	}
	return true;
}

static bool is_valid(const struct nvme_marks_slot *slot)
{
	return slot->magic == MARKS_MAGIC && slot->version == MARKS_VERSION && slot->number &&
	       slot->checksum == checksum(slot) && is_sane(&slot->marks);
}

static bool is_empty(const struct nvme_marks_slot *slot)
{
	static const struct nvme_marks_slot none;

	return memcmp(slot, &none, sizeof(none)) == 0;
}

/* One that is damaged is a write that was cut short: the first, or one after a good one. */
int nvme_marks_find(const struct nvme_marks_slot slots[2])
{
	bool valid[2] = { is_valid(&slots[0]), is_valid(&slots[1]) };

	if (valid[0] && valid[1])
		return slots[1].number > slots[0].number;
	if (valid[0] || valid[1])
		return valid[1];
	return is_empty(&slots[0]) || is_empty(&slots[1]) ? -ENOENT : -EBADMSG;
}
