// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/create.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sys/stat.h>

#include "base/i18n.h"

/* The largest block of any disk: what a guest sees is not cut off at the end. */
#define GRANULARITY 4096

static int fill(int fd, const char *path, const struct block_create_options *options,
		struct error **errp)
{
	uint64_t capacity = ROUND_UP(options->capacity, GRANULARITY);
	uint64_t allocation = MIN(ROUND_UP(options->allocation, GRANULARITY), capacity);

	if (fchmod(fd, options->mode) < 0)
		return error_set_errno(errp, errno, _("cannot set the mode of image %s"), path);
	if ((options->uid != (uid_t)-1 || options->gid != (gid_t)-1) &&
	    fchown(fd, options->uid, options->gid) < 0)
		return error_set_errno(errp, errno, _("cannot give image %s its owner"), path);
	if (ftruncate(fd, capacity) < 0)
		return error_set_errno(errp, errno, _("cannot make image %s %ju bytes large"), path,
				       (uintmax_t)capacity);
	if (allocation && fallocate(fd, 0, 0, allocation) < 0) {
		if (errno == EOPNOTSUPP)
			return error_set(errp, EOPNOTSUPP,
					 _("the file system of image %s cannot reserve space: "
					   "leave out <allocation>"),
					 path);
		return error_set_errno(errp, errno, _("cannot reserve %ju bytes for image %s"),
				       (uintmax_t)allocation, path);
	}
	if (fsync(fd) < 0)
		return error_set_errno(errp, errno, _("cannot write image %s"), path);
	return 0;
}

int block_create_file(const char *path, const struct block_create_options *options,
		      struct error **errp)
{
	_cleanup_free_ char *for_dirname = strdup(path), *for_basename = strdup(path);
	_cleanup_close_ int dir = -1, fd = -1;
	const char *name;
	int ret;

	if (!for_dirname || !for_basename)
		return error_set_errno(errp, ENOMEM, _("cannot create image %s"), path);
	if (!options->capacity || options->capacity > INT64_MAX - GRANULARITY)
		return error_set(errp, EINVAL, _("image %s cannot have %ju bytes"), path,
				 (uintmax_t)options->capacity);
	name = basename(for_basename);
	/* By descriptor, so that what is removed after a failure is what was made. */
	dir = open(dirname(for_dirname), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return error_set_errno(errp, errno, _("cannot open the directory of image %s"),
				       path);
	fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EEXIST)
		return error_set(errp, EEXIST,
				 _("image %s exists and is not overwritten: remove it, or name "
				   "another"),
				 path);
	if (fd < 0)
		return error_set_errno(errp, errno, _("cannot create image %s"), path);
	ret = fill(fd, path, options, errp);
	if (ret == 0 && fsync(dir) < 0)
		ret = error_set_errno(errp, errno, _("cannot write the directory of image %s"),
				      path);
	if (ret < 0)
		unlinkat(dir, name, 0);
	return ret;
}
