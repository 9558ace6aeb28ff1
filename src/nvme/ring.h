/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_RING_H
#define NVME_RING_H

#include "nvme/host.h"

/*
 * The guest memory of one queue. Its address is resolved once and again only when the DMA map has
 * changed. A queue in memory that is not mapped is not an error: QEMU takes a range away and gives
 * it back when it splits regions. Such a queue rests until the map changes again.
 */
enum nvme_ring_access {
	NVME_RING_UNMAPPED,
	NVME_RING_DIRECT,
	NVME_RING_MESSAGE,
};

struct nvme_ring {
	struct nvme_host *host;
	uint64_t base;
	size_t bytes;
	unsigned direction; /* NVME_HOST_READ or _WRITE */
	unsigned generation;
	enum nvme_ring_access access;
	void *memory; /* for NVME_RING_DIRECT */
};

/** nvme_ring_init() - resolves for the first time */
void nvme_ring_init(struct nvme_ring *ring, struct nvme_host *host, uint64_t base, size_t bytes,
		    unsigned direction);

void nvme_ring_resolve(struct nvme_ring *ring);

/** nvme_ring_access() - how to reach it now; asked again after each pause point */
static inline enum nvme_ring_access nvme_ring_access(struct nvme_ring *ring)
{
	if (ring->generation != ring->host->map_generation)
		nvme_ring_resolve(ring);
	return ring->access;
}

#endif
