// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/resize.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/i18n.h"
#include "base/log.h"
#include "daemon/keeper.h"
#include "daemon/volumes.h"

/*
 * Theory of operation
 *
 * Growing: the image first, then the guest is told. Shrinking: the guest first (the keeper's
 * `resize-namespace` with a limit: when it is answered nothing writes behind the new end), then the
 * image, then the limit is taken away. Killed in between, the guest's disk ends at the limit and the
 * image is as large as it was or as small: the same command again finishes it, and a larger size, or
 * none, undoes it as far as the image goes. Until then the domain does not migrate: a destination
 * would not know of the limit.
 *
 * A migration that begins after we have looked for one may be over or not: a size that is told while
 * QEMU copies memory goes along, and for the moment in which the state is on its way it is tried
 * again.
 */
#define PATIENCE_TRIES 30
#define PATIENCE_US    100000
/* The largest logical block. */
#define CAPACITY_MIN 4096

int resize_open(struct resize *resize, struct error **errp)
{
	_cleanup_close_ int fd = -1;
	off_t size;
	int r;

	if (resize->disk->type == METADATA_DISK_MEMORY)
		return error_set(errp, EINVAL, _("a memory disk cannot be resized"));
	r = volumes_path(resize->disk, &resize->path, &resize->block, errp);
	if (r < 0)
		return r;
	fd = open(resize->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	if (size < 0)
		return error_set_errno(errp, errno, "%s", resize->path);
	resize->size = size;
	return 0;
}

/* Who else uses it is not told, and would make a file that was cut off longer again. */
static int check_shrink(const struct resize *resize, uint64_t capacity, bool force,
			struct error **errp)
{
	struct source_list sources = {};
	int r;

	if (capacity < CAPACITY_MIN)
		return error_set(errp, EINVAL, _("a disk has %u bytes at least"), CAPACITY_MIN);
	if (!force)
		return error_set(errp, EINVAL,
				 _("%s has %llu bytes, and making it smaller destroys what is "
				   "behind the new end; if the guest needs nothing there, add "
				   "--force"),
				 resize->path, (unsigned long long)resize->size);
	if (source_list_add(&sources, resize->path, true, false) < 0)
		return error_set_errno(errp, ENOMEM, "%s", resize->path);
	r = domain_check_source(resize->domain, &sources.items[0], errp);
	source_list_clear(&sources);
	return r;
}

static int set_size(const struct resize *resize, uint64_t capacity, struct error **errp)
{
	const struct metadata_disk *disk = resize->disk;
	bool volume = disk->type == METADATA_DISK_VOLUME, shrink = capacity < resize->size;
	_cleanup_close_ int fd = -1;

	/* libvirt makes no volume smaller than what it occupies, which a file may from end to end. */
	if (volume && (resize->block || !shrink))
		return volumes_resize(disk->source_pool, disk->source_volume, capacity, shrink,
				      errp);
	fd = open(resize->path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || ftruncate(fd, capacity) < 0)
		return error_set_errno(errp, errno, "%s", resize->path);
	if (volume)
		volumes_look(disk->source_pool, disk->source_volume);
	return 0;
}

static int tell_one(const char *uuid, unsigned index, unsigned nsid, uint64_t limit,
		    struct error **errp)
{
	unsigned tries = 0;

	for (;;) {
		struct json_object *arguments = json_object_new_object();
		_cleanup_json_ struct json_object *result = NULL;
		struct error *err = NULL;
		int r;

		json_add_u64(arguments, "index", index);
		json_add_u64(arguments, "nsid", nsid);
		if (limit)
			json_add_u64(arguments, "limit", limit);
		r = keeper_call(uuid, "resize-namespace", arguments, &result, &err);
		/* A keeper of a version that knows no limit: what it ignores is not in force. */
		if (r == 0 && limit && json_u64_or(result, "capacity", UINT64_MAX) > limit)
			r = error_set(&err, EOPNOTSUPP,
				      _("the domain's disks are served by an older version, which "
					"cannot do that; run virt-nvme upgrade first"));
		if (r == 0)
			return 0;
		if (r != -EBUSY || ++tries == PATIENCE_TRIES) {
			error_propagate(errp, err);
			return r;
		}
		error_free(err);
		usleep(PATIENCE_US);
	}
}

/* An image may be behind several namespaces of the domain. */
static int tell_guest(const struct resize *resize, uint64_t limit, struct error **errp)
{
	const struct metadata *metadata = resize->metadata;
	size_t i, j;
	int r = 0;

	for (i = 0; i < metadata->controller_count; i++) {
		const struct metadata_controller *controller = &metadata->controllers[i];

		for (j = 0; j < controller->disk_count && r == 0; j++)
			if (&controller->disks[j] == resize->disk ||
			    (controller->disks[j].type == resize->disk->type &&
			     metadata_same_source(&controller->disks[j], resize->disk)))
				r = tell_one(resize->domain->uuid, controller->index,
					     controller->disks[j].nsid, limit, errp);
	}
	return r;
}

static int shrink(const struct resize *resize, uint64_t capacity, struct error **errp)
{
	int r = tell_guest(resize, capacity, errp);

	if (r == 0)
		r = set_size(resize, capacity, errp);
	if (r < 0) {
		_cleanup_error_ struct error *err = NULL;

		if (tell_guest(resize, 0, &err) < 0)
			log_warning("%s: %s", resize->path, error_message(err));
	}
	return r;
}

int resize_image(const struct resize *resize, uint64_t capacity, bool force, struct error **errp)
{
	int r;

	if (!capacity || capacity == resize->size)
		return 0; /* somebody else has resized it */
	if (resize->disk->type == METADATA_DISK_BLOCK)
		return error_set(errp, EINVAL,
				 _("%s has %llu bytes; resize it by its own means, and leave the "
				   "size out here"),
				 resize->path, (unsigned long long)resize->size);
	if (capacity > resize->size)
		return set_size(resize, capacity, errp);
	r = check_shrink(resize, capacity, force, errp);
	if (r < 0)
		return r;
	return resize->active ? shrink(resize, capacity, errp) : set_size(resize, capacity, errp);
}

int resize_tell(const struct resize *resize, struct error **errp)
{
	return tell_guest(resize, 0, errp);
}

void resize_close(struct resize *resize)
{
	free(resize->path);
	resize->path = NULL;
}
