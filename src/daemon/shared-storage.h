/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_SHARED_STORAGE_H
#define DAEMON_SHARED_STORAGE_H

#include "base/util.h"

/*
 * Does another host see this file? libvirt's own rule (virFileIsSharedFS()), by the kind of file
 * system; what cannot be seen from it is said in virtnvmed.conf, in the words of qemu.conf.
 */
enum shared_storage {
	SHARED_STORAGE_LOCAL,
	SHARED_STORAGE_SHARED,
	SHARED_STORAGE_COHERENT, /* a cluster file system: a host's page cache is no danger either */
};

/** shared_storage_init() - @paths: `shared_filesystems`, ended by NULL or NULL; borrowed for ever */
void shared_storage_init(char *const *paths);

/**
 * shared_storage_of() - of an image file; of one that does not exist, its folder's
 *
 * May wait for a file system that hangs. Not for block devices: libvirt takes them for shared, and
 * so do we.
 */
enum shared_storage shared_storage_of(const char *path);

/** shared_storage_kind() - what a statfs() magic stands for; @type: from the mount table, of FUSE
 * only */
enum shared_storage shared_storage_kind(uint32_t magic, const char *type);

#endif
