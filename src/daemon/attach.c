// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/attach.h"

#include <errno.h>
#include <stdio.h>

#include "base/i18n.h"
#include "base/log.h"
#include "daemon/probe.h"
#include "domain-xml/attach.h"
#include "domain-xml/domain.h"
#include "qmp/device.h"
#include "qmp/object.h"

#define MAX_TRIES 8 /* places that QEMU may refuse before we give up */

void attach_fail_disk(struct metadata_disk *disk, const char *reason)
{
	free(disk->reason);
	disk->reason = strdup(reason);
	disk->state = METADATA_STATE_FAILED;
}

void attach_fail(struct metadata_controller *controller, const char *reason)
{
	size_t i;

	for (i = 0; i < controller->disk_count; i++)
		if (controller->disks[i].state != METADATA_STATE_FAILED)
			attach_fail_disk(&controller->disks[i], reason);
}

int attach_find(struct json_object *pci, unsigned index, struct metadata_placement *ret)
{
	struct qmp_pci_address address;
	char id[32];

	attach_device_id(index, id);
	if (qmp_pci_find(pci, id, &address) < 0)
		return -ENOENT;
	/* Behind a port the bus has the port's name; on the root bus of a pc it is pci.0. */
	snprintf(ret->bus, sizeof(ret->bus), "%.31s", *address.bridge ? address.bridge : "pci.0");
	ret->slot = address.slot;
	ret->function = address.function;
	return 0;
}

/* The plan knows the command line only; what was added at run time is asked for. */
static int add_object(const struct qmp_transport *qmp, struct json_object *object,
		      struct error **errp)
{
	int r;

	if (!object)
		return 0;
	r = qmp_object_exists(qmp, json_string_or(object, "id", ""), errp);
	if (r)
		return MIN(r, 0);
	return qmp_execute(qmp, "object-add", json_object_get(object), NULL, errp);
}

static int add_monitor(const struct qmp_transport *qmp, const struct attach_plan *plan,
		       struct error **errp)
{
	int r;

	if (!plan->monitor || !plan->chardev)
		return 0;
	r = qmp_object_exists(qmp, json_string_or(plan->monitor, "id", ""), errp);
	if (r)
		return MIN(r, 0);
	/* There already, if this was begun by a daemon that did not live to its end. */
	r = qmp_chardev_exists(qmp, json_string_or(plan->chardev, "id", ""), errp);
	if (r == 0)
		r = qmp_execute(qmp, "chardev-add", json_object_get(plan->chardev), NULL, errp);
	if (r < 0)
		return r;
	return add_object(qmp, plan->monitor, errp);
}

/* QEMU says nothing when it hands out memory that nobody else can see; the guest's driver would
 * wait for a minute and give up. */
static int check_memory(const struct qmp_transport *qmp, struct error **errp)
{
	int r = qmp_memory_is_shared(qmp, errp);

	if (r == 0)
		return error_set(
			errp, EINVAL,
			_("the guest's memory is private; shut the domain down and start it "
			  "again"));
	return MIN(r, 0);
}

static int add_device(const struct qmp_transport *qmp, const char *xml, const char *uuid,
		      struct attach_controller *controller, const struct rewrite_options *options,
		      struct error **errp)
{
	struct metadata_placement taken[MAX_TRIES];
	size_t tries = 0;

	for (;;) {
		struct error *err = NULL;
		int r = qmp_execute(qmp, "device_add", json_object_get(controller->device), NULL,
				    &err);

		if (r != -EREMOTEIO || tries == MAX_TRIES || !strstr(error_message(err), "in use"))
			return r < 0 ? error_propagate(errp, err) : 0;
		/* libvirt has put something there meanwhile. */
		error_free(err);
		taken[tries++] = controller->placement;
		r = attach_place(xml, strlen(xml), taken, tries, &controller->placement, errp);
		if (r < 0)
			return r;
		json_object_put(controller->device);
		controller->device =
			attach_device(uuid, controller->index, &controller->placement, 0, options);
	}
}

static int prepare(const struct qmp_transport *qmp, const struct attach_plan *plan,
		   struct error **errp)
{
	int r;

	r = check_memory(qmp, errp);
	if (r == 0)
		r = add_object(qmp, plan->vmstate, errp);
	if (r == 0)
		r = add_monitor(qmp, plan, errp);
	return r;
}

static void attach_planned(const struct qmp_transport *qmp, const char *xml, const char *uuid,
			   const struct rewrite_options *options, struct attach_plan *plan,
			   struct metadata *wish)
{
	_cleanup_error_ struct error *err = NULL;
	_cleanup_json_ struct json_object *pci = NULL;
	bool prepared = false;
	size_t i;

	if (qmp_query_pci(qmp, &pci, NULL) < 0)
		pci = NULL;
	for (i = 0; i < plan->controller_count; i++) {
		struct attach_controller *planned = &plan->controllers[i];
		struct metadata_controller *controller = metadata_controller(wish, planned->index);
		_cleanup_error_ struct error *failure = NULL;

		if (!controller || !controller->disk_count)
			continue;
		if (pci && attach_find(pci, planned->index, &controller->live) == 0)
			continue;
		if (!prepared && !err && prepare(qmp, plan, &err) == 0)
			prepared = true;
		if (err) {
			attach_fail(controller, error_message(err));
		} else if (add_device(qmp, xml, uuid, planned, options, &failure) < 0) {
			attach_fail(controller, error_message(failure));
		} else {
			controller->live = planned->placement;
			log_info("%s: controller %u attached at %s slot %u", uuid, planned->index,
				 controller->live.bus, controller->live.slot);
		}
	}
}

static void fail_unplaced(struct metadata *wish, const char *reason)
{
	size_t i;

	for (i = 0; i < wish->controller_count; i++)
		if (!*wish->controllers[i].live.bus)
			attach_fail(&wish->controllers[i], reason);
}

void attach_controllers(const struct qmp_transport *qmp, const char *xml, struct metadata *wish)
{
	_cleanup_domain_xml_info_ struct domain_xml_info *info = NULL;
	_cleanup_attach_plan_ struct attach_plan *plan = NULL;
	_cleanup_error_ struct error *err = NULL;
	struct rewrite_options options;

	if (probe_rewrite_options(xml, true, &options, &err) < 0 ||
	    domain_xml_info(xml, strlen(xml), &info, &err) < 0 ||
	    attach_plan(xml, strlen(xml), &options, &plan, &err) < 0) {
		fail_unplaced(wish, error_message(err));
		return;
	}
	if (plan->controller_count)
		attach_planned(qmp, xml, info->uuid, &options, plan, wish);
}

void attach_park(const struct qmp_transport *qmp, unsigned index)
{
	_cleanup_error_ struct error *err = NULL;
	char id[32];

	attach_device_id(index, id);
	if (qmp_device_del_vfio_user(qmp, id, &err) < 0)
		log_info("%s stays in the guest without disks: %s", id, error_message(err));
}
