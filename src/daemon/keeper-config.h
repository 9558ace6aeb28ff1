/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_KEEPER_CONFIG_H
#define DAEMON_KEEPER_CONFIG_H

#include <sys/types.h>

#include "base/json.h"
#include "daemon/source.h"
#include "domain-xml/metadata.h"

/*
 * A domain's metadata as what its keeper is told (docs/control.md). Volumes have been resolved and
 * ids derived: a keeper knows paths and numbers only.
 */
struct keeper_config_domain {
	const char *uuid, *name;
	uid_t uid; /* QEMU's */
	gid_t gid;
	bool incoming; /* a guest that arrives: see incoming.h */
};

/**
 * keeper_config() - the whole configuration
 * @sources: what the disks use is added; may be NULL
 *
 * Return: the caller's reference, NULL with a sentence.
 */
struct json_object *keeper_config(const struct keeper_config_domain *domain,
				  const struct metadata *metadata, struct source_list *sources,
				  struct error **errp);

/** keeper_config_set_threads() - as @metadata has them; keeper_config() does it too */
void keeper_config_set_threads(struct json_object *config, const struct metadata *metadata);

/** keeper_config_set_log_level() - what keepers that are started from here on log */
void keeper_config_set_log_level(unsigned level);

/** keeper_config_controller() - one controller of it with its disks */
struct json_object *keeper_config_controller(const char *domain_uuid,
					     const struct metadata_controller *controller,
					     struct source_list *sources, struct error **errp);

/** keeper_config_iotune() - the limits of a disk as the keeper takes them */
struct json_object *keeper_config_iotune(const struct metadata_disk *disk);

/** keeper_config_no_reservations() - why the disk has no NVMe reservations, a phrase for the user, or NULL:
 * it has. @path and @block as of volumes_path(); may wait for a file system that hangs */
const char *keeper_config_no_reservations(const struct metadata_disk *disk, const char *path,
					  bool block);

/** keeper_config_namespace() - one disk of it */
struct json_object *keeper_config_namespace(const char *domain_uuid,
					    const struct metadata_controller *controller,
					    const struct metadata_disk *disk,
					    struct source_list *sources, struct error **errp);

#endif
