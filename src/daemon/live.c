// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/live.h"

#include <errno.h>

#include "base/i18n.h"
#include "base/log.h"
#include "daemon/attach.h"
#include "daemon/format.h"
#include "daemon/keeper-config.h"
#include "daemon/keeper-status.h"
#include "daemon/keeper.h"
#include "daemon/libvirt.h"
#include "daemon/monitor.h"
#include "daemon/resize.h"
#include "domain-xml/attach.h"
#include "domain-xml/domain.h"
#include "qmp/device.h"

/*
 * Theory of operation
 *
 * The live metadata is a wish and a record in one: the user writes disks into it, we write where
 * the controllers are, which are parked, and which disks could not be had. `virsh metadata --set`
 * replaces the element and so loses the record; it is carried over from what we wrote last, and
 * after a restart of the daemon found again from the command line's block and from QEMU.
 *
 * One look: (1) namespaces that are not wished go, and controllers that no QEMU is connected to. To
 * the guest all paths to a disk have the same content: one that could not go keeps the others from
 * another source;
 * (2) controllers that are missing are made, if the PCI bus has a place for them, then namespaces;
 * (3) the record is written, since the plan for the PCI bus is made from the XML; (4) controllers
 * without a place are plugged in; (5) the record is written again. A second look finds nothing to
 * do, and writes nothing.
 */
struct live {
	struct domain *domain;
	virDomainPtr dom;
	char *xml;
	struct domain_xml_info *info;
	struct metadata *wish;
	struct json_object *status;
	struct qmp_transport qmp;
};

static void live_clear(struct live *live)
{
	free(live->xml);
	domain_xml_info_free(live->info);
	metadata_free(live->wish);
	json_object_put(live->status);
}

static int live_read(struct live *live, struct error **errp)
{
	free(live->xml);
	domain_xml_info_free(live->info);
	live->info = NULL;
	live->xml = virDomainGetXMLDesc(live->dom, 0);
	if (!live->xml)
		return libvirt_error(errp, _("cannot read the running domain"));
	return domain_xml_info(live->xml, strlen(live->xml), &live->info, errp);
}

/* A disk that failed and is wished anew, without the mark, is tried anew. */
static void forget_failures(struct metadata *metadata)
{
	size_t i, j;

	for (i = 0; i < metadata->controller_count; i++) {
		struct metadata_controller *controller = &metadata->controllers[i];

		for (j = 0; j < controller->disk_count; j++) {
			struct metadata_disk *disk = &controller->disks[j];

			if (disk->state != METADATA_STATE_FAILED)
				continue;
			disk->state = METADATA_STATE_NONE;
			free(steal_pointer(disk->reason));
		}
	}
}

static struct metadata *parse_wish(struct live *live, struct error **errp)
{
	_cleanup_metadata_ struct metadata *before = NULL;
	_cleanup_metadata_ struct metadata *wish = NULL;
	int r;

	r = metadata_parse_domain(live->xml, strlen(live->xml), &wish, errp);
	if (r == 0)
		r = attach_current(live->xml, strlen(live->xml), wish, errp);
	if (r == 0 && live->domain->live && live->domain->live_id == virDomainGetID(live->dom)) {
		before = metadata_copy(live->domain->live);
		if (before)
			forget_failures(before);
		if (!before || metadata_carry_live(wish, before) < 0)
			r = error_set_errno(errp, ENOMEM, "metadata");
	}
	return r < 0 ? NULL : steal_pointer(wish);
}

static int refresh_status(struct live *live, struct error **errp)
{
	json_object_put(live->status);
	live->status = NULL;
	return keeper_call(live->domain->uuid, "status", NULL, &live->status, errp);
}

static void own_sockets(struct live *live)
{
	if (live->info->dac_numeric)
		keeper_own_sockets(live->domain->uuid, live->info->dac_uid, live->info->dac_gid);
}

