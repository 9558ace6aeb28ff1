/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_DATA_POINTER_H
#define NVME_DATA_POINTER_H

#include "block/block.h"
#include "nvme/limits.h"
#include "nvme/spec.h"

struct nvme_request;
struct nvme_worker;

/* A piece of guest memory, contiguous in its addresses. */
struct nvme_segment {
	uint64_t iova;
	uint32_t len;
	bool bucket; /* no memory: that much of what is read goes nowhere */
};

/*
 * PRPs make a page more than MDTS has, for an offset into the first: each of them can be an iovec. An
 * SGL's data blocks may be smaller; that many of them, as small as the smallest logical block, and
 * those that are too many for iovecs go through a bounce buffer.
 */
#define NVME_MAX_SEGMENTS (NVME_MAX_TRANSFER / 512 + 1)
_Static_assert(NVME_MAX_TRANSFER / NVME_PAGE_SIZE + 1 <= BLOCK_MAX_IOV, "PRPs fit in place");

/*
 * Three answers in one: 0, the status that the command ends with (positive), or -errno: -EAGAIN (no
 * bounce buffer, try again later), -ECANCELED (a reset came, drop the command).
 */
typedef int nvme_result;

/**
 * nvme_data_pointer_walk() - the segments that the command's PRPs or SGL name
 * @bytes: 1 to NVME_MAX_TRANSFER
 * @access: NVME_HOST_READ or NVME_HOST_WRITE, what will be done there
 * @segments: room for NVME_MAX_SEGMENTS; neighbours are merged
 *
 * Reads the lists, so it may wait (a pause point), but resolves nothing.
 */
nvme_result nvme_data_pointer_walk(const struct nvme_request *request, size_t bytes,
				   unsigned access, struct nvme_segment *segments,
				   unsigned *ret_count);

/**
 * nvme_data_pointer_map() - make the request's memory ready for the block layer: in place, else
 *through a bounce buffer (which a write's data is in then)
 * @write: to the namespace, so from the guest's memory
 * @alignment: of every address and length, as the block layer wants
 *
 * Sets request->iov and block.iov, block.iovcnt. No pause point follows its resolving, so submit at
 * once.
 */
nvme_result nvme_data_pointer_map(struct nvme_request *request, size_t bytes, bool write,
				  uint32_t alignment);

/** nvme_data_pointer_reply() - copy @data to the guest: the answer of an admin command */
nvme_result nvme_data_pointer_reply(struct nvme_request *request, const void *data, size_t bytes);

/** nvme_data_pointer_fetch() - copy what the guest sends with the command, once; may wait */
nvme_result nvme_data_pointer_fetch(struct nvme_request *request, void *data, size_t bytes);

/** nvme_segments_read() - copy from the guest; may wait. 0 or what nvme_host_read() says. */
int nvme_segments_read(struct nvme_worker *worker, const struct nvme_segment *segments,
		       unsigned count, void *data);

#endif
