/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_BOUNCE_H
#define NVME_BOUNCE_H

#include "nvme/data-pointer.h"

/*
 * Buffers for data that the block layer cannot use in place: guest memory that goes by message, or
 * is not aligned as O_DIRECT wants (a PRP may begin at any dword). A bounded pool a worker; its
 * pages appear when first used. Commands that find none wait in the worker's list.
 */
#define NVME_BOUNCES 16

struct nvme_bounce {
	struct nvme_bounce *next;
	void *data; /* NVME_MAX_TRANSFER bytes, page-aligned */
	unsigned count;
	unsigned delivered; /* segments */
	size_t delivered_bytes;
	struct nvme_segment segments[NVME_MAX_SEGMENTS]; /* where a read's data goes */
};

struct nvme_bounce_pool {
	struct nvme_bounce *bounces;
	struct nvme_bounce *free;
	void *memory;
};

/** nvme_bounce_pool_init() - 0 or -ENOMEM */
int nvme_bounce_pool_init(struct nvme_bounce_pool *pool);
void nvme_bounce_pool_destroy(struct nvme_bounce_pool *pool);

/** nvme_bounce_new() - NULL: all are in use */
struct nvme_bounce *nvme_bounce_new(struct nvme_bounce_pool *pool);
/**
 * nvme_bounce_deliver() - copy a read's data to the guest, going on where the last call stopped
 *
 * Return: 0; -EAGAIN: there is no room for more of it now; -EFAULT: not the guest's memory any
 * more.
 */
int nvme_bounce_deliver(struct nvme_worker *worker, struct nvme_bounce *bounce);

void nvme_bounce_free(struct nvme_bounce_pool *pool, struct nvme_bounce *bounce);

#endif
