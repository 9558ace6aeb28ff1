/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VFIO_USER_LISTENER_H
#define VFIO_USER_LISTENER_H

#include "base/error.h"

/*
 * The socket path of a device (standalone; under a keeper, the keeper listens). Whoever comes while
 * a client is served must be accepted and refused by the owner: left in the backlog, it would freeze
 * the QEMU that connects.
 */
struct vfio_user_listener;

/** vfio_user_listener_new() - listen at @path; a socket there that nobody listens at is replaced */
struct vfio_user_listener *vfio_user_listener_new(const char *path, struct error **errp);

/** vfio_user_listener_free() - close, and unlink the path if it is still ours */
void vfio_user_listener_free(struct vfio_user_listener *listener);

/** vfio_user_listener_fd() - wait on it for reading, then call vfio_user_listener_accept() */
int vfio_user_listener_fd(const struct vfio_user_listener *listener);

/**
 * vfio_user_listener_accept() - take the client that is there
 *
 * Return: a connected descriptor, owned by the caller; -EAGAIN: nobody; -errno.
 */
int vfio_user_listener_accept(struct vfio_user_listener *listener);

#endif
