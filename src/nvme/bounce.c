// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/bounce.h"

#include <errno.h>
#include <sys/mman.h>

int nvme_bounce_pool_init(struct nvme_bounce_pool *pool)
{
	pool->bounces = calloc(NVME_BOUNCES, sizeof(*pool->bounces));
	if (!pool->bounces)
		return -ENOMEM;
	pool->memory = mmap(NULL, (size_t)NVME_BOUNCES * NVME_MAX_TRANSFER, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pool->memory == MAP_FAILED) {
		free(pool->bounces);
		return -ENOMEM;
	}
	pool->free = NULL;
	for (unsigned i = NVME_BOUNCES; i-- > 0;) {
		pool->bounces[i].data = (char *)pool->memory + (size_t)i * NVME_MAX_TRANSFER;
		nvme_bounce_free(pool, &pool->bounces[i]);
	}
	return 0;
}

void nvme_bounce_pool_destroy(struct nvme_bounce_pool *pool)
{
	munmap(pool->memory, (size_t)NVME_BOUNCES * NVME_MAX_TRANSFER);
	free(pool->bounces);
}

struct nvme_bounce *nvme_bounce_new(struct nvme_bounce_pool *pool)
{
	struct nvme_bounce *bounce = pool->free;

	if (bounce)
		pool->free = bounce->next;
	return bounce;
}

void nvme_bounce_free(struct nvme_bounce_pool *pool, struct nvme_bounce *bounce)
{
	bounce->next = pool->free;
	pool->free = bounce;
}
