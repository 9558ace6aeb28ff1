// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain-xml/boot.h"

#include <errno.h>
#include <stdio.h>

#include "base/i18n.h"
#include "domain-xml/commandline.h"
#include "domain-xml/xml.h"

/*
 * Theory of operation
 *
 * There are two ways to say what boots first, and libvirt refuses both in one domain: a list of
 * kinds, <os><boot dev="hd"/>, of which each stands for the first device of its kind, or a number
 * for each device, <boot order="2"/>. In the end QEMU gets a bootindex for each device, and two
 * devices with the same one are an error. libvirt adds <boot dev="hd"/> by itself where there is
 * neither, and then its first disk has bootindex 1.
 *
 * So where a disk of ours has a <boot order>, the list is turned into numbers: the devices that it
 * stands for keep their sequence and take the numbers that ours leave free. The list and those
 * numbers are recorded. A later rewrite that finds the devices still so numbered starts from the
 * recorded list again (the user may have changed our disk's number meanwhile); anything else is the
 * user's own order, and only has to be without a clash.
 *
 * A list of which no kind has a device stays: it stands for nothing, and without it libvirt would
 * add one again, and we would take it away again, for ever.
 */

struct boot_device {
	xmlNode *node;
	unsigned order; /* 0: none */
};

/* Devices of libvirt's that have an order, or get one, by rising order. */
struct boot_sequence {
	struct boot_device devices[RECORD_MAX_BOOT];
	size_t count;
};

static bool has(const struct boot_sequence *sequence, const xmlNode *node)
{
	size_t i;

	for (i = 0; i < sequence->count; i++)
		if (sequence->devices[i].node == node)
			return true;
	return false;
}

static unsigned order_of(const xmlNode *device)
{
	const char *text = xml_attribute(xml_child(device, NULL, "boot"), "order");
	unsigned long order;

	return text && xml_unsigned(text, 9999, &order) == 0 ? (unsigned)order : 0;
}

/* What is numbered now. false: more than we can hold. */
static bool read_numbered(const xmlNode *domain, struct boot_sequence *ret)
{
	const xmlNode *devices = xml_child(domain, NULL, "devices");
	xmlNode *node = devices ? xmlFirstElementChild((xmlNode *)devices) : NULL;
	size_t i;

	ret->count = 0;
	for (; node; node = xmlNextElementSibling(node)) {
		unsigned order = order_of(node);

		if (!order)
			continue;
		if (ret->count == RECORD_MAX_BOOT)
			return false;
		for (i = ret->count++; i && ret->devices[i - 1].order > order; i--)
			ret->devices[i] = ret->devices[i - 1];
		ret->devices[i] = (struct boot_device){ .node = node, .order = order };
	}
	return true;
}

bool boot_by_device(const xmlNode *domain)
{
	struct boot_sequence sequence;

	return !read_numbered(domain, &sequence) || sequence.count;
}

/* The device that a kind of the list stands for, or NULL. */
static xmlNode *first_of_kind(const xmlNode *domain, const char *kind)
{
	const xmlNode *devices = xml_child(domain, NULL, "devices");
	xmlNode *disk;

	if (!strcmp(kind, "network"))
		return xml_child(devices, NULL, "interface");
	xml_for_each(disk, devices, NULL, "disk")
	{
		const char *device = xml_attribute(disk, "device");

		device = device ? device : "disk";
		if (!strcmp(kind, "hd")	  ? !strcmp(device, "disk") || !strcmp(device, "lun")
		    : !strcmp(kind, "fd") ? !strcmp(device, "floppy")
					  : !strcmp(device, kind))
			return disk;
	}
	return NULL;
}

static void sequence_of_list(const xmlNode *domain, const struct record *list,
			     struct boot_sequence *ret)
{
	size_t i;

	ret->count = 0;
	for (i = 0; i < list->boot_count; i++) {
		xmlNode *node = first_of_kind(domain, list->boot[i]);

		if (node && !has(ret, node))
			ret->devices[ret->count++] = (struct boot_device){ .node = node };
	}
}

