/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_VOLUMES_H
#define DAEMON_VOLUMES_H

#include "daemon/source.h"
#include "domain-xml/metadata.h"

/*
 * libvirt volumes as paths. Resolved when a domain is defined, changed or found, so that a hook
 * finds the answer here; see volumes.c.
 */

/**
 * volumes_path() - the path of a disk's source
 * @disk: of any type
 * @ret_path: malloc()ed; NULL for a memory disk
 * @ret_block: the volume is a block device
 *
 * A volume that is not known yet is looked up, and created when it is missing and has a capacity:
 * by storage calls only, in a thread of their own, for at most 10 s.
 *
 * Return: 0 or -errno with a sentence.
 */
int volumes_path(const struct metadata_disk *disk, char **ret_path, bool *ret_block,
		 struct error **errp);

/** volumes_prepare() - have all volumes of a domain ready; failures are logged, they will be told
 * at the start */
void volumes_prepare(const char *domain, const struct metadata *metadata);

/** volumes_resize() - a volume; only with @shrink to less. 0 or -errno with a sentence */
int volumes_resize(const char *pool, const char *volume, uint64_t capacity, bool shrink,
		   struct error **errp);

/** volumes_look() - have libvirt see that a volume has been changed by us */
void volumes_look(const char *pool, const char *volume);

/** volumes_delete() - a volume, from its pool too */
int volumes_delete(const char *pool, const char *volume, struct error **errp);

#endif
