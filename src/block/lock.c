// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

#include "base/i18n.h"

#define USED_BASE	100
#define FORBIDDEN_BASE	200
#define PERMISSIONS	4

#define CONSISTENT_READ (1u << 0)
#define WRITE		(1u << 1)
#define RESIZE		(1u << 3)

struct claim {
	unsigned uses;
	unsigned forbids;
};

/* As QEMU's own disks. */
static const struct claim claims[] = {
	[BLOCK_LOCK_READ_ONLY] = { CONSISTENT_READ, WRITE | RESIZE },
	[BLOCK_LOCK_EXCLUSIVE_WRITE] = { CONSISTENT_READ | WRITE, WRITE | RESIZE },
	[BLOCK_LOCK_SHARED_WRITE] = { CONSISTENT_READ | WRITE, RESIZE },
};

static int control(int fd, int command, short type, off_t byte, struct flock *lock)
{
	*lock = (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };
	return fcntl(fd, command, lock) < 0 ? -errno : 0;
}

static int take(int fd, unsigned mask, off_t base)
{
	struct flock lock;
	unsigned n;
	int ret;

	for (n = 0; n < PERMISSIONS; n++) {
		if (!(mask & (1u << n)))
			continue;
		ret = control(fd, F_OFD_SETLK, F_RDLCK, base + n, &lock);
		if (ret < 0)
			return ret == -EACCES ? -EAGAIN : ret;
	}
	return 0;
}

/* -EAGAIN when somebody else holds one of these bytes. */
static int look(int fd, unsigned mask, off_t base)
{
	struct flock lock;
	unsigned n;
	int ret;

	for (n = 0; n < PERMISSIONS; n++) {
		if (!(mask & (1u << n)))
			continue;
		ret = control(fd, F_OFD_GETLK, F_WRLCK, base + n, &lock);
		if (ret < 0)
			return ret;
		if (lock.l_type != F_UNLCK)
			return -EAGAIN;
	}
	return 0;
}

static int take_and_look(int fd, const struct claim *claim)
{
	int ret = take(fd, claim->uses, USED_BASE);

	if (ret == 0)
		ret = take(fd, claim->forbids, FORBIDDEN_BASE);
	if (ret == 0)
		ret = look(fd, claim->uses, FORBIDDEN_BASE);
	if (ret == 0)
		ret = look(fd, claim->forbids, USED_BASE);
	return ret;
}

static const char *image_name(int fd, char name[PATH_MAX])
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, name, PATH_MAX - 1);
	if (n < 0)
		return _("(unknown name)");
	name[n] = '\0';
	return name;
}

int block_lock_acquire(int fd, enum block_lock_mode mode, struct error **errp)
{
	char name[PATH_MAX];
	int ret = take_and_look(fd, &claims[mode]);

	if (ret == 0)
		return 0;
	block_lock_release(fd);
	if (ret == -EAGAIN && mode == BLOCK_LOCK_READ_ONLY)
		return error_set(errp, EAGAIN,
				 _("image %s is in use by another program that may write to it: "
				   "stop that program first"),
				 image_name(fd, name));
	if (ret == -EAGAIN)
		return error_set(errp, EAGAIN,
				 _("image %s is in use by another program, as a running domain or "
				   "qemu-img: stop that program first"),
				 image_name(fd, name));
	return error_set_errno(errp, -ret, _("cannot lock image %s"), image_name(fd, name));
}

int block_lock_release(int fd)
{
	struct flock lock;
	int ret = 0, err;
	unsigned n;

	for (n = 0; n < PERMISSIONS; n++) {
		err = control(fd, F_OFD_SETLK, F_UNLCK, USED_BASE + n, &lock);
		ret = ret ? ret : err;
		err = control(fd, F_OFD_SETLK, F_UNLCK, FORBIDDEN_BASE + n, &lock);
		ret = ret ? ret : err;
	}
	return ret;
}

int block_lock_generation(int fd, bool read_only, uint64_t key)
{
	off_t byte = BLOCK_LOCK_GENERATION_BYTE + key;
	struct flock lock;
	int ret;

	/* A write lock needs a descriptor that can write. A read lock does not keep another out:
	 * but there is never more than one who waits. */
	if (read_only) {
		ret = control(fd, F_OFD_GETLK, F_WRLCK, byte, &lock);
		if (ret < 0)
			return ret;
		if (lock.l_type != F_UNLCK)
			return -EAGAIN;
	}
	ret = control(fd, F_OFD_SETLK, read_only ? F_RDLCK : F_WRLCK, byte, &lock);
	return ret == -EACCES ? -EAGAIN : ret;
}

bool block_lock_generation_is_held(int fd, uint64_t key)
{
	struct flock lock;

	return control(fd, F_OFD_GETLK, F_WRLCK, BLOCK_LOCK_GENERATION_BYTE + key, &lock) < 0 ||
	       lock.l_type != F_UNLCK;
}

int block_unlock_generation(int fd, uint64_t key)
{
	struct flock lock;

	return control(fd, F_OFD_SETLK, F_UNLCK, BLOCK_LOCK_GENERATION_BYTE + key, &lock);
}
