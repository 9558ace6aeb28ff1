// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "base/log.h"
#include "vfio-user/dma-internal.h"
#include "vfio-user/handlers.h"

static int regions_grow(struct vfio_user_dma *dma)
{
	unsigned room = dma->room ? dma->room * 2 : 16;
	struct vfio_user_dma_region *larger;

	if (dma->count < dma->room)
		return 0;
	larger = realloc(dma->regions, room * sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	dma->regions = larger;
	dma->room = room;
	return 0;
}

struct vfio_user_dma *vfio_user_dma_new(struct vfio_user_transport *transport)
{
	struct vfio_user_dma *dma = calloc(1, sizeof(*dma));

	if (!dma)
		return NULL;
	dma->transport = transport;
	/* There is always an array, if an empty one. */
	if (regions_grow(dma) < 0 || vfio_user_dma_messages_init(&dma->messages) < 0) {
		free(dma->regions);
		free(dma);
		return NULL;
	}
	return dma;
}

void vfio_user_dma_free(struct vfio_user_dma *dma)
{
	if (!dma)
		return;
	vfio_user_dma_messages_destroy(&dma->messages);
	vfio_user_mapping_release(&dma->mappings, true);
	free(dma->regions);
	free(dma);
}

/* The first region that ends behind @iova: the one that holds it, if any does. */
static unsigned region_find(const struct vfio_user_dma *dma, uint64_t iova)
{
	unsigned low = 0, high = dma->count;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;
		const struct vfio_user_dma_region *region = &dma->regions[middle];

		if (region->iova + (region->size - 1) < iova)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool region_holds(const struct vfio_user_dma_region *region, uint64_t iova)
{
	return iova >= region->iova && iova - region->iova < region->size;
}

/* Where the last search of this thread ended: a guest's queues and buffers are neighbours. */
static unsigned region_find_cached(const struct vfio_user_dma *dma, uint64_t iova)
{
	static __thread unsigned last;

	if (last >= dma->count || !region_holds(&dma->regions[last], iova))
		last = region_find(dma, iova);
	return last;
}

void *vfio_user_dma_resolve(struct vfio_user_dma *dma, uint64_t iova, size_t len, unsigned access)
{
	const struct vfio_user_dma_region *first, *region, *end = dma->regions + dma->count;
	unsigned index = region_find_cached(dma, iova);
	uint64_t inside, left;

	if (index >= dma->count)
		return NULL;
	first = region = &dma->regions[index];
	if (!region_holds(region, iova) || !region->mapping || access & ~region->access)
		return NULL;
	inside = iova - region->iova;
	left = region->size - inside;
	while (left < len) {
		const struct vfio_user_dma_region *next = region + 1;

		if (next == end || next->iova != region->iova + region->size ||
		    next->mapping != region->mapping ||
		    next->offset != region->offset + region->size || access & ~next->access)
			return NULL;
		left += next->size;
		region = next;
	}
	return first->mapping->base + first->offset + inside;
}

bool vfio_user_dma_contains(struct vfio_user_dma *dma, uint64_t iova, size_t len, unsigned access)
{
	unsigned index = region_find_cached(dma, iova);
	uint64_t left;

	if (index >= dma->count || !region_holds(&dma->regions[index], iova))
		return false;
	left = dma->regions[index].iova + dma->regions[index].size - iova;
	for (;;) {
		const struct vfio_user_dma_region *region = &dma->regions[index];

		if (access & ~region->access)
			return false;
		if (left >= len)
			return true;
		if (++index == dma->count ||
		    dma->regions[index].iova != region->iova + region->size)
			return false;
		left += dma->regions[index].size;
	}
}

unsigned vfio_user_dma_generation(const struct vfio_user_dma *dma)
{
	return dma->generation;
}

bool vfio_user_dma_has_unmapped(const struct vfio_user_dma *dma)
{
	unsigned i;

	for (i = 0; i < dma->count; i++)
		if (dma->regions[i].access & VFIO_USER_ACCESS_WRITE && !dma->regions[i].mapping)
			return true;
	return false;
}

int vfio_user_dma_map(struct vfio_user_dma *dma, const struct vfio_user_dma_map *map, int fd)
{
	struct vfio_user_dma_region region = { .iova = map->addr, .size = map->size };
	unsigned index = region_find(dma, map->addr);
	int r;

	if (index < dma->count && dma->regions[index].iova <= map->addr + (map->size - 1))
		return -EEXIST;
	if (dma->count >= VFIO_USER_DMA_MAX_REGIONS)
		return -ENOSPC;
	r = regions_grow(dma);
	if (r < 0)
		return r;
	if (map->flags & VFIO_USER_DMA_READABLE)
		region.access |= VFIO_USER_ACCESS_READ;
	if (map->flags & VFIO_USER_DMA_WRITEABLE)
		region.access |= VFIO_USER_ACCESS_WRITE;
	if (fd >= 0) {
		r = vfio_user_mapping_get(&dma->mappings, fd, map->offset + map->size,
					  region.access & VFIO_USER_ACCESS_WRITE, &region.mapping);
		if (r < 0)
			return r;
		region.offset = map->offset;
	}
	memmove(dma->regions + index + 1, dma->regions + index,
		(dma->count - index) * sizeof(region));
	dma->regions[index] = region;
	dma->count++;
	dma->generation++;
	return 0;
}

int vfio_user_dma_unmap(struct vfio_user_dma *dma, uint64_t iova, uint64_t size)
{
	unsigned index = region_find(dma, iova);
	struct vfio_user_dma_region *region = dma->regions + index;

	if (index >= dma->count || region->iova != iova || region->size != size)
		return -ENOENT;
	vfio_user_mapping_put(region->mapping);
	memmove(region, region + 1, (dma->count - index - 1) * sizeof(*region));
	dma->count--;
	dma->generation++;
	return 0;
}

static void vfio_user_dma_unmap_all(struct vfio_user_dma *dma)
{
	unsigned i;

	for (i = 0; i < dma->count; i++)
		vfio_user_mapping_put(dma->regions[i].mapping);
	dma->count = 0;
	dma->generation++;
}

bool vfio_user_dma_mark_retired(struct vfio_user_dma *dma)
{
	return vfio_user_mapping_mark(dma->mappings);
}

void vfio_user_dma_release_retired(struct vfio_user_dma *dma)
{
	vfio_user_mapping_release(&dma->mappings, false);
}

int vfio_user_handle_dma_map(struct vfio_user_server *server, struct vfio_user_message *message,
			     struct vfio_user_reply *reply)
{
	const struct vfio_user_dma_map *map = message->payload;
	int r;

	vfio_user_server_pause(server);
	r = vfio_user_dma_map(server->dma, map, message->fd_count ? message->fds[0] : -1);
	vfio_user_server_resume(server);
	if (r < 0)
		log_guest(LOG_WARNING, "DMA_MAP of 0x%llx bytes at 0x%llx refused: %s",
			  (unsigned long long)map->size, (unsigned long long)map->addr,
			  strerror(-r));
	return r;
}

int vfio_user_handle_dma_unmap(struct vfio_user_server *server, struct vfio_user_message *message,
			       struct vfio_user_reply *reply)
{
	const struct vfio_user_dma_unmap *unmap = message->payload;
	int r = 0;

	vfio_user_server_pause(server);
	if (unmap->flags & VFIO_USER_UNMAP_ALL)
		vfio_user_dma_unmap_all(server->dma);
	else
		r = vfio_user_dma_unmap(server->dma, unmap->addr, unmap->size);
	vfio_user_server_resume(server);
	reply->data = unmap;
	reply->size = sizeof(*unmap);
	return r;
}
