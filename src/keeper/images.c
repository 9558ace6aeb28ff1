// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/images.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/i18n.h"
#include "base/log.h"
#include "block/create.h"
#include "block/lock.h"
#include "block/open.h"

static int create_missing(const struct namespace_config *config, struct error **errp)
{
	const struct block_create_options options = {
		.capacity = config->capacity,
		.allocation = config->allocation,
		.mode = 0600,
		.uid = (uid_t)-1,
		.gid = (gid_t)-1,
	};
	struct stat st;
	int r;

	if (config->type != NAMESPACE_FILE || stat(config->path, &st) == 0 || errno != ENOENT)
		return 0;
	if (config->capacity == 0)
		return error_set(
			errp, ENOENT,
			_("%s does not exist; create it, or give its <capacity> (attach-disk "
			  "--capacity) to have it created"),
			config->path);
	if (config->read_only)
		return error_set(errp, ENOENT,
				 _("%s does not exist, and an empty <readonly/> disk is not made; "
				   "create it"),
				 config->path);
	r = block_create_file(config->path, &options, errp);
	if (r == 0)
		log_notice("%s created, %llu bytes", config->path,
			   (unsigned long long)config->capacity);
	return r;
}

static int open_path(const struct namespace_config *config, enum block_cache cache, bool read_only,
		     int *ret_fd, struct error **errp)
{
	const struct block_path_options options = {
		.expect = config->type == NAMESPACE_BLOCK ? BLOCK_PATH_DEVICE : BLOCK_PATH_FILE,
		.cache = cache,
		.read_only = read_only,
	};

	return block_open_path(config->path, &options, ret_fd, errp);
}

/*
 * To a guest it would be a small disk full of nonsense, and what it writes there would destroy the
 * image. Not by its content alone: a guest may write what it likes into a disk of its own and
 * must be able to start again; its name it cannot choose.
 */
static int judge_format(const struct namespace_config *config, int fd, struct error **errp)
{
	static const char magic[] = { 'Q', 'F', 'I', '\xfb' };
	const char *suffix = strrchr(config->path, '.');
	char head[sizeof(magic)];

	if (config->type != NAMESPACE_FILE || !suffix || !string_equal(suffix, ".qcow2") ||
	    pread(fd, head, sizeof(head), 0) != sizeof(head) || memcmp(head, magic, sizeof(head)))
		return 0;
	return error_set(
		errp, EINVAL,
		_("%s is a qcow2 image: make a raw one of it with qemu-img convert -O raw"),
		config->path);
}

/* Whole blocks are served; a file converted from elsewhere may end in a part of one. */
static void tell_of_tail(const struct namespace_config *config, int fd)
{
	unsigned block_size = MAX(config->block_size, (uint64_t)512);
	struct stat st;

	if (config->type == NAMESPACE_FILE && fstat(fd, &st) == 0 && st.st_size % block_size)
		log_warning("%s: its last %u bytes are not visible to the guest: the size is not "
			    "a multiple of %u bytes",
			    config->path, (unsigned)(st.st_size % block_size), block_size);
}

static int make_memory(uint64_t bytes, int *ret_fd, struct error **errp)
{
	_cleanup_close_ int fd = memfd_create("virtnvme-disk", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, bytes) < 0)
		return error_set_errno(errp, errno, _("cannot make a memory disk of %llu bytes"),
				       (unsigned long long)bytes);
	*ret_fd = steal_fd(&fd);
	return 0;
}

int image_hold(struct image *image, const struct namespace_config *config, struct error **errp)
{
	int r;

	if (config->type == NAMESPACE_MEMORY)
		return make_memory(config->bytes, &image->lock_fd, errp);
	r = open_path(config, BLOCK_CACHE_WRITEBACK, true, &image->lock_fd, errp);
	if (r < 0)
		return r;
	r = judge_format(config, image->lock_fd, errp);
	if (r < 0)
		image_release(image);
	else
		tell_of_tail(config, image->lock_fd);
	return r;
}

int image_lock(struct image *image, const struct namespace_config *config, struct error **errp)
{
	enum block_lock_mode mode = config->read_only	? BLOCK_LOCK_READ_ONLY
				    : config->shareable ? BLOCK_LOCK_SHARED_WRITE
							: BLOCK_LOCK_EXCLUSIVE_WRITE;
	int r;

	if (config->type == NAMESPACE_MEMORY)
		return 0;
	r = block_lock_acquire(image->lock_fd, mode, errp);
	if (r < 0 && errp && *errp && !strstr((*errp)->message, config->path))
		error_prefix(errp, "%s", config->path);
	return r;
}

void image_unlock(struct image *image)
{
	int r = image->lock_fd >= 0 ? block_lock_release(image->lock_fd) : 0;

	/* The file system has taken the lock before. */
	if (r < 0)
		log_error("an image lock is not given back: %s", strerror(-r));
}

int image_acquire(struct image *image, const struct namespace_config *config, struct error **errp)
{
	int r = create_missing(config, errp);

	if (r == 0)
		r = image_hold(image, config, errp);
	if (r < 0)
		return r;
	r = image_lock(image, config, errp);
	if (r < 0)
		image_release(image);
	return r;
}

int image_open(const struct image *image, const struct namespace_config *config, int *ret_fd,
	       struct error **errp)
{
	_cleanup_close_ int fd = -1;
	struct stat locked, opened;
	char memory[32];
	int r;

	if (config->type == NAMESPACE_MEMORY) {
		snprintf(memory, sizeof(memory), "/proc/self/fd/%d", image->lock_fd);
		*ret_fd = open(memory, O_RDWR | O_CLOEXEC);
		return *ret_fd < 0 ? error_set_errno(errp, errno, "%s", memory) : 0;
	}
	r = open_path(config, config->cache, config->read_only, &fd, errp);
	if (r < 0)
		return r;
	if (fstat(image->lock_fd, &locked) < 0 || fstat(fd, &opened) < 0)
		return error_set_errno(errp, errno, "%s", config->path);
	/* The lock on a file that has been replaced protects nothing. */
	if (locked.st_dev != opened.st_dev || locked.st_ino != opened.st_ino)
		return error_set(errp, ESTALE,
				 _("%s was replaced while it is in use; stop the "
				   "domain and start it again"),
				 config->path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

void image_release(struct image *image)
{
	if (image->lock_fd >= 0)
		close(steal_fd(&image->lock_fd));
}
