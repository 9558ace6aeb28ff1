// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/marks.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "keeper/reservations.h"

#define MARKS_BYTES 8192

static int open_folder(const char *folder)
{
	if (mkdir(folder, 0700) < 0 && errno != EEXIST)
		return -1;
	return open(folder, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int open_file(const char *folder, int image_fd)
{
	_cleanup_close_ int folder_fd = -1;
	char name[100];
	int fd, r = reservations_durable_name(image_fd, name, sizeof(name));

	if (r < 0)
		return r;
	folder_fd = open_folder(folder);
	if (folder_fd < 0)
		return -errno;
	fd = openat(folder_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

int marks_open(const struct namespace_config *config, int image_fd)
{
	int fd;

	if (!config->uncorrectable)
		return -1;
	fd = open_file(config->uncorrectable, image_fd);
	if (fd >= 0)
		return fd;
	log_warning("%s: no Write Uncorrectable (%s): %s", config->path, config->uncorrectable,
		    strerror(-fd));
	return -1;
}

/* Nothing was ever written to it. Whoever had it may have made it of any size. */
static bool is_unused(int fd)
{
	static const char zeroes[MARKS_BYTES];
	char bytes[MARKS_BYTES + 1];
	ssize_t n = pread(fd, bytes, sizeof(bytes), 0);

	return n >= 0 && n <= MARKS_BYTES && memcmp(bytes, zeroes, n) == 0;
}

void marks_close(const struct namespace_config *config, int image_fd)
{
	_cleanup_close_ int folder_fd = -1, fd = -1;
	char name[100];

	if (!config->uncorrectable || image_fd < 0 ||
	    reservations_durable_name(image_fd, name, sizeof(name)) < 0)
		return;
	folder_fd = open_folder(config->uncorrectable);
	if (folder_fd < 0)
		return;
	fd = openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && is_unused(fd))
		unlinkat(folder_fd, name, 0);
}
