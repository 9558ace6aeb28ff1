/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_UNIT_BLOCK_IMAGE_H
#define TESTS_UNIT_BLOCK_IMAGE_H

#include "block/block.h"

#define SKIP(...)                                                                                  \
	do {                                                                                       \
		print_message("SKIP: " __VA_ARGS__);                                               \
		print_message("\n");                                                               \
		skip();                                                                            \
	} while (0)

/**
 * image_make() - a temporary file of @bytes zeroes
 * @in_build: in the current directory, which is on the build's file system, instead of $TMPDIR
 *
 * Return: its path, to be given to image_remove().
 */
char *image_make(bool in_build, uint64_t bytes);
void image_remove(char *path);

/** image_open() - the descriptor block_open_file() wants for @cache; -1 when there is no O_DIRECT
 */
int image_open(const char *path, enum block_cache cache);

/** image_block() - a writable block on the image; NULL when there is no O_DIRECT */
struct block *image_block(const char *path, enum block_cache cache);

/** run() - submit, wait until it is done and return the result */
int run(struct block_ring *ring, struct block *block, struct block_request request);

/** transfer() - run() one BLOCK_READ or BLOCK_WRITE of one buffer */
int transfer(struct block_ring *ring, struct block *block, enum block_op op, unsigned flags,
	     uint64_t offset, void *data, size_t bytes);

/** range() - run() a request without a buffer */
int range(struct block_ring *ring, struct block *block, enum block_op op, unsigned flags,
	  uint64_t offset, uint64_t bytes);

#endif
