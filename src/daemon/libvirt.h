/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_LIBVIRT_H
#define DAEMON_LIBVIRT_H

#include <libvirt/libvirt.h>

#include "base/error.h"

/*
 * The connection to libvirt. See libvirt.c for the theory.
 */

/** libvirt_start() - connect in the background, for ever; returns at once. 0 or -errno */
int libvirt_start(const char *uri, struct error **errp);

/**
 * libvirt_connection() - a reference of the connection; virConnectClose() gives it back
 *
 * Only in worker threads. Return: NULL with a sentence while there is none.
 */
virConnectPtr libvirt_connection(struct error **errp);

/** libvirt_connection_wait() - the same for what a user asks: waits some seconds for a libvirt that
 * has just been started. Not for hooks: libvirt waits for them. */
virConnectPtr libvirt_connection_wait(struct error **errp);

/** libvirt_storage() - the same for storage pools and volumes, so that domain calls that wait for a
 * start do not hold them up */
virConnectPtr libvirt_storage(struct error **errp);

/** libvirt_error() - the last libvirt error of this thread as a sentence; returns -EIO, or -ENOENT
 * where the thing does not exist */
int libvirt_error(struct error **errp, const char *format, ...) __printf(2, 3);

/** libvirt_owner() - uid and gid that libvirt runs QEMU as where the domain does not say; false
 * when not known yet. From any thread, never blocks on libvirt. */
bool libvirt_owner(uid_t *ret_uid, gid_t *ret_gid);

static inline void cleanup_connection(virConnectPtr *conn)
{
	if (*conn)
		virConnectClose(*conn);
}

static inline void cleanup_virdomain(virDomainPtr *dom)
{
	if (*dom)
		virDomainFree(*dom);
}

#define _cleanup_connection_ _cleanup_(cleanup_connection)
#define _cleanup_virdomain_  _cleanup_(cleanup_virdomain)

#endif