/* <os><boot dev> into @ret's boot list; false when there is none. */
static bool read_list(const xmlNode *domain, struct record *ret)
{
	const xmlNode *boot;

	ret->boot_count = ret->order_count = 0;
	memset(ret->boot, 0, sizeof(ret->boot));
	memset(ret->orders, 0, sizeof(ret->orders));
	xml_for_each(boot, xml_child(domain, NULL, "os"), NULL, "boot")
	{
		const char *dev = xml_attribute(boot, "dev");

		if (dev && *dev && strlen(dev) < sizeof(ret->boot[0]) && !strchr(dev, ',') &&
		    ret->boot_count < RECORD_MAX_BOOT)
			memcpy(ret->boot[ret->boot_count++], dev, strlen(dev) + 1);
	}
	return ret->boot_count;
}

/* Are the devices numbered as the record says we did it? */
static bool is_recorded(const xmlNode *domain, const struct record *record,
			const struct boot_sequence *numbered)
{
	struct boot_sequence listed;
	size_t i;

	if (!record->boot_count || xml_find(domain, "os/boot"))
		return false;
	sequence_of_list(domain, record, &listed);
	if (listed.count != numbered->count || record->order_count != numbered->count)
		return false;
	for (i = 0; i < listed.count; i++)
		if (listed.devices[i].node != numbered->devices[i].node ||
		    record->orders[i] != numbered->devices[i].order)
			return false;
	return true;
}

/* The disk of ours with that order, or NULL. */
static const struct metadata_disk *disk_with_order(const struct metadata *metadata, unsigned order,
						   unsigned *ret_index)
{
	size_t i, j;

	for (i = 0; i < metadata->controller_count; i++) {
		const struct metadata_controller *controller = &metadata->controllers[i];

		for (j = 0; j < controller->disk_count; j++) {
			if (!controller->disks[j].boot_order ||
			    (order && controller->disks[j].boot_order != order))
				continue;
			*ret_index = controller->index;
			return &controller->disks[j];
		}
	}
	return NULL;
}

static int check_clash(const struct boot_sequence *numbered, const struct metadata *metadata,
		       struct error **errp)
{
	size_t i;

	for (i = 0; i < numbered->count; i++) {
		const struct boot_device *device = &numbered->devices[i];
		const struct metadata_disk *disk;
		unsigned index;

		disk = disk_with_order(metadata, device->order, &index);
		if (disk)
			return xml_error(
				errp, xml_child(device->node, NULL, "boot"), EINVAL,
				_("the boot order %u is that of nvme%un%u, too: give one of "
				  "them another"),
				device->order, index, disk->nsid);
	}
	return 0;
}

/* A bootindex in the user's own arguments is nothing that we could move. */
static int check_arguments(const xmlNode *domain, const struct metadata *metadata,
			   struct error **errp)
{
	_cleanup_commandline_ struct commandline commandline = { 0 };
	size_t i;

	if (commandline_read(domain, &commandline) < 0)
		return error_set_errno(errp, ENOMEM, "XML");
	for (i = 0; i < commandline.count; i++) {
		const struct commandline_option *option = &commandline.options[i];
		_cleanup_free_ char *text = NULL;
		const struct metadata_disk *disk;
		unsigned long order;
		unsigned index;

		if (option->ours || strcmp(option->name, "-device") != 0)
			continue;
		text = commandline_property(option->value, "bootindex");
		if (!text || xml_unsigned(text, 9999, &order) < 0 || !order)
			continue;
		disk = disk_with_order(metadata, (unsigned)order, &index);
		if (disk)
			return xml_error(
				errp, option->value_node, EINVAL,
				_("bootindex %lu is the boot order of nvme%un%u, too: give "
				  "one of them another"),
				order, index, disk->nsid);
	}
	return 0;
}

