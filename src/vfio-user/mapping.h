/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VFIO_USER_MAPPING_H
#define VFIO_USER_MAPPING_H

#include <sys/types.h>

#include "base/util.h"

/* One mmap() of a whole file of the client's; see the theory of operation in dma.h. */
struct vfio_user_mapping {
	struct vfio_user_mapping *next;
	dev_t device;
	ino_t inode;
	uint8_t *base;
	size_t size;
	bool writable;
	unsigned regions; /* that use it; 0: retired */
	bool marked;	  /* retired since before vfio_user_mapping_mark() */
	unsigned slot;	  /* in the table that the SIGBUS handler reads */
};

/**
 * vfio_user_mapping_get() - the mapping of @fd's file in @list, made if it is not there yet
 * @end: the mapping must reach at least so far into the file
 * @write: it must be writable
 *
 * Counts one region. The descriptor is not kept.
 *
 * Return: 0, -EINVAL (not a mappable file, or shorter than @end), or what mmap() says.
 */
int vfio_user_mapping_get(struct vfio_user_mapping **list, int fd, uint64_t end, bool write,
			  struct vfio_user_mapping **ret);

/** vfio_user_mapping_put() - one region less; the last one retires the mapping */
void vfio_user_mapping_put(struct vfio_user_mapping *mapping);

/** vfio_user_mapping_mark() - mark the retired ones; false: there are none */
bool vfio_user_mapping_mark(struct vfio_user_mapping *list);

/** vfio_user_mapping_release() - unmap the marked ones, or all when the connection is over */
void vfio_user_mapping_release(struct vfio_user_mapping **list, bool all);

#endif
