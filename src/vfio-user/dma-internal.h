/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VFIO_USER_DMA_INTERNAL_H
#define VFIO_USER_DMA_INTERNAL_H

#include <pthread.h>

#include "vfio-user/dma.h"
#include "vfio-user/mapping.h"
#include "vfio-user/transport.h"

/* What the server and the two halves of dma share: the map (dma.c), the messages (dma-message.c).
 */

#define VFIO_USER_DMA_MAX_REGIONS 65535	      /* max_dma_maps, as announced */
#define VFIO_USER_DMA_READ_MAX	  (64 * 1024) /* outstanding: QEMU cuts longer replies short */
#define VFIO_USER_DMA_WINDOW	  (4 * 1024 * 1024) /* bytes of DMA_WRITE without an answer */
#define VFIO_USER_DMA_MESSAGES	  256		    /* and messages */
#define VFIO_USER_DMA_SLOTS	  1024 /* commands without an answer, whatever they are */
#define VFIO_USER_DMA_STREAMS	  64
#define VFIO_USER_DMA_WAITING	  4096 /* calls of after_writes() that wait */

struct vfio_user_dma_region {
	uint64_t iova, size;
	unsigned access;
	struct vfio_user_mapping *mapping; /* NULL: by message */
	uint64_t offset;		   /* in the mapping */
};

/* A command of ours that the client has not answered. */
struct vfio_user_dma_slot {
	bool used;
	uint16_t command;
	uint16_t id;
	unsigned stream;
	uint64_t addr, count;
	void *buf; /* DMA_READ: where the data goes; NULL: nobody waits any more */
	bool done;
	int result;
	/* A fence: called when the answer is there; for nobody's data. */
	void (*fenced)(void *opaque, unsigned value);
	void *opaque;
	unsigned value;
};

struct vfio_user_dma_waiting {
	unsigned stream;
	uint64_t after; /* acknowledged writes of the stream */
	void (*fn)(void *opaque, unsigned value);
	void *opaque;
	unsigned value;
};

struct vfio_user_dma_messages {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t reading, writing;    /* bytes outstanding */
	unsigned writes;	    /* messages outstanding */
	uint64_t pages, most_pages; /* of 4 KiB, that they touch; the most ever */
	unsigned next_id;
	size_t max_transfer; /* the client's max_data_xfer_size */
	bool cancelled;
	bool closed;
	bool starved; /* atomic: somebody waits for room */
	void (*room)(void *opaque);
	void *room_opaque;
	void (*written)(void *opaque, uint64_t iova, uint32_t len);
	void *written_opaque;
	uint64_t posted[VFIO_USER_DMA_STREAMS], acknowledged[VFIO_USER_DMA_STREAMS];
	struct vfio_user_dma_slot slots[VFIO_USER_DMA_SLOTS];
	struct vfio_user_dma_waiting *waiting;
	unsigned waiting_count;
	void (*enter)(void *opaque);
	void (*leave)(void *opaque);
	void *hooks_opaque;
};

struct vfio_user_dma {
	struct vfio_user_transport *transport; /* the server's */
	struct vfio_user_dma_region *regions;  /* sorted, not overlapping */
	unsigned count, room;
	unsigned generation;
	struct vfio_user_mapping *mappings;
	struct vfio_user_dma_messages messages;
};

struct vfio_user_dma *vfio_user_dma_new(struct vfio_user_transport *transport);
void vfio_user_dma_free(struct vfio_user_dma *dma);

/**
 * vfio_user_dma_map() - add a region; the workers stand still
 * @fd: its file, or -1; the caller's
 *
 * Return: 0, -EEXIST (overlaps), -ENOSPC (too many), -EINVAL (not a file for this).
 */
int vfio_user_dma_map(struct vfio_user_dma *dma, const struct vfio_user_dma_map *map, int fd);
/** vfio_user_dma_unmap() - -ENOENT unless there is exactly that region */
int vfio_user_dma_unmap(struct vfio_user_dma *dma, uint64_t iova, uint64_t size);

int vfio_user_dma_messages_init(struct vfio_user_dma_messages *messages);
void vfio_user_dma_messages_destroy(struct vfio_user_dma_messages *messages);

/** vfio_user_dma_set_max_transfer() - what VERSION said */
void vfio_user_dma_set_max_transfer(struct vfio_user_dma *dma, size_t bytes);

/** vfio_user_dma_reply() - the client's answer to a command of ours; -EPROTO: nonsense */
int vfio_user_dma_reply(struct vfio_user_dma *dma, const struct vfio_user_message *message);

/** vfio_user_dma_end() - the connection is over: reads that wait end with -ENOTCONN, writes are
 * dropped, and there will be no acknowledgement any more: run what waits for one. Control thread. */
void vfio_user_dma_end(struct vfio_user_dma *dma);

#endif
