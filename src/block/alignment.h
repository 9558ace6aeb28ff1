/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BLOCK_ALIGNMENT_H
#define BLOCK_ALIGNMENT_H

#include <stdint.h>

/* What O_DIRECT asks for, in bytes; powers of two. */
struct block_alignment {
	uint32_t offset; /* file offset and length of a request */
	uint32_t memory; /* address of each piece of its buffer */
};

/**
 * block_alignment_ask() - what the kernel says about an O_DIRECT descriptor (statx, Linux 6.1)
 *
 * Return: 0, or -errno when it does not say.
 */
int block_alignment_ask(int fd, struct block_alignment *ret);

/**
 * block_alignment_probe() - for older kernels: the device's block size, or the smallest read that
 * the file system takes
 *
 * Return: 0, or -errno when no size up to 4096 works.
 */
int block_alignment_probe(int fd, struct block_alignment *ret);

#endif
