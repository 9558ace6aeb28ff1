// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain-xml/layout.h"

#include <errno.h>
#include <stdio.h>

#include "base/i18n.h"
#include "domain-xml/objects.h"

/*
 * Theory of operation
 *
 * libvirt knows nothing of devices in <qemu:commandline>, and gives a slot that it believes free to
 * the next device that has none, lowest first. So on i440fx our controllers take the highest free
 * slots of pci.0. On q35 they sit behind root ports of our own, and libvirt never puts anything on
 * a bus that it does not know; only the ports themselves have to be out of its way, as functions of
 * the highest free slots of pcie.0, eight in each. Ports cannot be added to a running machine, so
 * there are two more than controllers.
 *
 * A guest finds its disks by their PCI address (/dev/disk/by-path, firmware boot entries), so an
 * address once given is kept: controller N stays at port K as long as both exist, ports stay in
 * their slot as long as nobody else is there. In what comes from another host nothing is chosen at
 * all: what the guest sees is a fact.
 */

#define PORT_DRIVER   "pcie-root-port"
#define DEVICE_DRIVER "vfio-user-pci"
#define FIRST_CHASSIS 254 /* libvirt counts its own from 1 */

/* The number in an id, after @prefix; false when it is not of that form or not below @limit. */
static bool id_number(const char *id, const char *prefix, unsigned limit, unsigned *ret)
{
	unsigned number;
	char end;

	if (!id || !string_has_prefix(id, prefix) ||
	    sscanf(id + strlen(prefix), "%3u%c", &number, &end) != 1 || number >= limit)
		return false;
	*ret = number;
	return true;
}

static bool read_place(const char *value, struct metadata_placement *ret)
{
	_cleanup_free_ char *bus = commandline_property(value, "bus");
	_cleanup_free_ char *addr = commandline_property(value, "addr");

	memset(ret, 0, sizeof(*ret));
	if (!bus || strlen(bus) >= sizeof(ret->bus) || !addr || pci_parse_address(addr, ret) < 0)
		return false;
	memcpy(ret->bus, bus, strlen(bus) + 1);
	return true;
}

void layout_read(const struct commandline *commandline, struct layout *ret)
{
	size_t i;

	memset(ret, 0, sizeof(*ret));
	for (i = 0; i < commandline->count; i++) {
		const struct commandline_option *option = &commandline->options[i];
		_cleanup_free_ char *id = NULL, *driver = NULL, *chassis = NULL;
		struct metadata_placement place;
		unsigned number;

		if (!option->ours || strcmp(option->name, "-device") != 0 ||
		    !read_place(option->value, &place))
			continue;
		id = commandline_property(option->value, "id");
		driver = commandline_property(option->value, "driver");
		if (string_equal(driver, PORT_DRIVER) &&
		    id_number(id, "virtnvme-port", LAYOUT_MAX_PORTS, &number) &&
		    number == ret->port_count) {
			chassis = commandline_property(option->value, "chassis");
			ret->chassis = chassis ? (unsigned)strtoul(chassis, NULL, 10) : 0;
			ret->port_texts[ret->port_count] = option->value;
			ret->ports[ret->port_count++] = place;
		} else if (string_equal(driver, DEVICE_DRIVER) &&
			   id_number(id, "virtnvme-nvme", METADATA_MAX_CONTROLLERS, &number) &&
			   !layout_device(ret, number)) {
			ret->devices[ret->device_count++] =
				(struct layout_device){ .index = number, .place = place };
		}
	}
}

const struct layout_device *layout_device(const struct layout *layout, unsigned index)
{
	size_t i;

	for (i = 0; i < layout->device_count; i++)
		if (layout->devices[i].index == index)
			return &layout->devices[i];
	return NULL;
}

static int no_slot(enum domain_xml_machine machine, struct error **errp)
{
	return error_set(errp, ENOSPC,
			 _("no slot of %s is free for an NVMe controller: remove a device"),
			 pci_root_bus(machine));
}

/*
 * q35
 */

static void place_at_port(unsigned port, struct metadata_placement *ret)
{
	*ret = (struct metadata_placement){ .slot = 0 };
	snprintf(ret->bus, sizeof(ret->bus), REWRITE_PORT, port);
}

/* Every device at a port; the lowest free one for those that had none. Return: the number of the
 * highest port that is used, plus one. */
