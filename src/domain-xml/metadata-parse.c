// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "base/cpuset.h"
#include "base/i18n.h"
#include "domain-xml/parse.h"
#include "domain-xml/pci.h"
#include "domain-xml/words.h"

/*
 * <devices> and <controller>, from the tree to the struct, and what holds between disks.
 */

static int parse_disk(xmlNode *node, void *opaque, struct error **errp)
{
	struct metadata_controller *controller = opaque;
	struct metadata_disk *disk;
	unsigned index, nsid;
	int r = parse_disk_target(node, &index, &nsid, errp);

	if (r < 0)
		return r;
	if (index != controller->index)
		return xml_error(errp, parse_child(node, "target"), EINVAL,
				 _("dev=\"%s\" is not of the controller with index %u around it"),
				 xml_attribute(parse_child(node, "target"), "dev"),
				 controller->index);
	disk = metadata_add_disk(controller, nsid, errp);
	if (!disk) {
		xml_error_prefix(errp, parse_child(node, "target"));
		return errp ? -(*errp)->code : -EINVAL;
	}
	return parse_disk_body(node, disk, errp);
}

static int parse_serial(xmlNode *node, void *target, struct error **errp)
{
	struct metadata_controller *controller = target;
	const char *p;
	int r = parse_text(node, PARSE_NO_ATTRIBUTES, &controller->serial, errp);

	if (r < 0)
		return r;
	if (!controller->serial[0] || strlen(controller->serial) > METADATA_MAX_SERIAL)
		return xml_error(errp, node, EINVAL,
				 _("a serial number has 1 to %d characters, this one %zu"),
				 METADATA_MAX_SERIAL, strlen(controller->serial));
	for (p = controller->serial; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			return xml_error(errp, node, EINVAL,
					 _("a serial number has only printable ASCII characters"));
	return 0;
}

static int parse_controller_live(xmlNode *node, void *target, struct error **errp)
{
	struct metadata_controller *controller = target;
	const char *bus = xml_attribute(node, "bus");
	const char *addr = xml_attribute(node, "addr");
	int r = parse_attributes(node, PARSE_ATTRIBUTES("bus", "addr", "parked"), errp);

	if (r < 0)
		return r;
	if (!bus || !*bus || strlen(bus) >= sizeof(controller->live.bus) ||
	    strspn(bus, "abcdefghijklmnopqrstuvwxyz0123456789.-") != strlen(bus) || !addr ||
	    pci_parse_address(addr, &controller->live) < 0)
		return xml_error(errp, node, EINVAL, _("this is not a place on a PCI bus"));
	memcpy(controller->live.bus, bus, strlen(bus) + 1);
	controller->parked = xml_attribute_is(node, "parked", "yes");
	return parse_children(node, parse_no_children, NULL, errp);
}

static int parse_controller(xmlNode *node, void *opaque, struct error **errp)
{
	static const struct parse_rule rules[] = {
		{ "serial", false, parse_serial },
		{ "disk", true, parse_disk },
		{ "live", false, parse_controller_live },
		{ NULL },
	};
	struct metadata *metadata = opaque;
	struct metadata_controller *controller;
	unsigned index = 0, doorbells = 0;
	int r = parse_attributes(
		node, PARSE_ATTRIBUTES("index", "queues", "iothreads", "doorbells", "subsystem"),
		errp);

	if (r < 0)
		return r;
	if (!xml_attribute(node, "index"))
		return parse_missing(node, "index", errp);
	r = parse_number(node, "index", 0, METADATA_MAX_CONTROLLERS - 1, &index, errp);
	if (r < 0)
		return r;
	controller = metadata_add_controller(metadata, index, errp);
	if (!controller) {
		xml_error_prefix(errp, node);
		return errp ? -(*errp)->code : -EINVAL;
	}
	if ((r = parse_number(node, "queues", 1, METADATA_MAX_QUEUES, &controller->queues, errp)) <
		    0 ||
	    (r = parse_number(node, "iothreads", 1, METADATA_MAX_IOTHREADS, &controller->iothreads,
			      errp)) < 0 ||
	    (r = parse_word(node, "doorbells", words_doorbells, &doorbells, errp)) < 0 ||
	    (r = parse_number(node, "subsystem", 0, METADATA_MAX_CONTROLLERS - 1,
			      &controller->subsystem, errp)) < 0)
		return r;
	controller->doorbells = doorbells;
	controller->has_subsystem = xml_attribute(node, "subsystem") != NULL;
	return parse_children(node, rules, controller, errp);
}

/*
 * <cputune>
 */

static int parse_iothreadpin(xmlNode *node, void *target, struct error **errp)
{
	_cleanup_error_ struct error *why = NULL;
	struct metadata *metadata = target;
	const char *cpus = xml_attribute(node, "cpuset");
	unsigned thread = 0;
	cpu_set_t set;
	int r = parse_attributes(node, PARSE_ATTRIBUTES("iothread", "cpuset"), errp);

	if (r < 0)
		return r;
	if (!xml_attribute(node, "iothread"))
		return parse_missing(node, "iothread", errp);
	if (!cpus)
		return parse_missing(node, "cpuset", errp);
	r = parse_number(node, "iothread", 1, METADATA_MAX_IOTHREADS, &thread, errp);
	if (r < 0)
		return r;
	if (metadata->iothreadpin[thread - 1])
		return xml_error(errp, node, EINVAL, _("I/O thread %u is pinned already"), thread);
	if (cpuset_parse(cpus, &set, &why) < 0)
		return xml_error(errp, node, EINVAL, "cpuset: %s", error_message(why));
	metadata->iothreadpin[thread - 1] = cpuset_format(&set);
	if (!metadata->iothreadpin[thread - 1])
		return error_set_errno(errp, ENOMEM, "metadata");
	return parse_children(node, parse_no_children, NULL, errp);
}

static int parse_cputune(xmlNode *node, void *target, struct error **errp)
{
	static const struct parse_rule rules[] = {
		{ "iothreadpin", true, parse_iothreadpin },
		{ NULL },
	};
	int r = parse_attributes(node, PARSE_NO_ATTRIBUTES, errp);

	return r < 0 ? r : parse_children(node, rules, target, errp);
}

/*
 * <devices>
 */

struct seen_disk {
	const struct metadata_disk *disk;
	const struct metadata_controller *controller;
	unsigned index;
};

static xmlNode *disk_node(xmlNode *devices, const struct seen_disk *seen)
{
	xmlNode *controller, *disk;
	unsigned i, n;

	for (controller = devices->children; controller; controller = controller->next)
		for (disk = controller->type == XML_ELEMENT_NODE ? controller->children : NULL;
		     disk; disk = disk->next)
			if (disk->type == XML_ELEMENT_NODE &&
			    xmlStrEqual(disk->name, BAD_CAST "disk") &&
			    parse_disk_target(disk, &i, &n, NULL) == 0 && i == seen->index &&
			    n == seen->disk->nsid)
				return disk;
	return devices;
}

/* A number is one namespace for all controllers of a subsystem. */
static int check_paths(xmlNode *devices, const struct seen_disk *before,
		       const struct seen_disk *disk, struct error **errp)
{
	const char *what = metadata_disk_is_path(before->disk, disk->disk);

	if (!what)
		return 0;
	return xml_error(errp, disk_node(devices, disk), EINVAL,
			 _("its controller is of the same subsystem as that of nvme%un%u, so both "
			   "are paths to one disk and need the same %s: or take another number"),
			 before->index, before->disk->nsid, what);
}

static int check_pair(xmlNode *devices, const struct seen_disk *before,
		      const struct seen_disk *disk, struct error **errp)
{
	if (before->disk->boot_order && disk->disk->boot_order) {
		if (before->index == disk->index)
			return xml_error(errp, disk_node(devices, disk), EINVAL,
					 _("nvme%un%u has a boot order already, and the firmware "
					   "sees one for each controller: use another controller"),
					 before->index, before->disk->nsid);
		if (before->disk->boot_order == disk->disk->boot_order)
			return xml_error(errp, disk_node(devices, disk), EINVAL,
					 _("the boot order %u is that of nvme%un%u already"),
					 disk->disk->boot_order, before->index, before->disk->nsid);
	}
	if (before->disk->nsid == disk->disk->nsid &&
	    metadata_same_subsystem(before->controller, disk->controller))
		return check_paths(devices, before, disk, errp);
	if (metadata_source_clash(before->disk, disk->disk)) {
		_cleanup_free_ char *source = metadata_disk_source(disk->disk);

		return xml_error(
			errp, disk_node(devices, disk), EINVAL,
			_("%s is the source of nvme%un%u already: make both <readonly/> or "
			  "<shareable/>"),
			source ? source : "", before->index, before->disk->nsid);
	}
	return 0;
}

static xmlNode *controller_node(xmlNode *devices, unsigned index)
{
	xmlNode *node;
	unsigned i;

	for (node = devices->children; node; node = node->next)
		if (node->type == XML_ELEMENT_NODE &&
		    parse_number(node, "index", 0, METADATA_MAX_CONTROLLERS - 1, &i, NULL) == 0 &&
		    i == index)
			return node;
	return devices;
}

/* The serial number is the subsystem's. */
static int check_serials(xmlNode *devices, const struct metadata *metadata, struct error **errp)
{
	const struct metadata_controller *a, *b, *end;

	end = metadata->controllers + metadata->controller_count;
	for (a = metadata->controllers; a < end; a++)
		for (b = a + 1; b < end; b++)
			if (metadata_same_subsystem(a, b) && !string_equal(a->serial, b->serial))
				return xml_error(
					errp, controller_node(devices, b->index), EINVAL,
					_("it is of the same subsystem as controller %u and needs "
					  "the same <serial>, or both none"),
					a->index);
	return 0;
}

static int check_disks(xmlNode *devices, const struct metadata *metadata, struct error **errp)
{
	struct seen_disk seen[METADATA_MAX_CONTROLLERS * METADATA_MAX_DISKS];
	size_t count = 0, i, j, k;
	int r;

	for (i = 0; i < metadata->controller_count; i++) {
		for (j = 0; j < metadata->controllers[i].disk_count; j++) {
			seen[count] = (struct seen_disk){
				.disk = &metadata->controllers[i].disks[j],
				.controller = &metadata->controllers[i],
				.index = metadata->controllers[i].index,
			};
			for (k = 0; k < count; k++) {
				r = check_pair(devices, &seen[k], &seen[count], errp);
				if (r < 0)
					return r;
			}
			count++;
		}
	}
	return 0;
}

int metadata_parse_node(xmlNode *devices, struct metadata **ret, struct error **errp)
{
	static const struct parse_rule rules[] = {
		{ "controller", true, parse_controller },
		{ "cputune", false, parse_cputune },
		{ NULL },
	};
	_cleanup_metadata_ struct metadata *metadata = metadata_new();
	int r;

	if (!metadata)
		return error_set_errno(errp, ENOMEM, "metadata");
	if (!devices) {
		*ret = steal_pointer(metadata);
		return 0;
	}
	r = parse_attributes(devices, PARSE_NO_ATTRIBUTES, errp);
	if (r < 0 || (r = parse_children(devices, rules, metadata, errp)) < 0 ||
	    (r = check_serials(devices, metadata, errp)) < 0 ||
	    (r = check_disks(devices, metadata, errp)) < 0)
		return r;
	*ret = steal_pointer(metadata);
	return 0;
}

static xmlNode *first_of_ours(const xmlNode *parent)
{
	xmlNode *child;

	for (child = parent ? parent->children : NULL; child; child = child->next)
		if (child->type == XML_ELEMENT_NODE && child->ns &&
		    xmlStrEqual(child->ns->href, BAD_CAST METADATA_NAMESPACE))
			return child;
	return NULL;
}

int metadata_devices(const xmlNode *domain, xmlNode **ret, struct error **errp)
{
	xmlNode *metadata, *devices = NULL;

	xml_for_each(metadata, domain, NULL, "metadata")
	{
		devices = first_of_ours(metadata);
		if (devices)
			break;
	}
	if (devices && !xmlStrEqual(devices->name, BAD_CAST "devices"))
		return xml_error(errp, devices, EINVAL, _("unknown element: use <devices>"));
	if (devices && xml_next(devices, METADATA_NAMESPACE, "devices"))
		return xml_error(errp, devices, EINVAL, _("given more than once"));
	*ret = devices;
	return 0;
}

int metadata_parse(const char *text, size_t len, struct metadata **ret, struct error **errp)
{
	_cleanup_xml_doc_ xmlDoc *doc = NULL;
	xmlNode *root;
	int r = xml_parse(text, len, METADATA_MAX_TEXT, NULL, &doc, errp);

	if (r < 0)
		return r;
	root = xmlDocGetRootElement(doc);
	if (!parse_is_ours(root) || !xmlStrEqual(root->name, BAD_CAST "devices"))
		return xml_error(errp, root, EINVAL, _("unknown element: use <devices>"));
	return metadata_parse_node(root, ret, errp);
}

int metadata_parse_domain(const char *xml, size_t len, struct metadata **ret, struct error **errp)
{
	_cleanup_xml_doc_ xmlDoc *doc = NULL;
	xmlNode *devices;
	int r = xml_parse_domain(xml, len, NULL, &doc, errp);

	if (r < 0)
		return r;
	r = metadata_devices(xmlDocGetRootElement(doc), &devices, errp);
	return r < 0 ? r : metadata_parse_node(devices, ret, errp);
}

int metadata_parse_disk(const char *text, size_t len, unsigned *ret_index,
			struct metadata_disk **ret, struct error **errp)
{
	_cleanup_xml_doc_ xmlDoc *doc = NULL;
	struct metadata_disk *disk;
	unsigned index, nsid;
	xmlNode *root;
	int r = xml_parse(text, len, METADATA_MAX_TEXT, NULL, &doc, errp);

	if (r < 0)
		return r;
	root = xmlDocGetRootElement(doc);
	if (!parse_is_ours(root) || !xmlStrEqual(root->name, BAD_CAST "disk"))
		return xml_error(errp, root, EINVAL, _("unknown element: use <disk>"));
	r = parse_disk_target(root, &index, &nsid, errp);
	if (r < 0)
		return r;
	disk = calloc(1, sizeof(*disk));
	if (!disk)
		return error_set_errno(errp, ENOMEM, "metadata");
	disk->nsid = nsid;
	r = parse_disk_body(root, disk, errp);
	if (r < 0) {
		metadata_disk_free(disk);
		return r;
	}
	*ret_index = index;
	*ret = disk;
	return 0;
}
