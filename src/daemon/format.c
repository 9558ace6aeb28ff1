// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/format.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/i18n.h"
#include "base/log.h"
#include "daemon/definition.h"
#include "daemon/keeper.h"
#include "daemon/libvirt.h"

/*
 * Theory of operation
 *
 * keeper/formats.c says what for. First the definition, then the live metadata, then the keeper is
 * told: whoever takes the live metadata along, a save or a migration, and finds the new size there while the
 * keeper has not been told, is refused by that.
 */

/* libvirt writes a new file, synchronises it and gives it the name of the old one. */
#define LIBVIRT_CONFIG_DIR "/etc/libvirt/qemu"

static int sync_definitions(struct error **errp)
{
	_cleanup_close_ int fd = open(LIBVIRT_CONFIG_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return error_set_errno(errp, errno, "%s", LIBVIRT_CONFIG_DIR);
	return 0;
}

/* An edit of the definition may have given it another place. What is in memory has no other name. */
static bool is_it(const struct metadata_controller *controller, const struct metadata_disk *disk,
		  unsigned index, const struct metadata_disk *formatted)
{
	if (disk->type != formatted->type)
		return false;
	if (disk->type == METADATA_DISK_MEMORY)
		return controller->index == index && disk->nsid == formatted->nsid;
	return metadata_same_source(disk, formatted);
}

/* Of a domain, or a disk, that is not there at the next start, the live metadata are all there is. */
static int record(struct domain *domain, virDomainPtr dom, unsigned index,
		  const struct metadata_disk *formatted, unsigned block_size, struct error **errp)
{
	_cleanup_metadata_ struct metadata *metadata = NULL;
	int persistent = virDomainIsPersistent(dom), r = 0;
	bool changed = false;
	size_t i, j;

	if (persistent < 0)
		return libvirt_error(errp, _("cannot change the definition"));
	if (!persistent)
		return 0;
	metadata = definition_metadata(dom, errp);
	if (!metadata)
		return -EIO;
	for (i = 0; i < metadata->controller_count; i++) {
		const struct metadata_controller *controller = &metadata->controllers[i];

		for (j = 0; j < controller->disk_count; j++) {
			struct metadata_disk *disk = &controller->disks[j];

			if (!is_it(controller, disk, index, formatted) ||
			    disk->logical_block_size == block_size)
				continue;
			disk->logical_block_size = block_size;
			changed = true;
		}
	}
	if (changed)
		r = definition_set_metadata(domain, dom, metadata, errp);
	return r < 0 ? r : sync_definitions(errp);
}

void format_take(struct domain *domain, virDomainPtr dom, unsigned index,
		 struct metadata_disk *disk, struct json_object *namespace)
{
	unsigned is = json_u64_or(namespace, "block_size", 0);
	unsigned next = json_u64_or(namespace, "next_block_size", 0);
	_cleanup_error_ struct error *err = NULL;

	if (next && record(domain, dom, index, disk, next, &err) == 0)
		is = next;
	if (err)
		log_warning("%s: the block size of nvme%un%u is not recorded yet: %s",
			    virDomainGetName(dom), index, disk->nsid, error_message(err));
	if (is && is != (disk->logical_block_size ? disk->logical_block_size : 512))
		disk->logical_block_size = is;
}

void format_tell(struct domain *domain, unsigned index, const struct metadata_disk *disk,
		 struct json_object *namespace)
{
	unsigned next = json_u64_or(namespace, "next_block_size", 0);
	_cleanup_error_ struct error *err = NULL;
	struct json_object *arguments;

	if (!next || disk->logical_block_size != next)
		return;
	arguments = json_object_new_object();
	json_add_u64(arguments, "index", index);
	json_add_u64(arguments, "nsid", disk->nsid);
	json_add_u64(arguments, "block_size", next);
	if (keeper_call(domain->uuid, "set-block-size", arguments, NULL, &err) < 0)
		log_warning("%s: the block size of nvme%un%u: %s", domain->uuid, index, disk->nsid,
			    error_message(err));
}
