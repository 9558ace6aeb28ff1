// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/reservation-durable.h"

#include <errno.h>

#include "base/crc32c.h"

#define DURABLE_MAGIC	0x7370656b7672736eULL /* "nsrvkeps" */
#define DURABLE_VERSION 1

_Static_assert(sizeof(struct nvme_reservation_durable) == NVME_RESERVATION_DURABLE_SLOT, "layout");

static uint32_t checksum(const struct nvme_reservation_durable *slot)
{
	static const uint32_t none;
	const size_t at = offsetof(struct nvme_reservation_durable, checksum);
	uint32_t crc = crc32c(0, slot, at);

	crc = crc32c(crc, &none, sizeof(none));
	return crc32c(crc, (const uint8_t *)slot + at + sizeof(none),
		      sizeof(*slot) - at - sizeof(none));
}

void nvme_reservation_durable_fill(struct nvme_reservation_durable *slot,
				   const struct nvme_reservation_state *state, uint64_t number)
{
	memset(slot, 0, sizeof(*slot));
	slot->magic = DURABLE_MAGIC;
	slot->version = DURABLE_VERSION;
	slot->number = number;
	slot->state = *state;
	slot->checksum = checksum(slot);
}

static bool is_valid(const struct nvme_reservation_durable *slot)
{
	return slot->magic == DURABLE_MAGIC && slot->version == DURABLE_VERSION && slot->number &&
	       slot->checksum == checksum(slot) && nvme_reservation_is_sane(&slot->state);
}

static bool is_empty(const struct nvme_reservation_durable *slot)
{
	static const struct nvme_reservation_durable none;

	return memcmp(slot, &none, sizeof(none)) == 0;
}

/* One that is damaged is a write that was cut short: the first, or one after a good one. */
int nvme_reservation_durable_find(const struct nvme_reservation_durable *slots)
{
	bool valid[2] = { is_valid(&slots[0]), is_valid(&slots[1]) };

	if (valid[0] && valid[1])
		return slots[1].number > slots[0].number;
	if (valid[0] || valid[1])
		return valid[1];
	return is_empty(&slots[0]) || is_empty(&slots[1]) ? -ENOENT : -EBADMSG;
}
