// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/fd-store.h"

#include <errno.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/util.h"

/*
 * Theory of operation
 *
 * Not the messages are kept but what they add up to, so that a guest that is rebooted a thousand
 * times costs what one costs: maps by address (an unmap removes those inside its range), one
 * eventfd a vector. QEMU's numbers are bounded here, not believed.
 */
#define MAX_MAPS	4096u
#define MAX_VECTORS	2048u /* of MSI-X */
#define MAX_VERSION	4096u
#define IRQ_INDEX_COUNT VFIO_PCI_NUM_IRQS

struct map {
	struct map *next;
	struct message_dma_map request;
	int fd; /* -1: memory that is reached by messages */
};

struct vectors {
	int *fds; /* -1: none */
	size_t count;
};

struct fd_store {
	struct message_header version_header;
	void *version; /* NULL before it was negotiated */
	struct map *maps, **maps_end;
	size_t map_count;
	struct vectors vectors[IRQ_INDEX_COUNT];
	uint64_t irq_changes;
	bool incomplete;
};

struct fd_store *fd_store_new(void)
{
	struct fd_store *store = calloc(1, sizeof(*store));

	if (store)
		store->maps_end = &store->maps;
	return store;
}

static void free_vectors(struct vectors *vectors)
{
	fd_close_all(vectors->fds, vectors->count);
	free(vectors->fds);
	vectors->fds = NULL;
	vectors->count = 0;
}

/* Those inside [first, last]. */
static void remove_maps(struct fd_store *store, uint64_t first, uint64_t last)
{
	struct map **link = &store->maps;

	while (*link) {
		struct map *map = *link;
		uint64_t size = map->request.size;

		if (size == 0 || map->request.address < first ||
		    map->request.address + (size - 1) > last) {
			link = &map->next;
			continue;
		}
		*link = map->next;
		fd_close_all(&map->fd, 1);
		free(map);
		store->map_count--;
	}
	store->maps_end = link;
}

void fd_store_free(struct fd_store *store)
{
	size_t i;

	if (!store)
		return;
	while (store->maps) {
		struct map *map = store->maps;

		store->maps = map->next;
		fd_close_all(&map->fd, 1);
		free(map);
	}
	for (i = 0; i < IRQ_INDEX_COUNT; i++)
		free_vectors(&store->vectors[i]);
	free(store->version);
	free(store);
}

static void lose_track(struct fd_store *store, const char *what)
{
	if (!store->incomplete)
		log_warning("%s: too much to remember, this device cannot survive its controller",
			    what);
	store->incomplete = true;
}

static void note_version(struct fd_store *store, const struct message_header *header,
			 const void *payload, size_t size)
{
	void *copy = size <= MAX_VERSION ? malloc(size + 1) : NULL;

	if (!copy) {
		lose_track(store, "version");
		return;
	}
	memcpy(copy, payload, size);
	free(store->version);
	store->version = copy;
	store->version_header = *header;
}

static void note_map(struct fd_store *store, const void *payload, size_t size, int *fds,
		     size_t fd_count)
{
	struct map *map;

	if (size < sizeof(map->request))
		return;
	map = store->map_count < MAX_MAPS ? calloc(1, sizeof(*map)) : NULL;
	if (!map) {
		lose_track(store, "memory map");
		return;
	}
	memcpy(&map->request, payload, sizeof(map->request));
	map->fd = fd_count ? steal_fd(&fds[0]) : -1;
	*store->maps_end = map;
	store->maps_end = &map->next;
	store->map_count++;
}

static void note_unmap(struct fd_store *store, const void *payload, size_t size)
{
	struct message_dma_unmap request;

	if (size < sizeof(request))
		return;
	memcpy(&request, payload, sizeof(request));
	if (request.flags & VFIO_DMA_UNMAP_FLAG_ALL)
		remove_maps(store, 0, UINT64_MAX);
	else if (request.size)
		remove_maps(store, request.address, request.address + (request.size - 1));
}