/* A running domain gets its first disk of ours. */
static int start_keeper(struct live *live, struct error **errp)
{
	_cleanup_metadata_ struct metadata *none = metadata_new();
	_cleanup_json_ struct json_object *config = NULL;
	struct keeper_config_domain domain = {
		.uuid = live->domain->uuid,
		.name = virDomainGetName(live->dom),
	};
	int r;

	if (live->info->dac_numeric) {
		domain.uid = live->info->dac_uid;
		domain.gid = live->info->dac_gid;
	} else {
		libvirt_owner(&domain.uid, &domain.gid);
	}
	config = none ? keeper_config(&domain, none, NULL, errp) : NULL;
	if (!config)
		return -ENOMEM;
	keeper_config_set_threads(config, live->wish);
	r = keeper_start(domain.name, config, errp);
	return r < 0 ? r : refresh_status(live, errp);
}

static bool any_placed(const struct metadata *wish)
{
	size_t i;

	for (i = 0; i < wish->controller_count; i++)
		if (*wish->controllers[i].live.bus)
			return true;
	return false;
}

static struct json_object *index_argument(unsigned index)
{
	struct json_object *arguments = json_object_new_object();

	json_add_u64(arguments, "index", index);
	return arguments;
}

static int remove_namespace(struct live *live, unsigned index, unsigned nsid)
{
	struct json_object *arguments = index_argument(index);
	_cleanup_error_ struct error *err = NULL;
	int r;

	json_add_u64(arguments, "nsid", nsid);
	r = keeper_call(live->domain->uuid, "remove-namespace", arguments, NULL, &err);
	if (r < 0)
		log_warning("%s: nvme%un%u cannot be removed: %s", virDomainGetName(live->dom),
			    index, nsid, error_message(err));
	return r;
}

static bool same_source(struct live *live, const struct metadata_controller *controller,
			const struct metadata_disk *disk, struct json_object *there)
{
	_cleanup_json_ struct json_object *want =
		keeper_config_namespace(live->domain->uuid, controller, disk, NULL, NULL);
	const char *path = want ? json_string_or(want, "path", NULL) : NULL;
	const char *source = json_string_or(there, "source", NULL);

	return !path || !source || string_equal(path, source);
}

/* Step 1 for one controller of the keeper's. */
static void remove_unwished(struct live *live, struct json_object *there)
{
	struct json_object *namespaces = json_child(there, "namespaces", json_type_array);
	unsigned index = json_u64_or(there, "index", 0);
	size_t i, n = namespaces ? json_object_array_length(namespaces) : 0;
	const struct metadata_controller *controller = metadata_controller(live->wish, index);
	size_t left = n;

	for (i = 0; i < n; i++) {
		struct json_object *namespace = json_object_array_get_idx(namespaces, i);
		unsigned nsid = json_u64_or(namespace, "nsid", 0);
		struct metadata_disk *disk = metadata_disk(live->wish, index, nsid);

		if (disk && same_source(live, controller, disk, namespace))
			continue;
		if (remove_namespace(live, index, nsid) == 0)
			left--;
	}
	if (n && !left && !controller->disk_count && keeper_status_connected(there))
		attach_park(&live->qmp, index);
}

/* What QEMU has and the wish does not name is parked, wherever the record went. */
static void adopt_unnamed(struct live *live, struct json_object **pci, struct json_object *there)
{
	unsigned index = json_u64_or(there, "index", 0);
	struct metadata_controller *controller = metadata_controller(live->wish, index);

	if (!controller)
		controller = metadata_add_controller(live->wish, index, NULL);
	if (!controller || *controller->live.bus || !keeper_status_connected(there))
		return;
	if (!*pci && qmp_query_pci(&live->qmp, pci, NULL) < 0)
		return;
	attach_find(*pci, index, &controller->live);
}

