/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VFIO_USER_PROTOCOL_H
#define VFIO_USER_PROTOCOL_H

#include <linux/vfio.h>
#include <stdint.h>

/* The wire: structures and numbers of the vfio-user specification (version 0.0 / 0.9.2), and
 * nothing else. */

#define VFIO_USER_MAX_FDS 16 /* max_msg_fds that we announce */
#define VFIO_USER_MAX_DATA                                                                         \
	(1024 * 1024) /* max_data_xfer_size that we announce: bytes of payload data */
#define VFIO_USER_MAX_MESSAGE (VFIO_USER_MAX_DATA + 4096)
#define VFIO_USER_MAX_ACCESS  VFIO_USER_MAX_DATA

struct vfio_user_header {
	uint16_t id;
	uint16_t command;
	uint32_t size; /* of the whole message, header included */
	uint32_t flags;
	uint32_t error;
};

#define VFIO_USER_FLAG_TYPE_MASK 0xfu
#define VFIO_USER_FLAG_COMMAND	 0u
#define VFIO_USER_FLAG_REPLY	 1u
#define VFIO_USER_FLAG_NO_REPLY	 0x10u
#define VFIO_USER_FLAG_ERROR	 0x20u

enum vfio_user_command {
	VFIO_USER_VERSION = 1,
	VFIO_USER_DMA_MAP = 2,
	VFIO_USER_DMA_UNMAP = 3,
	VFIO_USER_DEVICE_GET_INFO = 4,
	VFIO_USER_DEVICE_GET_REGION_INFO = 5,
	VFIO_USER_DEVICE_GET_REGION_IO_FDS = 6,
	VFIO_USER_DEVICE_GET_IRQ_INFO = 7,
	VFIO_USER_DEVICE_SET_IRQS = 8,
	VFIO_USER_REGION_READ = 9,
	VFIO_USER_REGION_WRITE = 10,
	VFIO_USER_DMA_READ = 11,
	VFIO_USER_DMA_WRITE = 12,
	VFIO_USER_DEVICE_RESET = 13,
	VFIO_USER_REGION_WRITE_MULTI = 15,
	VFIO_USER_DEVICE_FEATURE = 16,
	VFIO_USER_MIG_DATA_READ = 17,
	VFIO_USER_MIG_DATA_WRITE = 18,
};

struct vfio_user_version {
	uint16_t major;
	uint16_t minor;
	char data[]; /* JSON with its NUL; may be missing */
};

#define VFIO_USER_DMA_READABLE	(1u << 0)
#define VFIO_USER_DMA_WRITEABLE (1u << 1)

struct vfio_user_dma_map {
	uint32_t argsz;
	uint32_t flags;
	uint64_t offset; /* in the file */
	uint64_t addr;
	uint64_t size;
};

#define VFIO_USER_UNMAP_DIRTY_BITMAP (1u << 0)
#define VFIO_USER_UNMAP_ALL	     (1u << 1)

struct vfio_user_dma_unmap {
	uint32_t argsz;
	uint32_t flags;
	uint64_t addr;
	uint64_t size;
};

/* The specification's, which is the beginning of what later kernels have in vfio_device_info. */
struct vfio_user_device_info_reply {
	uint32_t argsz;
	uint32_t flags;
	uint32_t num_regions;
	uint32_t num_irqs;
};

struct vfio_user_region_io_fds {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t count;
};

struct vfio_user_region_access {
	uint64_t offset;
	uint32_t region;
	uint32_t count;
	uint8_t data[];
};

#define VFIO_USER_MULTI_MAX 200

struct vfio_user_region_write_one {
	uint64_t offset;
	uint32_t region;
	uint32_t count; /* 1 to 8 */
	uint8_t data[8];
};

struct vfio_user_region_write_multi {
	uint64_t count;
	struct vfio_user_region_write_one writes[];
};

struct vfio_user_dma_access {
	uint64_t addr;
	uint64_t count;
	uint8_t data[];
};

#endif
