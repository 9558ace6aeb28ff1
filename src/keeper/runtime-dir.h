/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_RUNTIME_DIR_H
#define KEEPER_RUNTIME_DIR_H

#include "base/error.h"

/*
 * /run/virtnvme/<uuid>, and the lock beside it by which two keepers of one domain never coexist.
 * The lock is not in the directory, which its holder removes.
 */

/**
 * runtime_dir_acquire() - take the lock, then make the directory (0711) and its parent
 * @wait_ms: how long to wait for a predecessor that is still cleaning up
 * @ret_lock_fd: to be kept until runtime_dir_remove()
 *
 * Return: 0; -EBUSY with a sentence when the other one does not end; or -errno with a sentence.
 */
int runtime_dir_acquire(const char *path, int wait_ms, int *ret_lock_fd, struct error **errp);

/** runtime_dir_remove() - remove the directory with what is in it, and the lock; closes @lock_fd */
void runtime_dir_remove(const char *path, int lock_fd);

#endif
