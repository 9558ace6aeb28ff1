// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vfio-user/listener.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/i18n.h"

/* QEMU connects with a blocking connect(): there must be room for everyone whom we will refuse. */
#define BACKLOG 16

struct vfio_user_listener {
	int fd;
	bool bound; /* the path is ours to unlink */
	struct sockaddr_un address;
};

/* Nothing there, or a socket that nobody listens at any more? */
static int check_free(const struct sockaddr_un *address)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (lstat(address->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISSOCK(st.st_mode) &&
	    connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
	    errno == ECONNREFUSED)
		return 0;
	return -EADDRINUSE;
}

/*
 * Who sees the path may connect: it appears, under another name first, when it is listened at.
 */
static int listen_at(int fd, const struct sockaddr_un *address)
{
	struct sockaddr_un early = *address;
	size_t len = strlen(early.sun_path);
	int r;

	if (len + 2 > sizeof(early.sun_path))
		return -ENAMETOOLONG;
	strcpy(early.sun_path + len, "~");
	r = check_free(address);
	if (r < 0)
		return r;
	unlink(early.sun_path);
	if (bind(fd, (const struct sockaddr *)&early, sizeof(early)) < 0)
		return -errno;
	if (listen(fd, BACKLOG) == 0 && rename(early.sun_path, address->sun_path) == 0)
		return 0;
	r = -errno;
	unlink(early.sun_path);
	return r;
}

struct vfio_user_listener *vfio_user_listener_new(const char *path, struct error **errp)
{
	struct vfio_user_listener *listener = calloc(1, sizeof(*listener));
	int r = -ENOMEM;

	if (!listener)
		goto fail;
	listener->address.sun_family = AF_UNIX;
	listener->fd = -1;
	r = -ENAMETOOLONG;
	if (strlen(path) >= sizeof(listener->address.sun_path))
		goto fail;
	memcpy(listener->address.sun_path, path, strlen(path) + 1);
	listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = listener->fd < 0 ? -errno : listen_at(listener->fd, &listener->address);
	if (r < 0)
		goto fail;
	listener->bound = true;
	return listener;

fail:
	error_set_errno(errp, -r, _("cannot listen at %s"), path);
	vfio_user_listener_free(listener);
	return NULL;
}

void vfio_user_listener_free(struct vfio_user_listener *listener)
{
	if (!listener)
		return;
	if (listener->bound)
		unlink(listener->address.sun_path);
	if (listener->fd >= 0)
		close(listener->fd);
	free(listener);
}

int vfio_user_listener_fd(const struct vfio_user_listener *listener)
{
	return listener->fd;
}

int vfio_user_listener_accept(struct vfio_user_listener *listener)
{
	int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);

	return fd < 0 ? -errno : fd;
}
