// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain-xml/metadata.h"

#include <errno.h>
#include <stdio.h>

#include "base/i18n.h"
#include "domain-xml/xml.h"

/*
 * The struct: making, copying, finding, comparing. Parsing is in metadata-parse.c, writing in
 * metadata-format.c.
 */

struct metadata *metadata_new(void)
{
	return calloc(1, sizeof(struct metadata));
}

static void clear_disk(struct metadata_disk *disk)
{
	free(disk->source_path);
	free(disk->source_pool);
	free(disk->source_volume);
	free(disk->reason);
}

static void clear_controller(struct metadata_controller *controller)
{
	size_t i;

	for (i = 0; i < controller->disk_count; i++)
		clear_disk(&controller->disks[i]);
	free(controller->disks);
	free(controller->serial);
}

void metadata_disk_free(struct metadata_disk *disk)
{
	if (!disk)
		return;
	clear_disk(disk);
	free(disk);
}

void metadata_free(struct metadata *metadata)
{
	size_t i;

	if (!metadata)
		return;
	for (i = 0; i < metadata->controller_count; i++)
		clear_controller(&metadata->controllers[i]);
	for (i = 0; i < METADATA_MAX_IOTHREADS; i++)
		free(metadata->iothreadpin[i]);
	free(metadata->controllers);
	free(metadata);
}

struct metadata_controller *metadata_controller(const struct metadata *metadata, unsigned index)
{
	size_t i;

	for (i = 0; i < metadata->controller_count; i++)
		if (metadata->controllers[i].index == index)
			return &metadata->controllers[i];
	return NULL;
}

static struct metadata_disk *find_disk(const struct metadata_controller *controller, unsigned nsid)
{
	size_t i;

	for (i = 0; i < controller->disk_count; i++)
		if (controller->disks[i].nsid == nsid)
			return &controller->disks[i];
	return NULL;
}

bool metadata_controller_failed(const struct metadata_controller *controller)
{
	size_t i;

	for (i = 0; i < controller->disk_count; i++)
		if (controller->disks[i].state != METADATA_STATE_FAILED)
			return false;
	return controller->disk_count != 0;
}

unsigned metadata_controller_boot_order(const struct metadata_controller *controller)
{
	size_t i;

	for (i = 0; i < controller->disk_count; i++)
		if (controller->disks[i].boot_order)
			return controller->disks[i].boot_order;
	return 0;
}

bool metadata_has_live(const struct metadata *metadata)
{
	size_t i;

	for (i = 0; i < metadata->controller_count; i++)
		if (metadata->controllers[i].live.bus[0])
			return true;
	return false;
}

struct metadata_disk *metadata_disk(const struct metadata *metadata, unsigned index, unsigned nsid)
{
	struct metadata_controller *controller = metadata_controller(metadata, index);

	return controller ? find_disk(controller, nsid) : NULL;
}

/*
 * One more element of @size in front of the @at-th. Return: it, zeroed; NULL when out of memory.
 */
static void *insert_at(void **array, size_t *count, size_t size, size_t at)
{
	char *grown = reallocarray(*array, *count + 1, size);

	if (!grown)
		return NULL;
	*array = grown;
	memmove(grown + (at + 1) * size, grown + at * size, (*count - at) * size);
	memset(grown + at * size, 0, size);
	(*count)++;
	return grown + at * size;
}

struct metadata_controller *metadata_add_controller(struct metadata *metadata, unsigned index,
						    struct error **errp)
{
	struct metadata_controller *controller;
	size_t at = 0;

	if (index >= METADATA_MAX_CONTROLLERS) {
		error_set(errp, EINVAL, _("controller %u: the highest index is %d"), index,
			  METADATA_MAX_CONTROLLERS - 1);
		return NULL;
	}
	while (at < metadata->controller_count && metadata->controllers[at].index < index)
		at++;
	if (at < metadata->controller_count && metadata->controllers[at].index == index) {
		error_set(errp, EEXIST, _("there is a controller %u already"), index);
		return NULL;
	}
	controller = insert_at((void **)&metadata->controllers, &metadata->controller_count,
			       sizeof(*controller), at);
	if (!controller) {
		error_set_errno(errp, ENOMEM, "metadata");
		return NULL;
	}
	controller->index = index;
	return controller;
}

