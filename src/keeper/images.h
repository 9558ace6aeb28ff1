/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_IMAGES_H
#define KEEPER_IMAGES_H

#include "keeper/config.h"

/*
 * The keeper's hold on an image: a description of its own that carries the image lock as long as
 * the disk is there, whatever happens to controllers. Each controller works on another description,
 * which the keeper opens for it and does not keep.
 */
struct image {
	int lock_fd; /* -1: not held; it may be held and not locked. Of a memory disk: the memory */
};

#define IMAGE_NONE                                                                                 \
	{                                                                                          \
		.lock_fd = -1                                                                      \
	}

/** image_hold() - open it without locking it, for a domain that is still another host's; 0 or
 * -errno with a sentence */
int image_hold(struct image *image, const struct namespace_config *config, struct error **errp);

/** image_lock() - lock what is held; 0; -EAGAIN when somebody uses it, or -errno, with a sentence */
int image_lock(struct image *image, const struct namespace_config *config, struct error **errp);

/** image_unlock() - give the lock back and go on holding it; harmless without a lock */
void image_unlock(struct image *image);

/** image_acquire() - create it if it is missing and a capacity is given, hold and lock it; 0 or
 * -errno with a sentence */
int image_acquire(struct image *image, const struct namespace_config *config, struct error **errp);

/** image_open() - a new description of the held image; 0 or -errno with a sentence */
int image_open(const struct image *image, const struct namespace_config *config, int *ret_fd,
	       struct error **errp);

/** image_release() - unlock; harmless when it is not held */
void image_release(struct image *image);

#endif
