// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>

#include "base/i18n.h"
#include "daemon/capabilities.h"
#include "daemon/definition.h"
#include "daemon/keeper.h"
#include "daemon/libvirt.h"
#include "daemon/live.h"
#include "daemon/migration-rules.h"
#include "daemon/monitor.h"
#include "daemon/request.h"
#include "daemon/requests.h"
#include "daemon/volumes.h"
#include "domain-xml/rewrite.h"
#include "qmp/device.h"
#include "qmp/object.h"

static void add_check(struct json_object *list, const char *what, const char *verdict,
		      const char *why)
{
	struct json_object *entry = json_object_new_object();

	json_add_string(entry, "check", what);
	json_add_string(entry, "verdict", verdict);
	json_add_string(entry, "reason", why);
	json_object_array_add(list, entry);
}

static void on_rule(void *opaque, const char *rule, const char *subject, const char *why)
{
	_cleanup_free_ char *what = NULL;

	if (asprintf(&what, "%s%s%s", subject, *subject ? ": " : "", rule) < 0)
		what = NULL;
	add_check(opaque, what ? what : rule, why ? "fail" : "pass", why);
}

static void check_keeper(struct json_object *list, struct json_object *status)
{
	struct json_object *process = json_child(status, "controller", json_type_object);
	struct json_object *qemu = json_child(status, "qemu", json_type_object);
	const char *why = NULL;

	if (!status)
		why = _("its virtnvme-keeper has ended; destroy the domain and start it again");
	else if (string_equal(json_string_or(process, "state", ""), "failed"))
		why = _("its virtnvme-controller has ended; destroy the domain and start it again");
	else if (!json_bool_or(qemu, "monitor", false))
		why = _("QEMU has not connected its second monitor; start the domain again");
	add_check(list, _("its NVMe controllers are served"), why ? "fail" : "pass", why);
}

/* Without it QEMU would go without the state of the disks, and nobody would stop it. */
static void check_vmstate(struct json_object *list, virDomainPtr dom)
{
	struct qmp_transport qmp = monitor_transport(dom);
	_cleanup_error_ struct error *err = NULL;
	const char *why = NULL;
	int r = qmp_object_exists(&qmp, REWRITE_VMSTATE_OBJECT, &err);

	if (r < 0)
		why = error_message(err);
	else if (r == 0)
		why = _("it has no dbus-vmstate object of ours; start the domain again");
	add_check(list, _("QEMU carries the state of the disks"), why ? "fail" : "pass", why);
}

/* A QEMU that runs may be older than the one that is installed. */
static void check_versions(struct json_object *list, const struct request_domain *target)
{
	struct qmp_transport qmp = monitor_transport(target->dom);
	unsigned long libvirt = 0, installed = 0;
	struct qmp_version running;
	const char *why = NULL;

	if (virConnectGetLibVersion(target->conn, &libvirt) == 0 &&
	    virConnectGetVersion(target->conn, &installed) == 0) {
		if (target->active && qmp_query_version(&qmp, &running, NULL) == 0)
			installed =
				running.major * 1000000ul + running.minor * 1000ul + running.micro;
		why = migration_rules_versions(libvirt, installed);
	}
	add_check(list, _("libvirt can migrate guests of this QEMU"), why ? "fail" : "pass", why);
}

static void check_attached(struct json_object *list, const struct metadata *metadata)
{
	size_t i, j;

	for (i = 0; i < metadata->controller_count; i++)
		for (j = 0; j < metadata->controllers[i].disk_count; j++) {
			const struct metadata_disk *disk = &metadata->controllers[i].disks[j];
			char what[64];

			if (disk->state != METADATA_STATE_FAILED)
				continue;
			snprintf(what, sizeof(what), _("nvme%un%u: the disk is attached"),
				 metadata->controllers[i].index, disk->nsid);
			add_check(list, what, "warn",
				  _("it is not in the guest, and does not go along"));
		}
}

