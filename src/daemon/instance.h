/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_INSTANCE_H
#define DAEMON_INSTANCE_H

#include "base/error.h"

/**
 * instance_lock() - be the only daemon of this host
 * @path: of the lock file, made when missing and never removed
 *
 * Taken before the control socket is bound: binding takes the socket's name from whoever has it.
 *
 * Return: a descriptor that holds the lock while it is open; -EBUSY or another -errno with a
 * sentence.
 */
int instance_lock(const char *path, struct error **errp);

#endif