static void step_remove(struct live *live)
{
	struct json_object *there = json_child(live->status, "controllers", json_type_array);
	_cleanup_json_ struct json_object *pci = NULL;
	size_t i, n = there ? json_object_array_length(there) : 0;

	for (i = 0; i < n; i++) {
		struct json_object *controller = json_object_array_get_idx(there, i);
		unsigned index = json_u64_or(controller, "index", 0);

		adopt_unnamed(live, &pci, controller);
		if (!metadata_controller(live->wish, index))
			continue;
		remove_unwished(live, controller);
		if (!metadata_controller(live->wish, index)->disk_count &&
		    !keeper_status_connected(controller)) {
			keeper_call(live->domain->uuid, "remove-controller", index_argument(index),
				    NULL, NULL);
			metadata_remove_controller(live->wish, index);
		}
	}
}

static int add_controller(struct live *live, const struct metadata_controller *controller,
			  struct error **errp)
{
	/* Its disks come one by one: one that fails is not to take the others with it. */
	struct metadata_controller bare = *controller;
	struct json_object *arguments, *config;
	int r;

	bare.disks = NULL;
	bare.disk_count = 0;
	config = keeper_config_controller(live->domain->uuid, &bare, NULL, errp);
	if (!config)
		return -EINVAL;
	arguments = json_object_new_object();
	json_add(arguments, "controller", config);
	r = keeper_call(live->domain->uuid, "add-controller", arguments, NULL, errp);
	if (r == 0)
		own_sockets(live);
	return r;
}

static int add_namespace(struct live *live, const struct metadata_controller *controller,
			 const struct metadata_disk *disk, struct error **errp)
{
	const struct metadata_controller *other;
	struct json_object *arguments, *config;
	struct source_list sources = {};
	int r = 0;

	config = keeper_config_namespace(live->domain->uuid, controller, disk, &sources, errp);
	if (!config)
		return -EINVAL;
	other = keeper_status_other_source(live->status, live->wish, controller, disk->nsid,
					   json_string_or(config, "path", NULL));
	if (other)
		r = error_set(errp, EBUSY, _("nvme%un%u, a path to it, still has another source"),
			      other->index, disk->nsid);
	else if (sources.count)
		r = domain_check_source(live->domain, &sources.items[0], errp);
	source_list_clear(&sources);
	if (r < 0) {
		json_object_put(config);
		return r;
	}
	arguments = index_argument(controller->index);
	json_add(arguments, "namespace", config);
	return keeper_call(live->domain->uuid, "add-namespace", arguments, NULL, errp);
}

/* Limits are the one thing of a disk that changes while the guest uses it. */
static void set_iotune(struct live *live, unsigned index, const struct metadata_disk *disk,
		       struct json_object *there)
{
	_cleanup_json_ struct json_object *want = keeper_config_iotune(disk);
	_cleanup_error_ struct error *err = NULL;
	struct json_object *arguments;

	if (json_object_equal(want, json_child(there, "iotune", json_type_object)))
		return;
	arguments = index_argument(index);
	json_add_u64(arguments, "nsid", disk->nsid);
	json_add(arguments, "iotune", json_object_get(want));
	if (keeper_call(live->domain->uuid, "set-iotune", arguments, NULL, &err) < 0)
		log_warning("%s: the limits of nvme%un%u cannot be changed: %s",
			    virDomainGetName(live->dom), index, disk->nsid, error_message(err));
}

/* What we wrote there last, or what it was set to. */
static const struct metadata_disk *recorded(const struct live *live, unsigned index, unsigned nsid)
{
	const struct domain *domain = live->domain;

	if (!domain->live || domain->live_id != virDomainGetID(live->dom))
		return NULL;
	return metadata_disk(domain->live, index, nsid);
}

static int resize_to(struct live *live, const struct metadata_disk *disk, struct error **errp)
{
	struct resize resize = {
		.domain = live->domain, .active = true, .metadata = live->wish, .disk = disk
	};
	int r = resize_open(&resize, errp);

	if (r == 0 && resize.size != disk->capacity) {
		r = resize_image(&resize, disk->capacity, false, errp);
		if (r == 0)
			r = resize_tell(&resize, errp);
	}
	resize_close(&resize);
	return r;
}

