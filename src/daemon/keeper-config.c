// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/keeper-config.h"

#include <errno.h>
#include <stdio.h>

#include "base/i18n.h"
#include "base/log.h"
#include "daemon/keeper.h"
#include "daemon/shared-storage.h"
#include "daemon/volumes.h"
#include "domain-xml/identity.h"

#define CONTROLLER_PROGRAM VIRTNVME_PROGRAM_DIR "/virtnvme-controller"
#define LIBVIRT_PID_DIR	   "/run/libvirt/qemu"
#define DEFAULT_QUEUES	   4

static unsigned keepers_log_level = LOG_INFO;

void keeper_config_set_log_level(unsigned level)
{
	keepers_log_level = level;
}

static const char *or_default(const char *word, const char *fallback)
{
	return *word ? word : fallback;
}

static void add_uuid(struct json_object *object, const char *key, const uint8_t uuid[16])
{
	char text[37];

	identity_format_uuid(uuid, text);
	json_add_string(object, key, text);
}

static void add_eui64(struct json_object *object, const uint8_t eui64[8])
{
	char text[17];
	int i;

	for (i = 0; i < 8; i++)
		snprintf(text + 2 * i, 3, "%02x", eui64[i]);
	json_add_string(object, "eui64", text);
}

static void add_limit(void *object, const char *name, uint64_t value)
{
	json_add_u64(object, name, value);
}

struct json_object *keeper_config_iotune(const struct metadata_disk *disk)
{
	struct json_object *object = json_object_new_object();

	if (disk->has_iotune)
		metadata_iotune_each(&disk->iotune, add_limit, object);
	return object;
}

/* They are in this host's memory: on a file system that others see they would keep nobody out. */
const char *keeper_config_no_reservations(const struct metadata_disk *disk, const char *path,
					  bool block)
{
	if (!disk->shareable)
		return _("the disk is not <shareable/>");
	if (disk->readonly)
		return _("the disk is read-only");
	if (!path)
		return _("the disk is not a file");
	if (block)
		return _("other hosts may see a block device");
	if (shared_storage_of(path) != SHARED_STORAGE_LOCAL)
		return _("other hosts may see its file system");
	return NULL;
}

struct json_object *keeper_config_namespace(const char *domain_uuid,
					    const struct metadata_controller *controller,
					    const struct metadata_disk *disk,
					    struct source_list *sources, struct error **errp)
{
	_cleanup_free_ char *path = NULL;
	uint8_t uuid[16], nguid[16];
	struct json_object *object;
	char target[32];
	bool block;

	if (identity_disk_ids(domain_uuid, controller, disk, uuid, nguid) < 0) {
		error_set(errp, EINVAL, _("\"%s\" is not a UUID"), domain_uuid);
		return NULL;
	}
	if (volumes_path(disk, &path, &block, errp) < 0)
		return NULL;
	if (path && sources &&
	    source_list_add(sources, path, !disk->readonly, disk->shareable) < 0) {
		error_set_errno(errp, ENOMEM, "%s", path);
		return NULL;
	}

	snprintf(target, sizeof(target), "nvme%un%u", controller->index, disk->nsid);
	object = json_object_new_object();
	json_add_u64(object, "nsid", disk->nsid);
	json_add_string(object, "target", target);
	json_add_string(object, "type", !path ? "memory" : block ? "block" : "file");
	json_add_string(object, "path", path);
	json_add_u64(object, "bytes", path ? 0 : disk->capacity);
	json_add_string(object, "cache", or_default(metadata_cache_name(disk->cache), "none"));
	json_add_string(object, "io", or_default(metadata_io_name(disk->io), "io_uring"));
	json_add_bool(object, "discard", disk->discard == METADATA_DISCARD_UNMAP);
	json_add_string(object, "error_policy",
			or_default(metadata_error_policy_name(disk->error_policy), "report"));
	json_add(object, "iotune", keeper_config_iotune(disk));
	json_add_bool(object, "read_only", disk->readonly);
	json_add_bool(object, "shareable", disk->shareable);
	if (!keeper_config_no_reservations(disk, path, block)) {
		json_add_string(object, "reservations", VIRTNVME_RUNTIME_DIR "/reservations");
		json_add_string(object, "persistence", VIRTNVME_STATE_DIR "/reservations");
	}
	json_add_u64(object, "block_size",
		     disk->logical_block_size ? disk->logical_block_size : 512);
	/* A volume was created by its pool. */
	json_add_u64(object, "capacity", disk->type == METADATA_DISK_FILE ? disk->capacity : 0);
	json_add_u64(object, "allocation", disk->has_allocation ? disk->allocation : 0);
	add_uuid(object, "uuid", uuid);
	add_uuid(object, "nguid", nguid);
	if (disk->has_eui64)
		add_eui64(object, disk->eui64);
	return object;
}

