/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_MESSAGE_H
#define KEEPER_MESSAGE_H

#include <linux/vfio.h>

#include "base/relay-frame.h"

/* As much of the vfio-user protocol as relaying needs. All of it is written by QEMU or by the
 * controller, nothing by a guest. */

struct message_header {
	uint16_t id;
	uint16_t command;
	uint32_t size; /* of the whole message */
	uint32_t flags;
	uint32_t error;
};

static_assert(sizeof(struct message_header) == RELAY_HEADER_SIZE, "wire format");

#define MESSAGE_TYPE	 0xfu
#define MESSAGE_COMMAND	 0u
#define MESSAGE_REPLY	 1u
#define MESSAGE_NO_REPLY 0x10u
#define MESSAGE_ERROR	 0x20u

enum message_command {
	MESSAGE_VERSION = 1,
	MESSAGE_DMA_MAP = 2,
	MESSAGE_DMA_UNMAP = 3,
	MESSAGE_SET_IRQS = 8,
	MESSAGE_DMA_READ = 11,
	MESSAGE_DMA_WRITE = 12,
};

struct message_dma_map {
	uint32_t argsz, flags;
	uint64_t offset, address, size;
};

struct message_dma_unmap {
	uint32_t argsz, flags;
	uint64_t address, size;
};

/* SET_IRQS is linux/vfio.h's struct vfio_irq_set. */

#endif