/* A size is a wish when it is a new one: from the start, an image may have another than is written. */
static void set_capacity(struct live *live, unsigned index, struct metadata_disk *disk)
{
	const struct metadata_disk *before = recorded(live, index, disk->nsid);
	_cleanup_error_ struct error *err = NULL;

	if (!disk->capacity || !before || before->capacity == disk->capacity ||
	    resize_to(live, disk, &err) == 0)
		return;
	log_warning("%s: nvme%un%u cannot have its new size: %s", virDomainGetName(live->dom),
		    index, disk->nsid, error_message(err));
	disk->capacity = before->capacity;
}

static void add_disks(struct live *live, struct metadata_controller *controller)
{
	struct json_object *there = keeper_status_controller(live->status, controller->index);
	bool made = false;
	size_t i, got = 0;

	for (i = 0; i < controller->disk_count; i++) {
		struct metadata_disk *disk = &controller->disks[i];
		_cleanup_error_ struct error *err = NULL;
		struct json_object *namespace = keeper_status_namespace(there, disk->nsid);
		int r = 0;

		if (namespace && same_source(live, controller, disk, namespace)) {
			set_iotune(live, controller->index, disk, namespace);
			set_capacity(live, controller->index, disk);
			format_take(live->domain, live->dom, controller->index, disk, namespace);
			disk->state = METADATA_STATE_ATTACHED;
			got++;
			continue;
		}
		if (disk->state == METADATA_STATE_FAILED)
			continue;
		if (!there && !made) {
			r = add_controller(live, controller, &err);
			made = r == 0;
		}
		if (r == 0)
			r = add_namespace(live, controller, disk, &err);
		if (r < 0) {
			log_warning("%s: nvme%un%u: %s", virDomainGetName(live->dom),
				    controller->index, disk->nsid, error_message(err));
			attach_fail_disk(disk, error_message(err));
		} else {
			disk->state = METADATA_STATE_ATTACHED;
			got++;
		}
	}
	if (made && !got)
		keeper_call(live->domain->uuid, "remove-controller",
			    index_argument(controller->index), NULL, NULL);
}

/* Before anything is made for a controller that cannot be plugged in. Those that QEMU is connected
 * to have a place, also when the record of it is lost. */
static void fail_unplaceable(struct live *live)
{
	struct metadata_placement taken[METADATA_MAX_CONTROLLERS];
	size_t i, count = 0;

	for (i = 0; i < live->wish->controller_count; i++)
		if (*live->wish->controllers[i].live.bus)
			taken[count++] = live->wish->controllers[i].live;
	for (i = 0; i < live->wish->controller_count; i++) {
		struct metadata_controller *controller = &live->wish->controllers[i];
		struct json_object *there =
			keeper_status_controller(live->status, controller->index);
		_cleanup_error_ struct error *err = NULL;

		if (*controller->live.bus || !controller->disk_count ||
		    metadata_controller_failed(controller) || keeper_status_connected(there))
			continue;
		if (attach_place(live->xml, strlen(live->xml), taken, count, &taken[count], &err) ==
		    0)
			count++;
		else
			attach_fail(controller, error_message(err));
	}
}

/* Without disks and without a place in the guest, a controller is nothing. */
static void settle(struct metadata *wish)
{
	size_t i = 0;

	while (i < wish->controller_count) {
		struct metadata_controller *controller = &wish->controllers[i];

		controller->parked = !controller->disk_count;
		if (controller->parked && !*controller->live.bus)
			metadata_remove_controller(wish, controller->index);
		else
			i++;
	}
}

