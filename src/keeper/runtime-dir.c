// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/runtime-dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/i18n.h"
#include "base/log.h"

#define POLL_MS 20

static char *lock_path(const char *path)
{
	char *lock;

	return asprintf(&lock, "%s.lock", path) < 0 ? NULL : lock;
}

static int make_dir(const char *path, mode_t mode, struct error **errp)
{
	if (mkdir(path, mode) == 0)
		/* The umask may have narrowed it. */
		return chmod(path, mode) < 0 ? error_set_errno(errp, errno, "%s", path) : 0;
	if (errno != EEXIST)
		return error_set_errno(errp, errno, _("cannot make the directory %s"), path);
	return 0;
}

static int make_parent(const char *path, struct error **errp)
{
	_cleanup_free_ char *parent = strdup(path);
	char *slash = parent ? strrchr(parent, '/') : NULL;

	if (!slash || slash == parent)
		return 0;
	*slash = '\0';
	return make_dir(parent, 0755, errp);
}

/* 0: locked; -EAGAIN: somebody has it, or had it and took the file away; or -errno. */
static int try_lock(const char *path, int *ret_fd)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct stat ours, there;

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	if (fstat(fd, &ours) < 0)
		return -errno;
	if (stat(path, &there) < 0 || ours.st_ino != there.st_ino || ours.st_dev != there.st_dev)
		return -EAGAIN;
	if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
		return -errno;
	*ret_fd = steal_fd(&fd);
	return 0;
}

int runtime_dir_acquire(const char *path, int wait_ms, int *ret_lock_fd, struct error **errp)
{
	_cleanup_free_ char *lock = lock_path(path);
	int fd = -1, r;

	if (!lock)
		return error_set_errno(errp, ENOMEM, "%s", path);
	r = make_parent(path, errp);
	if (r < 0)
		return r;
	for (;;) {
		r = try_lock(lock, &fd);
		if (r != -EAGAIN || wait_ms <= 0)
			break;
		usleep(POLL_MS * 1000);
		wait_ms -= POLL_MS;
	}
	if (r == -EAGAIN)
		return error_set(errp, EBUSY,
				 _("another virtnvme-keeper of this domain is still running "
				   "(%s names its process); wait for its disks to finish, or stop "
				   "it"),
				 lock);
	if (r < 0)
		return error_set_errno(errp, -r, _("cannot lock %s"), lock);
	r = make_dir(path, 0711, errp);
	if (r < 0) {
		unlink(lock);
		close(fd);
		return r;
	}
	*ret_lock_fd = fd;
	return 0;
}

void runtime_dir_remove(const char *path, int lock_fd)
{
	_cleanup_free_ char *lock = lock_path(path);
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (!string_equal(entry->d_name, ".") && !string_equal(entry->d_name, ".."))
			unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	if (rmdir(path) < 0 && errno != ENOENT)
		log_warning("cannot remove %s: %s", path, strerror(errno));
	if (lock)
		unlink(lock);
	fd_close_all(&lock_fd, 1);
}