static unsigned assign_ports(const struct layout *old, struct layout *layout)
{
	bool used[LAYOUT_MAX_PORTS] = { false };
	unsigned port, top = 0;
	size_t i;

	for (i = 0; i < layout->device_count; i++) {
		const struct layout_device *before = layout_device(old, layout->devices[i].index);

		if (before &&
		    id_number(before->place.bus, "virtnvme-port", LAYOUT_MAX_PORTS, &port) &&
		    !used[port]) {
			used[port] = true;
			place_at_port(port, &layout->devices[i].place);
		}
	}
	for (i = 0; i < layout->device_count; i++) {
		if (layout->devices[i].place.bus[0])
			continue;
		for (port = 0; used[port]; port++)
			;
		used[port] = true;
		place_at_port(port, &layout->devices[i].place);
	}
	for (port = 0; port < LAYOUT_MAX_PORTS; port++)
		if (used[port])
			top = port + 1;
	return top;
}

static int place_ports(const struct pci_map *map, const struct layout *old, struct layout *layout,
		       struct error **errp)
{
	struct pci_map taken = *map;
	size_t first, i;

	/* Ports that stay where they are go first, so that no other takes their slot. */
	for (first = 0; first < layout->port_count; first += PCI_FUNCTIONS)
		if (first < old->port_count && !taken.root[old->ports[first].slot]) {
			layout->ports[first].slot = old->ports[first].slot;
			taken.root[old->ports[first].slot] = true;
		}
	for (first = 0; first < layout->port_count; first += PCI_FUNCTIONS) {
		if (!layout->ports[first].slot) {
			int slot = pci_map_highest(&taken, DOMAIN_XML_Q35);

			if (slot < 0)
				return no_slot(DOMAIN_XML_Q35, errp);
			layout->ports[first].slot = (unsigned)slot;
			taken.root[slot] = true;
		}
		for (i = first; i < first + PCI_FUNCTIONS && i < layout->port_count; i++) {
			layout->ports[i] = (struct metadata_placement){
				.slot = layout->ports[first].slot,
				.function = (unsigned)(i - first),
			};
			snprintf(layout->ports[i].bus, sizeof(layout->ports[i].bus), "%s",
				 pci_root_bus(DOMAIN_XML_Q35));
		}
	}
	return 0;
}

static unsigned choose_chassis(const struct pci_map *map, unsigned old)
{
	unsigned chassis;

	if (old && old < ARRAY_SIZE(map->chassis) && !map->chassis[old])
		return old;
	for (chassis = FIRST_CHASSIS; chassis > 1 && map->chassis[chassis]; chassis--)
		;
	return chassis;
}

static int config_q35(const struct pci_map *map, const struct layout *old, struct layout *layout,
		      struct error **errp)
{
	size_t top = assign_ports(old, layout);

	layout->port_count = MAX(top, layout->device_count + REWRITE_SPARE_PORTS);
	layout->chassis = choose_chassis(map, old->chassis);
	return place_ports(map, old, layout, errp);
}

/*
 * i440fx
 */

static int config_pc(const struct pci_map *map, const struct layout *old, struct layout *layout,
		     struct error **errp)
{
	struct pci_map taken = *map;
	size_t i;

	for (i = 0; i < layout->device_count; i++) {
		struct layout_device *device = &layout->devices[i];
		const struct layout_device *before = layout_device(old, device->index);

		if (before && !strcmp(before->place.bus, pci_root_bus(DOMAIN_XML_PC)) &&
		    !before->place.function && !taken.root[before->place.slot]) {
			device->place = before->place;
			taken.root[before->place.slot] = true;
		}
	}
	for (i = 0; i < layout->device_count; i++) {
		struct layout_device *device = &layout->devices[i];
		int slot;

		if (device->place.bus[0])
			continue;
		slot = pci_map_highest(&taken, DOMAIN_XML_PC);
		if (slot < 0)
			return no_slot(DOMAIN_XML_PC, errp);
		device->place.slot = (unsigned)slot;
		snprintf(device->place.bus, sizeof(device->place.bus), "%s",
			 pci_root_bus(DOMAIN_XML_PC));
		taken.root[slot] = true;
	}
	return 0;
}

int layout_config(const struct pci_map *map, enum domain_xml_machine machine,
		  const struct metadata *metadata, const struct layout *old, struct layout *ret,
		  struct error **errp)
{
	size_t i;