static bool set_order(xmlNode *device, unsigned order, bool *changed)
{
	xmlNode *boot = xml_child(device, NULL, "boot");
	char text[16];

	if (order_of(device) == order)
		return true;
	*changed = true;
	if (!boot) {
		/* libvirt has it behind <target>, and the schema does not care. */
		xmlNode *target = xml_child(device, NULL, "target");

		boot = xml_insert(device, target ? xmlNextElementSibling(target) : NULL, NULL,
				  "boot");
	}
	snprintf(text, sizeof(text), "%u", order);
	return boot && xml_set_attribute(boot, "order", text);
}

static void remove_list(xmlNode *domain)
{
	xmlNode *boot;

	while ((boot = xml_find(domain, "os/boot")))
		xml_remove(boot);
}

int boot_restore(xmlNode *domain, const struct record *record, bool *changed)
{
	struct boot_sequence numbered;
	xmlNode *os = xml_child(domain, NULL, "os");
	xmlNode *before;
	size_t i;

	if (!os || !read_numbered(domain, &numbered) || !is_recorded(domain, record, &numbered))
		return 0;
	*changed = true;
	for (i = 0; i < numbered.count; i++)
		xml_remove(xml_child(numbered.devices[i].node, NULL, "boot"));
	/* Where libvirt has it, as far as that is known here. */
	before = xml_child(os, NULL, "bootmenu");
	before = before ? before : xml_child(os, NULL, "smbios");
	for (i = 0; i < record->boot_count; i++) {
		xmlNode *boot = xml_insert(os, before, NULL, "boot");

		if (!boot || !xml_set_attribute(boot, "dev", record->boot[i]))
			return -ENOMEM;
	}
	return 0;
}

static void forget(struct record *record)
{
	record->boot_count = record->order_count = 0;
	memset(record->boot, 0, sizeof(record->boot));
	memset(record->orders, 0, sizeof(record->orders));
}

int boot_arrange(xmlNode *domain, const struct metadata *metadata, struct record *record,
		 bool *changed, struct error **errp)
{
	struct boot_sequence numbered, sequence;
	struct record list = *record;
	unsigned index, order = 0;
	size_t i;
	int r;

	if (!disk_with_order(metadata, 0, &index)) {
		r = boot_restore(domain, record, changed);
		forget(record);
		return r < 0 ? error_set_errno(errp, -r, "XML") : 0;
	}
	r = check_arguments(domain, metadata, errp);
	if (r < 0)
		return r;
	if (!read_numbered(domain, &numbered))
		return error_set(errp, EINVAL, _("more than %d devices have a <boot order>"),
				 RECORD_MAX_BOOT);
	if (!is_recorded(domain, record, &numbered) && !read_list(domain, &list)) {
		forget(record);
		return check_clash(&numbered, metadata, errp);
	}
	sequence_of_list(domain, &list, &sequence);
	if (!sequence.count) {
		forget(record);
		return check_clash(&numbered, metadata, errp);
	}
	list.order_count = 0;
	for (i = 0; i < sequence.count; i++) {
		do
			order++;
		while (disk_with_order(metadata, order, &index));
		if (!set_order(sequence.devices[i].node, order, changed))
			return error_set_errno(errp, ENOMEM, "XML");
		list.orders[list.order_count++] = order;
	}
	remove_list(domain);
	*record = list;
	return 0;
}

bool boot_from_ours(const xmlNode *domain, const struct metadata *metadata)
{
	const xmlNode *boot;
	unsigned index;

	if (!metadata->controller_count)
		return false;
	if (disk_with_order(metadata, 0, &index))
		return true;
	if (xml_find(domain, "os/kernel") || xml_find(domain, "devices/disk") ||
	    boot_by_device(domain))
		return false;
	xml_for_each(boot, xml_child(domain, NULL, "os"), NULL,
		     "boot") if (xml_attribute_is(boot, "dev", "network")) return false;
	return true;
}