struct metadata_disk *metadata_add_disk(struct metadata_controller *controller, unsigned nsid,
					struct error **errp)
{
	struct metadata_disk *disk;
	size_t at = 0;

	if (nsid < 1 || nsid > METADATA_MAX_DISKS) {
		error_set(errp, EINVAL, _("nvme%un%u: namespaces are numbered from 1 to %d"),
			  controller->index, nsid, METADATA_MAX_DISKS);
		return NULL;
	}
	while (at < controller->disk_count && controller->disks[at].nsid < nsid)
		at++;
	if (at < controller->disk_count && controller->disks[at].nsid == nsid) {
		error_set(errp, EEXIST, _("there is a disk nvme%un%u already"), controller->index,
			  nsid);
		return NULL;
	}
	disk = insert_at((void **)&controller->disks, &controller->disk_count, sizeof(*disk), at);
	if (!disk) {
		error_set_errno(errp, ENOMEM, "metadata");
		return NULL;
	}
	disk->nsid = nsid;
	return disk;
}

bool metadata_remove_controller(struct metadata *metadata, unsigned index)
{
	struct metadata_controller *controller = metadata_controller(metadata, index);
	struct metadata_controller *end = metadata->controllers + metadata->controller_count;

	if (!controller)
		return false;
	clear_controller(controller);
	memmove(controller, controller + 1, (char *)end - (char *)(controller + 1));
	metadata->controller_count--;
	return true;
}

bool metadata_remove_disk(struct metadata_controller *controller, unsigned nsid)
{
	struct metadata_disk *disk = find_disk(controller, nsid);
	struct metadata_disk *end = controller->disks + controller->disk_count;

	if (!disk)
		return false;
	clear_disk(disk);
	memmove(disk, disk + 1, (char *)end - (char *)(disk + 1));
	controller->disk_count--;
	return true;
}

/* Own copies of what @copy, a bitwise copy of a disk, points to. */
static bool own_disk(struct metadata_disk *copy, const struct metadata_disk *disk)
{
	copy->source_path = disk->source_path ? strdup(disk->source_path) : NULL;
	copy->source_pool = disk->source_pool ? strdup(disk->source_pool) : NULL;
	copy->source_volume = disk->source_volume ? strdup(disk->source_volume) : NULL;
	copy->reason = disk->reason ? strdup(disk->reason) : NULL;
	return !copy->source_path == !disk->source_path &&
	       !copy->source_pool == !disk->source_pool &&
	       !copy->source_volume == !disk->source_volume && !copy->reason == !disk->reason;
}

struct metadata *metadata_copy(const struct metadata *metadata)
{
	_cleanup_metadata_ struct metadata *copy = metadata_new();
	size_t i, j;

	for (i = 0; copy && i < metadata->controller_count; i++) {
		const struct metadata_controller *from = &metadata->controllers[i];
		struct metadata_controller *to = metadata_add_controller(copy, from->index, NULL);

		if (!to)
			return NULL;
		*to = *from;
		to->serial = NULL;
		to->disks = NULL;
		to->disk_count = 0;
		if (from->serial && !(to->serial = strdup(from->serial)))
			return NULL;
		for (j = 0; j < from->disk_count; j++) {
			struct metadata_disk *disk =
				metadata_add_disk(to, from->disks[j].nsid, NULL);

			if (!disk)
				return NULL;
			*disk = from->disks[j];
			if (!own_disk(disk, &from->disks[j]))
				return NULL;
		}
	}
	for (i = 0; copy && i < METADATA_MAX_IOTHREADS; i++)
		if (metadata->iothreadpin[i] &&
		    !(copy->iothreadpin[i] = strdup(metadata->iothreadpin[i])))
			return NULL;
	return steal_pointer(copy);
}

char *metadata_disk_source(const struct metadata_disk *disk)
{
	char *text;

	switch (disk->type) {
	case METADATA_DISK_FILE:
	case METADATA_DISK_BLOCK:
		return strdup(disk->source_path ? disk->source_path : "");
	case METADATA_DISK_VOLUME:
		return asprintf(&text, "%s/%s", disk->source_pool ? disk->source_pool : "",
				disk->source_volume ? disk->source_volume : "") < 0
			       ? NULL
			       : text;
	case METADATA_DISK_MEMORY:
		break;
	}
	return strdup("memory");
}

