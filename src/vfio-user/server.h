/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VFIO_USER_SERVER_H
#define VFIO_USER_SERVER_H

#include "base/error.h"
#include "vfio-user/dma.h"
#include "vfio-user/irq.h"
#include "vfio-user/pci-config.h"
#include "vfio-user/transport.h"

/*
 * One vfio-user PCI device on one connection: receives messages, judges them (message.c), and hands
 * them to the part that owns the data they touch: regions (device below), DMA map (dma.h),
 * interrupts (irq.h). Control thread only, unless a function says otherwise.
 */
struct vfio_user_server;

/*
 * The device behind the server. All called on the control thread. Region accesses are inside the
 * region and at most VFIO_USER_MAX_ACCESS bytes; they cannot fail, as a register access on a bus
 * cannot.
 */
struct vfio_user_device_ops {
	void (*region_read)(void *device, unsigned region, uint64_t offset, void *buf, size_t len);
	void (*region_write)(void *device, unsigned region, uint64_t offset, const void *buf,
			     size_t len);
	/* DEVICE_RESET: start; the device calls vfio_user_server_reset_done() when drained. */
	void (*reset)(void *device);
	/* The DMA map is about to change / has changed: workers stand still in between. May not
	 * wait for I/O. */
	void (*dma_pause)(void *device);
	void (*dma_resume)(void *device);
	/* The connection ended; the server frees nothing itself. */
	void (*disconnected)(void *device, int error);
};

struct vfio_user_region {
	uint64_t size;	/* 0: not there */
	uint32_t flags; /* VFIO_REGION_INFO_FLAG_* */
	/* Sparse mmap areas, with the descriptor that the client maps; -1: none. Offsets inside the
	 * region. */
	int fd;
	unsigned area_count;
	struct {
		uint64_t offset, size;
	} areas[4];
};

struct vfio_user_device_info {
	struct vfio_user_region regions[VFIO_PCI_NUM_REGIONS];
	uint32_t irq_counts[VFIO_PCI_NUM_IRQS];
};

/** vfio_user_device_info_init() - of a PCI function as @layout has it, all of it trapped */
void vfio_user_device_info_init(struct vfio_user_device_info *info,
				const struct pci_config_layout *layout);

/**
 * vfio_user_server_new() - serve @info over @transport (owned from here on)
 * @ops, @device: the device; @info is copied, its descriptors stay the caller's
 */
struct vfio_user_server *vfio_user_server_new(struct vfio_user_transport *transport,
					      const struct vfio_user_device_info *info,
					      const struct vfio_user_device_ops *ops, void *device,
					      struct error **errp);
void vfio_user_server_free(struct vfio_user_server *server);

/** vfio_user_server_fd() - wait on it for reading, then call vfio_user_server_process() */
int vfio_user_server_fd(const struct vfio_user_server *server);

/**
 * vfio_user_server_process() - handle every message that is there, replies included
 *
 * Return: 0, or -errno when the connection is over (disconnected() has been called).
 */
int vfio_user_server_process(struct vfio_user_server *server);

/** vfio_user_server_reset_done() - answer the DEVICE_RESET that reset() was called for */
void vfio_user_server_reset_done(struct vfio_user_server *server);

struct vfio_user_dma *vfio_user_server_dma(struct vfio_user_server *server);
struct vfio_user_irq *vfio_user_server_irq(struct vfio_user_server *server);

#endif
