// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/i18n.h"
#include "daemon/definition.h"
#include "daemon/keeper-config.h"
#include "daemon/keeper-status.h"
#include "daemon/keeper.h"
#include "daemon/libvirt.h"
#include "daemon/live.h"
#include "daemon/migration-rules.h"
#include "daemon/request.h"
#include "daemon/requests.h"
#include "daemon/volumes.h"

static struct metadata *read_metadata(struct request_domain *target, struct error **errp)
{
	return target->active ? live_metadata(target->domain, target->dom, errp)
			      : definition_metadata(target->dom, errp);
}

static size_t count_disks(const struct metadata *metadata)
{
	size_t i, n = 0;

	for (i = 0; i < metadata->controller_count; i++)
		n += metadata->controllers[i].disk_count;
	return n;
}

static const char *state_word(const struct request_domain *target)
{
	int state;

	if (!target->active)
		return "shut off";
	if (virDomainGetState(target->dom, &state, NULL, 0) == 0 && state == VIR_DOMAIN_PAUSED)
		return "paused";
	return "running";
}

/* The first disk whose storage has failed, with the domain paused for it. */
static char *find_paused(struct json_object *controller)
{
	struct json_object *list = json_child(controller, "namespaces", json_type_array);
	size_t i, count = keeper_status_namespace_count(controller);
	char *problem;

	for (i = 0; i < count; i++) {
		struct json_object *disk = json_object_array_get_idx(list, i);
		const char *why = json_string_or(disk, "problem", NULL);

		if (why && asprintf(&problem,
				    _("the storage of %s has failed (%s) and the domain is paused; "
				      "repair the storage, then run virsh resume"),
				    json_string_or(disk, "target", "?"), why) >= 0)
			return problem;
	}
	return NULL;
}

/* What an administrator has to know beyond the state of each disk, or NULL; to be freed. */
static char *find_problem(const struct metadata *metadata, struct json_object *status)
{
	struct json_object *process = json_child(status, "controller", json_type_object);
	const char *reason = json_string_or(process, "reason", NULL);
	bool placed = false;
	char *problem;
	size_t i;

	for (i = 0; i < metadata->controller_count; i++)
		placed |= *metadata->controllers[i].live.bus;
	if (!placed)
		return NULL;
	if (!status)
		return strdup(_("its virtnvme-keeper has ended and the guest has lost its NVMe "
				"disks; destroy the domain and start it again"));
	if (!string_equal(json_string_or(process, "state", ""), "failed")) {
		problem = NULL;
		for (i = 0; i < metadata->controller_count && !problem; i++)
			problem = find_paused(
				keeper_status_controller(status, metadata->controllers[i].index));
		return problem;
	}
	if (asprintf(&problem,
		     _("the guest has lost its NVMe disks, %s; destroy the domain and start it "
		       "again"),
		     reason ? reason : _("its virtnvme-controller has ended")) < 0)
		return NULL;
	return problem;
}

static void list_one(virDomainPtr dom, struct json_object *list)
{
	_cleanup_request_domain_ struct request_domain target = {};
	_cleanup_metadata_ struct metadata *metadata = NULL;
	_cleanup_json_ struct json_object *status = NULL;
	_cleanup_error_ struct error *err = NULL;
	_cleanup_free_ char *problem = NULL;
	struct json_object *entry;
	const char *state;

	if (request_domain_open(&target, virDomainGetName(dom), NULL) < 0)
		return;
	metadata = read_metadata(&target, &err);
	if (metadata && !metadata->controller_count)
		return;
	/* It has gone meanwhile, or libvirt has. */
	if (!metadata && (!err || err->code == EIO || err->code == ENOENT))
		return;
	entry = json_object_new_object();
	json_add_string(entry, "name", virDomainGetName(dom));
	json_add_string(entry, "uuid", target.domain->uuid);
	state = state_word(&target);
	json_add_string(entry, "state", state);
	if (metadata) {
		json_add_u64(entry, "controllers", metadata->controller_count);
		json_add_u64(entry, "disks", count_disks(metadata));
		/* It was paused by somebody, or by its storage. */
		if (string_equal(state, "paused") &&
		    keeper_call(target.domain->uuid, "status", NULL, &status, NULL) == 0)
			problem = find_problem(metadata, status);
		json_add_string(entry, "problem", problem);
	} else {
		json_add_string(entry, "problem", error_message(err));
	}
	json_object_array_add(list, entry);
}

int request_list(struct json_object *arguments, struct json_object **ret_result,
		 struct error **errp)
{
	_cleanup_connection_ virConnectPtr conn = libvirt_connection_wait(errp);
	struct json_object *list = json_object_new_array();
	virDomainPtr *domains = NULL;
	int i, n;

	*ret_result = json_object_new_object();
	json_add(*ret_result, "domains", list);
	if (!conn)
		return -ENOTCONN;
	n = virConnectListAllDomains(conn, &domains, 0);
	if (n < 0)
		return libvirt_error(errp, _("cannot list the domains"));
	for (i = 0; i < n; i++) {
		list_one(domains[i], list);
		virDomainFree(domains[i]);
	}
	free(domains);
	return 0;
}

