// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/open.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/i18n.h"

static int cannot_open(const char *path, enum block_path_kind expect, int code, struct error **errp)
{
	switch (code) {
	case ENOENT:
		if (expect == BLOCK_PATH_DEVICE)
			return error_set(errp, code,
					 _("block device %s does not exist: create it, or name "
					   "another"),
					 path);
		return error_set(errp, code,
				 _("image %s does not exist: create it, or give its disk a "
				   "<capacity> to have it created"),
				 path);
	case EACCES:
	case EPERM:
		return error_set(errp, code,
				 _("cannot open image %s: %s: give the user with id %u access to "
				   "it and to the directories above"),
				 path, strerror(code), geteuid());
	case ELOOP:
		return error_set(errp, code,
				 _("cannot open image %s: its symbolic links lead to no file: name "
				   "the file itself"),
				 path);
	case EROFS:
		return error_set(errp, code,
				 _("image %s is on a read-only file system: mark its disk "
				   "<readonly/>"),
				 path);
	default:
		return error_set_errno(errp, code, _("cannot open image %s"), path);
	}
}

static int judge_kind(const char *path, mode_t mode, enum block_path_kind expect,
		      struct error **errp)
{
	if (expect == BLOCK_PATH_FILE && S_ISBLK(mode))
		return error_set(errp, EINVAL,
				 _("%s is a block device: use type=\"block\" instead of \"file\""),
				 path);
	if (expect == BLOCK_PATH_FILE && !S_ISREG(mode))
		return error_set(errp, S_ISDIR(mode) ? EISDIR : EINVAL,
				 _("%s is not a regular file: name an image file"), path);
	if (expect == BLOCK_PATH_DEVICE && S_ISREG(mode))
		return error_set(errp, ENOTBLK,
				 _("%s is a regular file: use type=\"file\" instead of \"block\""),
				 path);
	if (expect == BLOCK_PATH_DEVICE && !S_ISBLK(mode))
		return error_set(errp, ENOTBLK,
				 _("%s is not a block device: name a device such as /dev/sdb"),
				 path);
	return 0;
}

/* Devices can be write-protected and still be opened for writing. */
static int judge_protection(const char *path, int fd, struct error **errp)
{
	int protected;

	if (ioctl(fd, BLKROGET, &protected) == 0 && protected)
		return error_set(errp, EROFS,
				 _("device %s is write-protected: mark its disk <readonly/>"),
				 path);
	return 0;
}

int block_open_path(const char *path, const struct block_path_options *options, int *ret_fd,
		    struct error **errp)
{
	/* A look without opening, then the same file by its descriptor: nobody can put a FIFO in
	 * its place in between, and nothing hangs. */
	_cleanup_close_ int place = open(path, O_PATH | O_CLOEXEC);
	_cleanup_close_ int fd = -1;
	char by_descriptor[64];
	struct stat st;
	int flags, ret;

	if (place < 0 || fstat(place, &st) < 0)
		return cannot_open(path, options->expect, errno, errp);
	ret = judge_kind(path, st.st_mode, options->expect, errp);
	if (ret < 0)
		return ret;
	flags = O_CLOEXEC | O_NOCTTY | (options->read_only ? O_RDONLY : O_RDWR) |
		(options->cache == BLOCK_CACHE_NONE ? O_DIRECT : 0);
	snprintf(by_descriptor, sizeof(by_descriptor), "/proc/self/fd/%d", place);
	fd = open(by_descriptor, flags);
	if (fd < 0 && errno == EINVAL && (flags & O_DIRECT))
		return error_set(errp, EINVAL,
				 _("the file system of image %s has no O_DIRECT: use "
				   "cache=\"writeback\" instead of \"none\""),
				 path);
	if (fd < 0)
		return cannot_open(path, options->expect, errno, errp);
	if (!options->read_only && S_ISBLK(st.st_mode)) {
		ret = judge_protection(path, fd, errp);
		if (ret < 0)
			return ret;
	}
	*ret_fd = steal_fd(&fd);
	return 0;
}