static int write_record(struct live *live, struct error **errp)
{
	_cleanup_metadata_ struct metadata *now = NULL;
	_cleanup_free_ char *want = NULL;
	_cleanup_free_ char *have = NULL;
	bool remove = !live->wish->controller_count;

	if (metadata_parse_domain(live->xml, strlen(live->xml), &now, NULL) == 0)
		have = metadata_format(now, NULL);
	want = metadata_format(live->wish, errp);
	if (!want)
		return -ENOMEM;
	metadata_free(live->domain->live);
	live->domain->live = metadata_copy(live->wish);
	live->domain->live_id = virDomainGetID(live->dom);
	if (have && string_equal(have, want))
		return 0;
	if (virDomainSetMetadata(live->dom, VIR_DOMAIN_METADATA_ELEMENT, remove ? NULL : want,
				 METADATA_PREFIX, METADATA_NAMESPACE, VIR_DOMAIN_AFFECT_LIVE) < 0)
		return libvirt_error(errp, _("cannot record what is attached"));
	return 1;
}

/* So that the next start of another domain knows what this one uses. */
static void claim_sources(struct live *live)
{
	_cleanup_json_ struct json_object *config = NULL;
	struct keeper_config_domain domain = {
		.uuid = live->domain->uuid,
		.name = virDomainGetName(live->dom),
	};
	_cleanup_error_ struct error *err = NULL;
	struct source_list sources = {};

	config = keeper_config(&domain, live->wish, &sources, &err);
	if (!config || domain_claim(live->domain, domain.name, &sources, &err) < 0)
		log_warning("%s: %s", domain.name, error_message(err));
	source_list_clear(&sources);
}

/* The controllers that nothing was attached of are not left behind. */
static void drop_unplugged(struct live *live)
{
	size_t i;

	for (i = 0; i < live->wish->controller_count; i++) {
		struct metadata_controller *controller = &live->wish->controllers[i];
		struct json_object *there =
			keeper_status_controller(live->status, controller->index);

		if (*controller->live.bus || !there || keeper_status_connected(there))
			continue;
		while (keeper_status_namespace_count(there)) {
			struct json_object *namespaces =
				json_child(there, "namespaces", json_type_array);
			unsigned nsid =
				json_u64_or(json_object_array_get_idx(namespaces, 0), "nsid", 0);

			remove_namespace(live, controller->index, nsid);
			json_object_array_del_idx(namespaces, 0, 1);
		}
		keeper_call(live->domain->uuid, "remove-controller",
			    index_argument(controller->index), NULL, NULL);
	}
}

static void tell_formats(struct live *live)
{
	size_t i, j;

	for (i = 0; i < live->wish->controller_count; i++) {
		struct metadata_controller *controller = &live->wish->controllers[i];
		struct json_object *there =
			keeper_status_controller(live->status, controller->index);

		for (j = 0; j < controller->disk_count; j++)
			format_tell(live->domain, controller->index, &controller->disks[j],
				    keeper_status_namespace(there, controller->disks[j].nsid));
	}
}

static int apply(struct live *live, struct error **errp)
{
	struct error *err = NULL;
	size_t i;
	int r;

	r = refresh_status(live, &err);
	if (r == -ENOENT && !any_placed(live->wish)) {
		error_free(err);
		if (!live->wish->controller_count)
			return 0;
		r = start_keeper(live, errp);
		if (r < 0)
			return r;
	} else if (r < 0) {
		return error_propagate(errp, err);
	}
	if (keeper_status_migrates(live->status))
		return error_set(errp, EBUSY, LIVE_MIGRATES);
	step_remove(live);
	r = refresh_status(live, errp);
	if (r < 0)
		return r;
	fail_unplaceable(live);
	for (i = 0; i < live->wish->controller_count; i++)
		add_disks(live, &live->wish->controllers[i]);
	settle(live->wish);
	r = write_record(live, errp);
	if (r >= 0)
		tell_formats(live);
	if (r > 0)
		r = live_read(live, errp);
	if (r < 0)
		return r;
	attach_controllers(&live->qmp, live->xml, live->wish);
	r = refresh_status(live, errp);
	if (r < 0)
		return r;
	drop_unplugged(live);
	claim_sources(live);
	r = write_record(live, errp);
	return MIN(r, 0);
}