	memset(ret, 0, sizeof(*ret));
	for (i = 0; i < metadata->controller_count; i++)
		ret->devices[ret->device_count++] = (struct layout_device){
			.index = metadata->controllers[i].index,
			.boot_order = metadata_controller_boot_order(&metadata->controllers[i]),
		};
	if (machine == DOMAIN_XML_PC)
		return config_pc(map, old, ret, errp);
	return config_q35(map, old, ret, errp);
}

void layout_incoming(const struct metadata *metadata, const struct layout *old, struct layout *ret)
{
	unsigned index;

	/* Ports are QEMU's own and in its migration stream: not a letter of them may change. */
	*ret = *old;
	ret->device_count = 0;
	for (index = 0; index < METADATA_MAX_CONTROLLERS; index++) {
		const struct metadata_controller *controller = metadata_controller(metadata, index);
		const struct layout_device *before = layout_device(old, index);
		struct layout_device *device = &ret->devices[ret->device_count];

		/* A controller in neither place was wished, and never came into the guest. */
		if (controller && controller->live.bus[0])
			device->place = controller->live;
		else if (before)
			device->place = before->place;
		else
			continue;
		device->index = index;
		device->boot_order = controller ? metadata_controller_boot_order(controller) : 0;
		ret->device_count++;
	}
}

void layout_occupy(struct layout *layout, const struct metadata_placement *place)
{
	unsigned port;

	if (id_number(place->bus, "virtnvme-port", LAYOUT_MAX_PORTS, &port))
		layout->port_taken[port] = true;
}

int layout_place(const struct pci_map *map, enum domain_xml_machine machine,
		 const struct layout *layout, struct metadata_placement *ret, struct error **errp)
{
	const struct pci_port *highest = NULL;
	size_t i;
	int slot;

	if (machine == DOMAIN_XML_PC) {
		slot = pci_map_highest(map, machine);
		if (slot < 0)
			return no_slot(machine, errp);
		*ret = (struct metadata_placement){ .slot = (unsigned)slot };
		snprintf(ret->bus, sizeof(ret->bus), "%s", pci_root_bus(machine));
		return 0;
	}
	for (i = 0; i < layout->port_count; i++) {
		if (layout->port_taken[i])
			continue;
		place_at_port((unsigned)i, ret);
		return 0;
	}
	/* libvirt takes the lowest: the highest is the last that it will miss. */
	for (i = 0; i < map->port_count; i++)
		if (!map->ports[i].used && (!highest || map->ports[i].index > highest->index))
			highest = &map->ports[i];
	if (!highest)
		return error_set(
			errp, ENOSPC,
			_("no PCIe root port is free for another NVMe controller: add the "
			  "disk to an existing controller, or add it to the domain's XML, "
			  "define that with virt-nvme define, and start the domain again"));
	*ret = (struct metadata_placement){ .slot = 0 };
	snprintf(ret->bus, sizeof(ret->bus), "pci.%u", highest->index);
	return 0;
}

static bool add_json(struct commandline_block *block, const char *name, struct json_object *object)
{
	bool added = commandline_block_add(block, name, object ? strdup(json_text(object)) : NULL);

	json_object_put(object);
	return added;
}

int layout_format(const struct layout *layout, const char *uuid,
		  const struct rewrite_options *options, struct commandline_block *ret)
{
	size_t i;

	if (!add_json(ret, "-object", objects_vmstate(uuid, options)) ||
	    !commandline_block_add(ret, "-chardev", objects_chardev_argument(uuid, options)))
		return -ENOMEM;
	if (options->has_monitor_object
		    ? !add_json(ret, "-object", objects_monitor())
		    : !commandline_block_add(ret, "-mon",
					     strdup("id=" REWRITE_MONITOR_OBJECT
						    ",chardev=" REWRITE_MONITOR_CHARDEV
						    ",mode=control")))
		return -ENOMEM;
	for (i = 0; i < layout->port_count; i++) {
		if (layout->port_texts[i]
			    ? !commandline_block_add(ret, "-device", strdup(layout->port_texts[i]))
			    : !add_json(ret, "-device",
					objects_port((unsigned)i, &layout->ports[i],
						     layout->chassis)))
			return -ENOMEM;
	}
	for (i = 0; i < layout->device_count; i++)
		if (!add_json(ret, "-device",
			      attach_device(uuid, layout->devices[i].index,
					    &layout->devices[i].place,
					    layout->devices[i].boot_order, options)))
			return -ENOMEM;
	return 0;
}
