// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/ring.h"

#include "base/log.h"

void nvme_ring_resolve(struct nvme_ring *ring)
{
	ring->generation = ring->host->map_generation;
	ring->memory = nvme_host_resolve(ring->host, ring->base, ring->bytes, ring->direction);
	if (ring->memory) {
		ring->access = NVME_RING_DIRECT;
	} else if (nvme_host_contains(ring->host, ring->base, ring->bytes, ring->direction)) {
		ring->access = NVME_RING_MESSAGE;
	} else {
		ring->access = NVME_RING_UNMAPPED;
		log_guest(LOG_NOTICE, "queue at 0x%llx is not in guest memory now",
			  (unsigned long long)ring->base);
	}
}

void nvme_ring_init(struct nvme_ring *ring, struct nvme_host *host, uint64_t base, size_t bytes,
		    unsigned direction)
{
	*ring = (struct nvme_ring){
		.host = host,
		.base = base,
		.bytes = bytes,
		.direction = direction,
	};
	nvme_ring_resolve(ring);
}