int live_reconcile(struct domain *domain, virDomainPtr dom, bool *ret_ours, struct error **errp)
{
	struct live live = { .domain = domain, .dom = dom, .qmp = monitor_transport(dom) };
	int r;

	r = live_read(&live, errp);
	if (r == 0 &&
	    (domain_xml_is_ours(live.xml, strlen(live.xml)) || keeper_runs(domain->uuid))) {
		*ret_ours = true;
		live.wish = parse_wish(&live, errp);
		r = live.wish ? apply(&live, errp) : -EINVAL;
	}
	live_clear(&live);
	return r;
}

static bool job_moves_guest(virDomainPtr dom)
{
	virTypedParameterPtr params = NULL;
	int count = 0, type, operation = VIR_DOMAIN_JOB_OPERATION_UNKNOWN;

	if (virDomainGetJobStats(dom, &type, &params, &count, 0) < 0)
		return false; /* an arriving guest is known by its keeper */
	virTypedParamsGetInt(params, count, VIR_DOMAIN_JOB_OPERATION, &operation);
	virTypedParamsFree(params, count);
	return type != VIR_DOMAIN_JOB_NONE && operation != VIR_DOMAIN_JOB_OPERATION_BACKUP;
}

int live_check_idle(struct domain *domain, virDomainPtr dom, struct error **errp)
{
	_cleanup_json_ struct json_object *status = NULL;

	if (keeper_call(domain->uuid, "status", NULL, &status, NULL) < 0)
		return 0; /* what is to be done finds out and says so */
	if (keeper_status_migrates(status) || job_moves_guest(dom))
		return error_set(errp, EBUSY, LIVE_MIGRATES);
	return 0;
}

struct metadata *live_metadata(struct domain *domain, virDomainPtr dom, struct error **errp)
{
	struct live live = { .domain = domain, .dom = dom };
	struct metadata *metadata = NULL;

	if (live_read(&live, errp) == 0)
		metadata = parse_wish(&live, errp);
	live_clear(&live);
	return metadata;
}

/* Take a disk that could not be attached out of the live metadata again. */
static void take_back(struct live *live, unsigned index, unsigned nsid)
{
	struct metadata_controller *controller = metadata_controller(live->wish, index);
	_cleanup_error_ struct error *err = NULL;

	if (controller)
		metadata_remove_disk(controller, nsid);
	settle(live->wish);
	if (live_read(live, &err) < 0 || write_record(live, &err) < 0)
		log_warning("%s: %s", virDomainGetName(live->dom), error_message(err));
}

int live_attach(struct domain *domain, virDomainPtr dom, struct metadata *wish, unsigned index,
		unsigned nsid, struct error **errp)
{
	struct live live = {
		.domain = domain, .dom = dom, .wish = wish, .qmp = monitor_transport(dom)
	};
	struct metadata_disk *disk;
	int r;

	r = live_read(&live, errp);
	if (r == 0)
		r = apply(&live, errp);
	disk = metadata_disk(live.wish, index, nsid);
	if (r == 0 && (!disk || disk->state != METADATA_STATE_ATTACHED))
		r = error_set(errp, EIO, "%s",
			      disk && disk->reason ? disk->reason : _("the disk was not attached"));
	if (r < 0)
		take_back(&live, index, nsid);
	live_clear(&live);
	return r;
}

int live_change(struct domain *domain, virDomainPtr dom, struct metadata *wish, struct error **errp)
{
	struct live live = {
		.domain = domain, .dom = dom, .wish = wish, .qmp = monitor_transport(dom)
	};
	int r;

	r = live_read(&live, errp);
	if (r == 0)
		r = apply(&live, errp);
	live_clear(&live);
	return r;
}
