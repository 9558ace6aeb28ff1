// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/migration-rules.h"

#include <errno.h>
#include <stdio.h>

#include "base/i18n.h"
#include "daemon/shared-storage.h"
#include "daemon/volumes.h"

/*
 * Theory of operation
 *
 * The rules for storage are libvirt's own (qemuMigrationSrcIsSafe()), which looks at its own disks
 * only: a writable image has to be where the other host has it too, and a host's page cache is safe
 * only on a file system that keeps the hosts' caches coherent. There is no --unsafe to get around
 * them: that flag is not seen from outside of libvirt.
 */

struct judge {
	enum migration_operation operation;
	migration_rule_fn visit;
	void *opaque;
};

static void say(const struct judge *judge, const char *rule, const char *subject, struct error *err)
{
	judge->visit(judge->opaque, rule, subject, err ? error_message(err) : NULL);
	error_free(err);
}

static void judge_memory(const struct judge *judge, const char *target,
			 const struct metadata_disk *disk)
{
	struct error *err = NULL;

	if (disk->type == METADATA_DISK_MEMORY)
		error_set(&err, EINVAL,
			  _("%s is in this host's memory and cannot go along; detach it first"),
			  target);
	say(judge, _("the disk is not in memory"), target, err);
}

static void judge_cache(const struct judge *judge, const char *target,
			const struct metadata_disk *disk, enum shared_storage storage)
{
	struct error *err = NULL;

	if ((disk->cache == METADATA_CACHE_WRITEBACK ||
	     disk->cache == METADATA_CACHE_WRITETHROUGH) &&
	    storage != SHARED_STORAGE_COHERENT)
		error_set(&err, EINVAL,
			  _("%s has cache=\"%s\", and the other host could read what it cached "
			    "before; use cache=\"none\""),
			  target, metadata_cache_name(disk->cache));
	say(judge, _("its cache mode is safe"), target, err);
}

static void judge_storage(const struct judge *judge, const char *target,
			  const struct metadata_disk *disk)
{
	enum shared_storage storage = SHARED_STORAGE_SHARED;
	_cleanup_free_ char *path = NULL;
	struct error *err = NULL;
	bool block;

	if (disk->readonly)
		return;
	if (volumes_path(disk, &path, &block, &err) == 0 && !block) {
		storage = shared_storage_of(path);
		if (storage == SHARED_STORAGE_LOCAL)
			error_set(&err, EINVAL,
				  _("%s: %s is on storage that other hosts do not have; use shared "
				    "storage, or name its directory in shared_filesystems of "
				    "virtnvmed.conf if it is"),
				  target, path);
	}
	say(judge, _("its storage is shared"), target, err);
	judge_cache(judge, target, disk, storage);
}

static void judge_disk(const struct judge *judge, unsigned index, const struct metadata_disk *disk)
{
	char target[32];

	snprintf(target, sizeof(target), "nvme%un%u", index, disk->nsid);
	judge_memory(judge, target, disk);
	if (disk->type != METADATA_DISK_MEMORY && judge->operation == MIGRATION_LIVE)
		judge_storage(judge, target, disk);
}

static void judge_iommu(const struct judge *judge, const struct domain_xml_info *info)
{
	struct error *err = NULL;

	if (info->has_iommu)
		error_set(&err, EINVAL,
			  _("the guest has an <iommu>, with which its NVMe disks cannot go along; "
			    "remove it and start the guest anew"));
	say(judge, _("the guest has no IOMMU"), "", err);
}

const char *migration_operation_name(enum migration_operation operation)
{
	static const char *const names[] = {
		[MIGRATION_LIVE] = "migration",
		[MIGRATION_SAVE] = "save",
		[MIGRATION_DUMP] = "dump",
	};

	return names[operation];
}

void migration_rules_judge(enum migration_operation operation, const struct domain_xml_info *info,
			   const struct metadata *metadata, migration_rule_fn visit, void *opaque)
{
	const struct judge judge = { operation, visit, opaque };
	size_t i, j;

	judge_iommu(&judge, info);
	for (i = 0; operation != MIGRATION_DUMP && i < metadata->controller_count; i++) {
		const struct metadata_controller *controller = &metadata->controllers[i];

		for (j = 0; j < controller->disk_count; j++)
			if (controller->disks[j].state != METADATA_STATE_FAILED)
				judge_disk(&judge, controller->index, &controller->disks[j]);
	}
}

const char *migration_rules_versions(unsigned long libvirt, unsigned long qemu)
{
	if (libvirt >= 11003000 || qemu < 11001000)
		return NULL;
	return _("this libvirt gives QEMU's migrate an argument (detach) that this QEMU has no "
		 "more, and every migration and save fails; install libvirt 11.4 or newer, or "
		 "Debian's 11.3");
}
