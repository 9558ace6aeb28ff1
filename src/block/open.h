/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BLOCK_OPEN_H
#define BLOCK_OPEN_H

#include "block/block.h"

enum block_path_kind {
	BLOCK_PATH_FILE,   /* a regular file */
	BLOCK_PATH_DEVICE, /* a block device */
};

struct block_path_options {
	enum block_path_kind expect;
	enum block_cache cache;
	bool read_only;
};

/**
 * block_open_path() - open an image as block_open_file() wants it
 * @ret_fd: close-on-exec, owned by the caller
 *
 * Neither creates nor locks (create.h, lock.h). A name that turns out to be a FIFO, a directory or
 * any other device is refused without having been opened.
 *
 * Return: 0, or -errno with a sentence that names the path and the remedy.
 */
int block_open_path(const char *path, const struct block_path_options *options, int *ret_fd,
		    struct error **errp);

#endif
