// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain-xml/attach.h"

#include <errno.h>

#include "base/i18n.h"
#include "domain-xml/facts.h"
#include "domain-xml/layout.h"
#include "domain-xml/objects.h"
#include "domain-xml/parse.h"

/* A running domain, as its live XML shows it. */
struct running {
	xmlDoc *doc;
	const xmlNode *domain;
	struct metadata *metadata;
	char uuid[37];
	enum domain_xml_machine machine;
	struct commandline commandline;
	struct layout layout; /* of the block it was started with */
	struct pci_map map;   /* with everything of ours that it runs with */
};

static void running_clear(struct running *running)
{
	xmlFreeDoc(running->doc);
	metadata_free(running->metadata);
	commandline_clear(&running->commandline);
}

static void occupy(struct running *running, const struct metadata_placement *place)
{
	pci_map_occupy(&running->map, running->machine, place);
	layout_occupy(&running->layout, place);
}

static int running_open(struct running *running, const char *xml, size_t len, struct error **errp)
{
	xmlNode *devices;
	size_t i;
	int r;

	r = xml_parse_domain(xml, len, NULL, &running->doc, errp);
	if (r < 0)
		return r;
	running->domain = xmlDocGetRootElement(running->doc);
	r = metadata_devices(running->domain, &devices, errp);
	if (r < 0 || (r = metadata_parse_node(devices, &running->metadata, errp)) < 0)
		return r;
	if (!facts_uuid(running->domain, running->uuid))
		return xml_error(errp, running->domain, EINVAL, _("<uuid> is missing"));
	running->machine = facts_machine(running->domain);
	if (running->machine == DOMAIN_XML_OTHER)
		return xml_error(
			errp, running->domain, EINVAL,
			_("a machine of this type has no place for NVMe controllers: use q35 "
			  "or pc on x86_64"));
	r = commandline_read(running->domain, &running->commandline);
	if (r < 0)
		return error_set_errno(errp, -r, "XML");
	layout_read(&running->commandline, &running->layout);
	pci_map_read(running->domain, &running->map);
	for (i = 0; i < running->layout.port_count; i++)
		occupy(running, &running->layout.ports[i]);
	for (i = 0; i < running->layout.device_count; i++)
		occupy(running, &running->layout.devices[i].place);
	for (i = 0; i < running->metadata->controller_count; i++)
		if (running->metadata->controllers[i].live.bus[0])
			occupy(running, &running->metadata->controllers[i].live);
	return 0;
}

static bool on_commandline(const struct running *running, const char *id)
{
	size_t i;

	for (i = 0; i < running->commandline.count; i++) {
		const struct commandline_option *option = &running->commandline.options[i];
		_cleanup_free_ char *is = NULL;

		if (!option->ours)
			continue;
		is = commandline_property(option->value, "id");
		if (string_equal(is, id))
			return true;
	}
	return false;
}

static int plan_controllers(struct running *running, const struct rewrite_options *options,
			    struct attach_plan *plan, struct error **errp)
{
	size_t i;
	int r;

	plan->controllers = calloc(METADATA_MAX_CONTROLLERS, sizeof(*plan->controllers));
	if (!plan->controllers)
		return error_set_errno(errp, ENOMEM, "XML");
	for (i = 0; i < running->metadata->controller_count; i++) {
		const struct metadata_controller *controller = &running->metadata->controllers[i];
		struct attach_controller *attach = &plan->controllers[plan->controller_count];

		if (controller->live.bus[0] || metadata_controller_failed(controller) ||
		    layout_device(&running->layout, controller->index))
			continue;
		r = layout_place(&running->map, running->machine, &running->layout,
				 &attach->placement, errp);
		if (r < 0)
			return r;
		occupy(running, &attach->placement);
		attach->index = controller->index;
		attach->device = attach_device(running->uuid, controller->index, &attach->placement,
					       metadata_controller_boot_order(controller), options);
		if (!attach->device)
			return error_set_errno(errp, ENOMEM, "XML");
		plan->controller_count++;
	}
	return 0;
}

static int plan_objects(struct running *running, const struct rewrite_options *options,
			struct attach_plan *plan, struct error **errp)
{
	bool monitor = options && options->has_monitor_object;

	if (!on_commandline(running, REWRITE_VMSTATE_OBJECT)) {
		plan->vmstate = objects_vmstate(running->uuid, options);
		if (!plan->vmstate)
			return error_set_errno(errp, ENOMEM, "XML");
	}
	/* A monitor can be added to a running QEMU only as an object. */
	if (monitor && !on_commandline(running, REWRITE_MONITOR_OBJECT)) {
		plan->chardev = objects_chardev(running->uuid, options);
		plan->monitor = objects_monitor();
		if (!plan->chardev || !plan->monitor)
			return error_set_errno(errp, ENOMEM, "XML");
	}
	return 0;
}

int attach_plan(const char *xml, size_t len, const struct rewrite_options *options,
		struct attach_plan **ret, struct error **errp)
{
	_cleanup_attach_plan_ struct attach_plan *plan = calloc(1, sizeof(*plan));
	_cleanup_(running_clear) struct running running = { 0 };
	int r;

	if (!plan)
		return error_set_errno(errp, ENOMEM, "XML");
	if ((r = running_open(&running, xml, len, errp)) < 0 ||
	    (r = plan_objects(&running, options, plan, errp)) < 0 ||
	    (r = plan_controllers(&running, options, plan, errp)) < 0)
		return r;
	*ret = steal_pointer(plan);
	return 0;
}

void attach_plan_free(struct attach_plan *plan)
{
	size_t i;

	if (!plan)
		return;
	json_object_put(plan->vmstate);
	json_object_put(plan->chardev);
	json_object_put(plan->monitor);
	for (i = 0; i < plan->controller_count; i++)
		json_object_put(plan->controllers[i].device);
	free(plan->controllers);
	free(plan);
}

int attach_place(const char *xml, size_t len, const struct metadata_placement *taken,
		 size_t taken_count, struct metadata_placement *ret, struct error **errp)
{
	_cleanup_(running_clear) struct running running = { 0 };
	size_t i;
	int r = running_open(&running, xml, len, errp);

	if (r < 0)
		return r;
	for (i = 0; i < taken_count; i++)
		occupy(&running, &taken[i]);
	return layout_place(&running.map, running.machine, &running.layout, ret, errp);
}

int attach_current(const char *xml, size_t len, struct metadata *metadata, struct error **errp)
{
	_cleanup_(running_clear) struct running running = { 0 };
	size_t i;
	int r = running_open(&running, xml, len, errp);

	if (r < 0)
		return r;
	for (i = 0; i < running.layout.device_count; i++) {
		const struct layout_device *device = &running.layout.devices[i];
		struct metadata_controller *controller;

		controller = metadata_controller(metadata, device->index);
		if (!controller) {
			controller = metadata_add_controller(metadata, device->index, errp);
			if (!controller)
				return -ENOMEM;
			controller->parked = true;
		}
		controller->live = device->place;
	}
	/* The record is younger than the command line. */
	r = metadata_carry_live(metadata, running.metadata);
	return r < 0 ? error_set_errno(errp, -r, "XML") : 0;
}