static void check_running(struct json_object *list, const struct request_domain *target,
			  const struct metadata *metadata)
{
	_cleanup_json_ struct json_object *status = NULL;
	_cleanup_error_ struct error *err = NULL;

	if (!target->active) {
		add_check(list, _("the domain runs"), "warn",
			  _("it does not; what follows is about its definition"));
		return;
	}
	add_check(list, _("the domain runs"), "pass", NULL);
	keeper_call(target->domain->uuid, "status", NULL, &status, NULL);
	check_keeper(list, status);
	live_check_idle(target->domain, target->dom, &err);
	add_check(list, _("no migration or save is under way"), err ? "fail" : "pass",
		  err ? error_message(err) : NULL);
	if (!err)
		check_vmstate(list, target->dom);
	check_attached(list, metadata);
}

/* For whoever asks the other host. */
static void describe_disks(struct json_object *result, const struct metadata *metadata)
{
	struct json_object *list = json_object_new_array();
	size_t i, j;

	json_add(result, "disks", list);
	for (i = 0; i < metadata->controller_count; i++)
		for (j = 0; j < metadata->controllers[i].disk_count; j++) {
			const struct metadata_disk *disk = &metadata->controllers[i].disks[j];
			struct json_object *entry;
			_cleanup_free_ char *path = NULL;
			char target[32];
			bool block;

			if (disk->type == METADATA_DISK_MEMORY ||
			    disk->state == METADATA_STATE_FAILED)
				continue;
			entry = json_object_new_object();
			snprintf(target, sizeof(target), "nvme%un%u",
				 metadata->controllers[i].index, disk->nsid);
			json_add_string(entry, "target", target);
			json_add_string(entry, "pool", disk->source_pool);
			json_add_string(entry, "volume", disk->source_volume);
			if (volumes_path(disk, &path, &block, NULL) == 0)
				json_add_string(entry, "path", path);
			json_object_array_add(list, entry);
		}
}

static void describe(struct json_object *result, const struct request_domain *target,
		     const struct domain_xml_info *info, const struct metadata *metadata)
{
	_cleanup_free_ char *capabilities = virConnectGetCapabilities(target->conn);
	_cleanup_free_ char *host = capabilities ? capabilities_host_uuid(capabilities) : NULL;

	json_add_string(result, "uuid", info->uuid);
	json_add_string(result, "emulator", info->emulator);
	json_add_string(result, "arch", info->arch);
	json_add_string(result, "machine", info->machine_name);
	json_add_string(result, "type", info->type);
	json_add_string(result, "host_uuid", host);
	describe_disks(result, metadata);
}

int request_migrate_check(struct json_object *arguments, struct json_object **ret_result,
			  struct error **errp)
{
	_cleanup_request_domain_ struct request_domain target = {};
	_cleanup_domain_xml_info_ struct domain_xml_info *info = NULL;
	_cleanup_metadata_ struct metadata *metadata = NULL;
	struct json_object *list = json_object_new_array();
	_cleanup_free_ char *xml = NULL;
	int r;

	*ret_result = json_object_new_object();
	json_add(*ret_result, "checks", list);
	r = request_domain_open(&target, json_string_or(arguments, "domain", ""), errp);
	if (r < 0)
		return r;
	xml = virDomainGetXMLDesc(target.dom, target.active ? 0 : VIR_DOMAIN_XML_INACTIVE);
	if (!xml)
		return libvirt_error(errp, _("cannot read the domain"));
	r = domain_xml_info(xml, strlen(xml), &info, errp);
	if (r == 0)
		r = metadata_parse_domain(xml, strlen(xml), &metadata, errp);
	if (r < 0)
		return r;
	if (!metadata->controller_count)
		return error_set(errp, ENOENT, _("the domain has no NVMe disks of ours"));
	check_running(list, &target, metadata);
	check_versions(list, &target);
	migration_rules_judge(MIGRATION_LIVE, info, metadata, on_rule, list);
	describe(*ret_result, &target, info, metadata);
	return 0;
}