/* Of what is not attached, and for the space a sparse file really takes. */
static void add_sizes(struct json_object *entry, const char *path, uint64_t live_capacity)
{
	struct stat st;

	if (live_capacity)
		json_add_u64(entry, "capacity", live_capacity);
	if (!path || stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	if (!live_capacity)
		json_add_u64(entry, "capacity", st.st_size);
	json_add_u64(entry, "allocation", st.st_blocks * 512ULL);
}

static void add_reservations(struct json_object *entry, const struct metadata_disk *disk,
			     const char *path, bool block, struct json_object *there)
{
	struct json_object *object = json_object_new_object(), *persistent;
	const char *reason = keeper_config_no_reservations(disk, path, block);

	json_add_bool(object, "offered", !reason);
	json_add_string(object, "reason", reason);
	/* Whether it can is found out when it is opened. */
	if (!reason && json_object_object_get_ex(there, "persistent", &persistent))
		json_add(object, "persistent", json_object_get(persistent));
	json_add(entry, "reservations", object);
}

static struct json_object *disk_info(unsigned index, const struct metadata_disk *disk,
				     struct json_object *there)
{
	struct json_object *counters = json_child(there, "counters", json_type_object);
	struct json_object *iotune = json_child(there, "iotune", json_type_object);
	const char *problem = json_string_or(there, "problem", NULL);
	_cleanup_free_ char *source = metadata_disk_source(disk);
	struct json_object *entry = json_object_new_object();
	_cleanup_free_ char *path = NULL;
	char target[32];
	bool block;

	snprintf(target, sizeof(target), "nvme%un%u", index, disk->nsid);
	json_add_string(entry, "target", target);
	json_add_string(entry, "type", metadata_disk_type_name(disk->type));
	json_add_string(entry, "source", source);
	if (volumes_path(disk, &path, &block, NULL) == 0) {
		json_add_string(entry, "path", path);
		add_reservations(entry, disk, path, block, there);
	}
	json_add_bool(entry, "shareable", disk->shareable);
	add_sizes(entry, path,
		  disk->type == METADATA_DISK_MEMORY ? disk->capacity
						     : json_u64_or(there, "capacity", 0));
	if (counters)
		json_add(entry, "counters", json_object_get(counters));
	if (iotune && json_object_object_length(iotune))
		json_add(entry, "iotune", json_object_get(iotune));
	json_add_string(entry, "state",
			problem				       ? "paused"
			: there				       ? "attached"
			: disk->state == METADATA_STATE_FAILED ? "failed"
							       : "detached");
	json_add_string(entry, "reason", problem ? problem : disk->reason);
	return entry;
}

static struct json_object *controller_info(const struct metadata_controller *controller,
					   struct json_object *there)
{
	struct json_object *entry = json_object_new_object();
	struct json_object *disks = json_object_new_array();
	size_t i;

	json_add_u64(entry, "index", controller->index);
	json_add_string(entry, "state",
			controller->parked		 ? "parked"
			: keeper_status_connected(there) ? "attached"
							 : "detached");
	if (*controller->live.bus)
		json_add_string(entry, "bus", controller->live.bus);
	for (i = 0; i < controller->disk_count; i++)
		json_object_array_add(disks, disk_info(controller->index, &controller->disks[i],
						       keeper_status_namespace(
							       there, controller->disks[i].nsid)));
	json_add(entry, "disks", disks);
	return entry;
}

int request_info(struct json_object *arguments, struct json_object **ret_result,
		 struct error **errp)
{
	_cleanup_request_domain_ struct request_domain target = {};
	struct json_object *controllers = json_object_new_array();
	_cleanup_metadata_ struct metadata *metadata = NULL;
	_cleanup_json_ struct json_object *status = NULL;
	_cleanup_free_ char *problem = NULL;
	size_t i;
	int r;

	*ret_result = json_object_new_object();
	json_add(*ret_result, "controllers", controllers);
	r = request_domain_open(&target, json_string_or(arguments, "domain", ""), errp);
	if (r < 0)
		return r;
	metadata = read_metadata(&target, errp);
	if (!metadata)
		return -EIO;
	if (target.active) {
		keeper_call(target.domain->uuid, "status", NULL, &status, NULL);
		problem = find_problem(metadata, status);
	}
	json_add_string(*ret_result, "name", virDomainGetName(target.dom));
	json_add_string(*ret_result, "uuid", target.domain->uuid);
	json_add_string(*ret_result, "state", state_word(&target));
	for (i = 0; i < metadata->controller_count; i++)
		json_object_array_add(
			controllers,
			controller_info(&metadata->controllers[i],
					keeper_status_controller(status,
								 metadata->controllers[i].index)));
	json_add_string(*ret_result, "problem", problem);
	if (status)
		json_add(*ret_result, "keeper", steal_pointer(status));
	return 0;
}

int request_host_status(struct json_object *arguments, struct json_object **ret_result,
			struct error **errp)
{
	_cleanup_connection_ virConnectPtr conn = libvirt_connection(NULL);
	struct json_object *libvirt = json_object_new_object();
	unsigned long version, emulator;
	char text[32];
	int n;

	*ret_result = json_object_new_object();
	json_add(*ret_result, "libvirt", libvirt);
	json_add_bool(libvirt, "connected", conn != NULL);
	if (!conn)
		return 0;
	if (virConnectGetLibVersion(conn, &version) == 0) {
		snprintf(text, sizeof(text), "%lu.%lu.%lu", version / 1000000,
			 version / 1000 % 1000, version % 1000);
		json_add_string(libvirt, "version", text);
		if (virConnectGetVersion(conn, &emulator) == 0)
			json_add_string(*ret_result, "migration_problem",
					migration_rules_versions(version, emulator));
	}
	n = virConnectNumOfDomains(conn);
	json_add_u64(*ret_result, "domains", MAX(n, 0));
	return 0;
}
