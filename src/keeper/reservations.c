// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/reservations.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/i18n.h"
#include "base/log.h"

#define DURABLE_BYTES 8192

/* An inode's number may be used again after it, its time of birth is not. */
static int stat_image(int image_fd, struct statx *ret)
{
	if (statx(image_fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, ret) < 0)
		return -errno;
	if (!(ret->stx_mask & STATX_BTIME))
		ret->stx_btime = (struct statx_timestamp){};
	return 0;
}

static int name_of(int image_fd, char *name, size_t size)
{
	struct statx st;
	int r = stat_image(image_fd, &st);

	if (r < 0)
		return r;
	snprintf(name, size, "%x:%x-%llu-%lld.%u", st.stx_dev_major, st.stx_dev_minor,
		 (unsigned long long)st.stx_ino, (long long)st.stx_btime.tv_sec,
		 st.stx_btime.tv_nsec);
	return 0;
}

/* When the host starts again its devices may have other numbers. */
static int durable_name_of(int image_fd, char *name, size_t size)
{
	struct statx st;
	int r = stat_image(image_fd, &st);

	if (r < 0)
		return r;
	if (!(st.stx_mask & STATX_BTIME))
		return -EOPNOTSUPP;
	snprintf(name, size, "%llu-%lld.%u", (unsigned long long)st.stx_ino,
		 (long long)st.stx_btime.tv_sec, st.stx_btime.tv_nsec);
	return 0;
}

static int open_in(const char *folder, int image_fd, int *ret_fds)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int folder_fd = -1;
	char name[100];
	int r = name_of(image_fd, name, sizeof(name));

	if (r < 0)
		return r;
	if (mkdir(folder, 0700) < 0 && errno != EEXIST)
		return -errno;
	folder_fd = open(folder, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (folder_fd < 0)
		return -errno;
	if (asprintf(&path, "%s/%s", folder, name) < 0)
		return -ENOMEM;
	ret_fds[0] = openat(folder_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (ret_fds[0] < 0)
		return -errno;
	ret_fds[1] = fd_watch_writes(path);
	if (ret_fds[1] >= 0)
		return 0;
	cleanup_close(&ret_fds[0]);
	return ret_fds[1];
}

static int open_folder(const char *folder)
{
	int fd;

	if (mkdir(folder, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Zeroes, which take their space now: later there may be none. It has its name when it is whole, and the
 * name is durable before anything else in it is. */
static int create_durable(int folder_fd, const char *name)
{
	static const char zeroes[DURABLE_BYTES];
	_cleanup_close_ int fd = openat(folder_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char path[64];

	if (fd < 0)
		return -errno;
	if (pwrite(fd, zeroes, sizeof(zeroes), 0) != sizeof(zeroes))
		return errno ? -errno : -ENOSPC;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fsync(fd) < 0 ||
	    (linkat(AT_FDCWD, path, folder_fd, name, AT_SYMLINK_FOLLOW) < 0 && errno != EEXIST) ||
	    fsync(folder_fd) < 0)
		return -errno;
	return 0;
}

static int open_durable(const char *folder, int image_fd)
{
	_cleanup_close_ int folder_fd = -1;
	char name[100];
	int fd, r = durable_name_of(image_fd, name, sizeof(name));

	if (r < 0)
		return r;
	folder_fd = open_folder(folder);
	if (folder_fd < 0)
		return folder_fd;
	fd = openat(folder_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 || errno != ENOENT)
		return fd < 0 ? -errno : fd;
	r = create_durable(folder_fd, name);
	if (r < 0)
		return r;
	fd = openat(folder_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int reservations_open(const struct namespace_config *config, int image_fd,
		      int ret_fds[RESERVATIONS_FDS], struct error **errp)
{
	int r;

	ret_fds[0] = ret_fds[1] = ret_fds[2] = -1;
	if (!config->reservations)
		return 0;
	r = open_in(config->reservations, image_fd, ret_fds);
	if (r < 0)
		return error_set_errno(errp, -r, _("%s: its reservations in %s"), config->path,
				       config->reservations);
	if (!config->persistence)
		return 0;
	r = open_durable(config->persistence, image_fd);
	if (r < 0)
		log_warning("%s: its reservations cannot last through a loss of power (%s): %s",
			    config->path, config->persistence, strerror(-r));
	else
		ret_fds[2] = r;
	return 0;
}
