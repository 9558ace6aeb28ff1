// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/reservations.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/fd.h"
#include "base/i18n.h"

/* An inode's number may be used again after it, its time of birth is not. */
static int name_of(int image_fd, char *name, size_t size)
{
	struct statx st;

	if (statx(image_fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &st) < 0)
		return -errno;
	if (!(st.stx_mask & STATX_BTIME))
		st.stx_btime = (struct statx_timestamp){};
	snprintf(name, size, "%x:%x-%llu-%lld.%u", st.stx_dev_major, st.stx_dev_minor,
		 (unsigned long long)st.stx_ino, (long long)st.stx_btime.tv_sec,
		 st.stx_btime.tv_nsec);
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

int reservations_open(const struct namespace_config *config, int image_fd, int ret_fds[2],
		      struct error **errp)
{
	int r;

	ret_fds[0] = ret_fds[1] = -1;
	if (!config->reservations)
		return 0;
	r = open_in(config->reservations, image_fd, ret_fds);
	if (r < 0)
		return error_set_errno(errp, -r, _("%s: its reservations in %s"), config->path,
				       config->reservations);
	return 0;
}