struct json_object *keeper_config_controller(const char *domain_uuid,
					     const struct metadata_controller *controller,
					     struct source_list *sources, struct error **errp)
{
	_cleanup_json_ struct json_object *object = json_object_new_object();
	struct json_object *namespaces = json_object_new_array();
	char serial[IDENTITY_SERIAL_SIZE];
	uint8_t uuid[16], subsystem[16];
	size_t i;

	json_add(object, "namespaces", namespaces);
	if (identity_controller_uuid(domain_uuid, controller->index, uuid) < 0 ||
	    identity_subsystem_uuid(domain_uuid, controller, subsystem) < 0 ||
	    identity_controller_serial(domain_uuid, controller, serial) < 0) {
		error_set(errp, EINVAL, _("\"%s\" is not a UUID"), domain_uuid);
		return NULL;
	}
	json_add_u64(object, "index", controller->index);
	json_add_string(object, "serial", serial);
	add_uuid(object, "uuid", uuid);
	if (controller->has_subsystem)
		add_uuid(object, "subsystem", subsystem);
	json_add_u64(object, "queues", controller->queues ? controller->queues : DEFAULT_QUEUES);
	json_add_string(object, "doorbells",
			or_default(metadata_doorbells_name(controller->doorbells), "auto"));
	for (i = 0; i < controller->disk_count; i++) {
		struct json_object *namespace;

		if (controller->disks[i].state == METADATA_STATE_FAILED)
			continue;
		namespace = keeper_config_namespace(domain_uuid, controller, &controller->disks[i],
						    sources, errp);
		if (!namespace)
			return NULL;
		json_object_array_add(namespaces, namespace);
	}
	return steal_pointer(object);
}

static struct json_object *describe_pins(const struct metadata *metadata)
{
	struct json_object *list = json_object_new_array();
	unsigned i;

	for (i = 0; i < METADATA_MAX_IOTHREADS; i++) {
		struct json_object *pin;

		if (!metadata->iothreadpin[i])
			continue;
		pin = json_object_new_object();
		json_add_u64(pin, "iothread", i + 1);
		json_add_string(pin, "cpuset", metadata->iothreadpin[i]);
		json_object_array_add(list, pin);
	}
	return list;
}

void keeper_config_set_threads(struct json_object *config, const struct metadata *metadata)
{
	unsigned count = 1;
	size_t i;

	for (i = 0; i < metadata->controller_count; i++)
		count = MAX(count, metadata->controllers[i].iothreads);
	json_add_u64(config, "io_threads", count);
	json_add(config, "iothreadpin", describe_pins(metadata));
}

struct json_object *keeper_config(const struct keeper_config_domain *domain,
				  const struct metadata *metadata, struct source_list *sources,
				  struct error **errp)
{
	_cleanup_json_ struct json_object *object = json_object_new_object();
	struct json_object *controllers = json_object_new_array();
	struct json_object *owner = json_object_new_object();
	_cleanup_free_ char *directory = keeper_directory(domain->uuid);
	_cleanup_free_ char *pidfile = NULL;
	size_t i;

	json_add(object, "controllers", controllers);
	json_add(object, "owner", owner);
	if (asprintf(&pidfile, "%s/%s.pid", LIBVIRT_PID_DIR, domain->name) < 0)
		pidfile = NULL;
	if (!directory || !pidfile) {
		error_set_errno(errp, ENOMEM, "keeper");
		return NULL;
	}
	for (i = 0; i < metadata->controller_count; i++) {
		struct json_object *controller = keeper_config_controller(
			domain->uuid, &metadata->controllers[i], sources, errp);

		if (!controller)
			return NULL;
		json_object_array_add(controllers, controller);
	}
	json_add_u64(owner, "uid", domain->uid);
	json_add_u64(owner, "gid", domain->gid);
	json_add_string(object, "uuid", domain->uuid);
	json_add_string(object, "name", domain->name);
	json_add_string(object, "runtime_dir", directory);
	json_add_string(object, "peer_pidfile", pidfile);
	json_add_string(object, "controller_program", CONTROLLER_PROGRAM);
	json_add_string(object, "controller_user", VIRTNVME_CONTROLLER_USER);
	json_add_bool(object, "incoming", domain->incoming);
	keeper_config_set_threads(object, metadata);
	json_add_u64(object, "log_level", keepers_log_level);
	return steal_pointer(object);
}
