/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BLOCK_CREATE_H
#define BLOCK_CREATE_H

#include <sys/types.h>

#include "base/error.h"

struct block_create_options {
	uint64_t capacity;   /* bytes; rounded up to a multiple of 4096 */
	uint64_t allocation; /* bytes to reserve on disk; 0: sparse; capacity or more: all of it */
	mode_t mode;	     /* exactly, whatever the umask */
	uid_t uid;	     /* (uid_t)-1: as created */
	gid_t gid;	     /* (gid_t)-1: as created */
};

/**
 * block_create_file() - make a raw image that does not exist yet
 *
 * Never overwrites: whatever is there under that name, a dangling symbolic link too, is -EEXIST. A
 * failure leaves nothing behind. On success file and directory are on the disk.
 *
 * Return: 0, or -errno with a sentence.
 */
int block_create_file(const char *path, const struct block_create_options *options,
		      struct error **errp);

#endif