bool metadata_same_source(const struct metadata_disk *a, const struct metadata_disk *b)
{
	return string_equal(a->source_path, b->source_path) &&
	       string_equal(a->source_pool, b->source_pool) &&
	       string_equal(a->source_volume, b->source_volume);
}

bool metadata_same_subsystem(const struct metadata_controller *a,
			     const struct metadata_controller *b)
{
	return a->has_subsystem && b->has_subsystem && a->subsystem == b->subsystem;
}

static bool same_ids(const struct metadata_disk *a, const struct metadata_disk *b)
{
	return a->has_uuid == b->has_uuid && a->has_nguid == b->has_nguid &&
	       a->has_eui64 == b->has_eui64 && !memcmp(a->uuid, b->uuid, sizeof(a->uuid)) &&
	       !memcmp(a->nguid, b->nguid, sizeof(a->nguid)) &&
	       !memcmp(a->eui64, b->eui64, sizeof(a->eui64));
}

const char *metadata_disk_is_path(const struct metadata_disk *a, const struct metadata_disk *b)
{
	if (a->type == METADATA_DISK_MEMORY || a->type != b->type || !metadata_same_source(a, b))
		return "<source>";
	if (!a->shareable || !b->shareable)
		return "<shareable/>";
	if (a->readonly != b->readonly)
		return "<readonly/>";
	if (a->cache != b->cache || a->discard != b->discard)
		return "<driver> (cache, discard)";
	if (a->logical_block_size != b->logical_block_size)
		return "<blockio>";
	return same_ids(a, b) ? NULL : "<uuid>, <nguid>, <wwn>";
}

bool metadata_disk_equal(const struct metadata_disk *a, const struct metadata_disk *b)
{
	return a->nsid == b->nsid && a->type == b->type && metadata_same_source(a, b) &&
	       a->capacity == b->capacity && a->has_allocation == b->has_allocation &&
	       (!a->has_allocation || a->allocation == b->allocation) && a->cache == b->cache &&
	       a->io == b->io && a->discard == b->discard && a->error_policy == b->error_policy &&
	       a->logical_block_size == b->logical_block_size && a->boot_order == b->boot_order &&
	       a->readonly == b->readonly && a->shareable == b->shareable &&
	       a->has_iotune == b->has_iotune &&
	       (!a->has_iotune || !memcmp(&a->iotune, &b->iotune, sizeof(a->iotune))) &&
	       same_ids(a, b);
}

bool metadata_source_clash(const struct metadata_disk *a, const struct metadata_disk *b)
{
	if (a->type == METADATA_DISK_MEMORY || b->type == METADATA_DISK_MEMORY)
		return false;
	/* A device may be given as a file and the other way round: the path decides. */
	if (!metadata_same_source(a, b))
		return false;
	if (a->readonly && b->readonly)
		return false;
	return !(a->shareable && b->shareable);
}

int metadata_carry_live(struct metadata *wish, const struct metadata *before)
{
	size_t i, j;

	for (i = 0; i < before->controller_count; i++) {
		const struct metadata_controller *old = &before->controllers[i];
		struct metadata_controller *new = metadata_controller(wish, old->index);

		if (!old->live.bus[0])
			continue;
		if (!new) {
			new = metadata_add_controller(wish, old->index, NULL);
			if (!new)
				return -ENOMEM;
			new->parked = true;
			new->queues = old->queues;
			new->iothreads = old->iothreads;
			new->doorbells = old->doorbells;
			new->has_subsystem = old->has_subsystem;
			new->subsystem = old->subsystem;
			if (old->serial && !(new->serial = strdup(old->serial)))
				return -ENOMEM;
		}
		new->live = old->live;
		for (j = 0; j < old->disk_count; j++) {
			struct metadata_disk *disk = find_disk(new, old->disks[j].nsid);

			if (!disk || disk->state != METADATA_STATE_NONE ||
			    !metadata_disk_equal(disk, &old->disks[j]))
				continue;
			if (old->disks[j].reason && !(disk->reason = strdup(old->disks[j].reason)))
				return -ENOMEM;
			disk->state = old->disks[j].state;
		}
	}
	return 0;
}
