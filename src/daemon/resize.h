/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_RESIZE_H
#define DAEMON_RESIZE_H

#include "daemon/domain.h"
#include "domain-xml/metadata.h"

/* A disk and its image as it is. */
struct resize {
	struct domain *domain; /* these four are given: held by its `work`, and borrowed */
	bool active;	       /* it runs */
	const struct metadata *metadata;
	const struct metadata_disk *disk;

	char *path;
	bool block;
	uint64_t size; /* the image's, bytes */
};

/** resize_open() - look at the image. 0 or -errno with a sentence */
int resize_open(struct resize *resize, struct error **errp);

/**
 * resize_image() - give it another size
 * @capacity: bytes; 0: somebody else has done that
 * @force: to less, too, of which a guest that runs is told first
 *
 * Return: 0 or -errno with a sentence.
 */
int resize_image(const struct resize *resize, uint64_t capacity, bool force, struct error **errp);

/** resize_tell() - have the guest of a domain that runs see the size that the image has */
int resize_tell(const struct resize *resize, struct error **errp);

void resize_close(struct resize *resize);

#endif