static void note_irqs(struct fd_store *store, const void *payload, size_t size, int *fds,
		      size_t fd_count)
{
	struct vfio_irq_set request;
	struct vectors *vectors;
	size_t end, i;

	if (size < sizeof(request))
		return;
	memcpy(&request, payload, sizeof(request));
	/* Masks are in the state file. */
	if (!(request.flags & VFIO_IRQ_SET_ACTION_TRIGGER) || request.index >= IRQ_INDEX_COUNT)
		return;
	store->irq_changes++;
	vectors = &store->vectors[request.index];
	if ((request.flags & VFIO_IRQ_SET_DATA_NONE) && request.count == 0) {
		free_vectors(vectors);
		return;
	}
	if (!(request.flags & VFIO_IRQ_SET_DATA_EVENTFD))
		return;
	if (request.start >= MAX_VECTORS || request.count > MAX_VECTORS - request.start) {
		lose_track(store, "interrupts");
		return;
	}
	end = request.start + request.count;
	if (end > vectors->count) {
		int *larger = realloc(vectors->fds, end * sizeof(int));

		if (!larger) {
			lose_track(store, "interrupts");
			return;
		}
		for (i = vectors->count; i < end; i++)
			larger[i] = -1;
		vectors->fds = larger;
		vectors->count = end;
	}
	/* Fewer descriptors than vectors: the rest is taken away. */
	for (i = 0; i < request.count; i++) {
		int *fd = &vectors->fds[request.start + i];

		fd_close_all(fd, 1);
		*fd = i < fd_count ? steal_fd(&fds[i]) : -1;
	}
}

void fd_store_note(struct fd_store *store, const struct message_header *header, const void *payload,
		   int *fds, size_t fd_count)
{
	size_t size = header->size - sizeof(*header);

	switch (header->command) {
	case MESSAGE_VERSION:
		note_version(store, header, payload, size);
		break;
	case MESSAGE_DMA_MAP:
		note_map(store, payload, size, fds, fd_count);
		break;
	case MESSAGE_DMA_UNMAP:
		note_unmap(store, payload, size);
		break;
	case MESSAGE_SET_IRQS:
		note_irqs(store, payload, size, fds, fd_count);
		break;
	}
}

bool fd_store_complete(const struct fd_store *store)
{
	return !store->incomplete;
}

uint64_t fd_store_irq_changes(const struct fd_store *store)
{
	return store->irq_changes;
}

static int replay_vectors(const struct vectors *vectors, uint32_t index, fd_store_emit emit,
			  void *opaque)
{
	size_t start = 0;

	while (start < vectors->count) {
		struct message_header header = { .command = MESSAGE_SET_IRQS };
		struct vfio_irq_set request = { .argsz = sizeof(request), .index = index };
		size_t count = 0;
		int r;

		if (vectors->fds[start] < 0) {
			start++;
			continue;
		}
		while (start + count < vectors->count && count < RELAY_MAX_FDS &&
		       vectors->fds[start + count] >= 0)
			count++;
		request.flags = VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD;
		request.start = start;
		request.count = count;
		header.size = sizeof(header) + sizeof(request);
		r = emit(opaque, &header, &request, vectors->fds + start, count);
		if (r < 0)
			return r;
		start += count;
	}
	return 0;
}

int fd_store_replay(const struct fd_store *store, fd_store_emit emit, void *opaque)
{
	const struct map *map;
	uint32_t i;
	int r = 0;

	if (store->version)
		r = emit(opaque, &store->version_header, store->version, NULL, 0);
	for (map = store->maps; r == 0 && map; map = map->next) {
		struct message_header header = {
			.command = MESSAGE_DMA_MAP,
			.size = sizeof(header) + sizeof(map->request),
		};

		r = emit(opaque, &header, &map->request, &map->fd, map->fd >= 0 ? 1 : 0);
	}
	for (i = 0; r == 0 && i < IRQ_INDEX_COUNT; i++)
		r = replay_vectors(&store->vectors[i], i, emit, opaque);
	return r;
}
