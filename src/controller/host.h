/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_HOST_H
#define CONTROLLER_HOST_H

#include "controller/io-thread.h"
#include "vfio-user/dma.h"
#include "vfio-user/irq.h"

/* How the guest's memory is written. */
enum host_writes {
	HOST_WRITES_DIRECT,	/* in place, where it can be */
	HOST_WRITES_BY_MESSAGE, /* all by message */
	HOST_WRITES_DRAINING,	/* by message, and nothing more for now */
};

/* The machine of nvme/host.h, over one vfio-user client; without a client, a machine without
 * memory. */
struct host {
	struct nvme_host nvme;
	struct io_threads *threads;
	struct vfio_user_dma *dma; /* these two: NULL without a client; change only in a pause */
	struct vfio_user_irq *irq;
	bool intx;		 /* the interrupt line is raised */
	enum host_writes writes; /* changes only in a pause */
	unsigned dma_generation; /* of @dma, when nvme.map_generation moved last */
	/* Whoever pauses the guest; see nvme_host_io_error(). */
	void (*io_error)(struct host *host, uint32_t nsid, enum block_op op, int error);
	/* Whoever knows whether the guest runs; see nvme_host_silent(). */
	void (*silent)(struct host *host);
	/* Whoever records it; see nvme_host_block_size(). */
	void (*block_size)(struct host *host, uint32_t nsid, uint32_t block_size);
	/* Who wants to know of message writes that the client has executed; control thread. */
	void (*written)(void *opaque, uint64_t iova, uint32_t len);
	void *written_opaque;
};

void host_init(struct host *host, struct io_threads *threads);

/** host_connect() - use this client's memory and interrupts from here on; NULL, NULL: none */
void host_connect(struct host *host, struct vfio_user_dma *dma, struct vfio_user_irq *irq);

/** host_set_writes() - from here on, for all workers */
void host_set_writes(struct host *host, enum host_writes writes);

/** host_pause(), host_resume() - around a change of the DMA map or of the eventfds */
void host_pause(struct host *host);
void host_resume(struct host *host);

#endif
