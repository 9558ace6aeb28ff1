// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain-xml/pci.h"

#include <errno.h>
#include <stdio.h>

#include "domain-xml/commandline.h"
#include "domain-xml/xml.h"

const char *pci_root_bus(enum domain_xml_machine machine)
{
	return machine == DOMAIN_XML_PC ? "pci.0" : "pcie.0";
}

void pci_format_address(const struct metadata_placement *place, char ret[16])
{
	if (place->function)
		snprintf(ret, 16, "0x%x.0x%x", place->slot % PCI_SLOTS,
			 place->function % PCI_FUNCTIONS);
	else
		snprintf(ret, 16, "0x%x", place->slot % PCI_SLOTS);
}

/* One hexadecimal number; NULL when there is none below @limit. */
static const char *parse_hex(const char *text, unsigned limit, unsigned *ret)
{
	unsigned long value;
	char *end;

	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
		text += 2;
	if (!strspn(text, "0123456789abcdefABCDEF"))
		return NULL;
	errno = 0;
	value = strtoul(text, &end, 16);
	if (errno || value >= limit)
		return NULL;
	*ret = (unsigned)value;
	return end;
}

int pci_parse_address(const char *text, struct metadata_placement *ret)
{
	unsigned slot, function = 0;

	text = parse_hex(text, PCI_SLOTS, &slot);
	if (text && *text == '.')
		text = parse_hex(text + 1, PCI_FUNCTIONS, &function);
	if (!text || *text)
		return -EINVAL;
	ret->slot = slot;
	ret->function = function;
	return 0;
}

/* An attribute of <address>: libvirt writes hexadecimal and takes decimal, too. */
static bool address_number(const xmlNode *address, const char *name, unsigned *ret)
{
	const char *text = xml_attribute(address, name);
	unsigned long value;
	char *end;

	if (!text)
		return false;
	errno = 0;
	value = strtoul(text, &end, 0);
	if (errno || end == text || *end || value > 0xffff)
		return false;
	*ret = (unsigned)value;
	return true;
}

static struct pci_port *find_port(struct pci_map *map, unsigned index)
{
	size_t i;

	for (i = 0; i < map->port_count; i++)
		if (map->ports[i].index == index)
			return &map->ports[i];
	return NULL;
}

static void read_controller(const xmlNode *controller, struct pci_map *map)
{
	const xmlNode *target = xml_child(controller, NULL, "target");
	unsigned index, chassis;

	if (!xml_attribute_is(controller, "type", "pci"))
		return;
	if ((address_number(target, "chassis", &chassis) ||
	     address_number(target, "chassisNr", &chassis)) &&
	    chassis < ARRAY_SIZE(map->chassis))
		map->chassis[chassis] = true;
	if (!xml_attribute_is(controller, "model", "pcie-root-port") ||
	    xml_attribute_is(target, "hotplug", "off") ||
	    !address_number(controller, "index", &index) || map->port_count == PCI_MAX_CONTROLLERS)
		return;
	map->ports[map->port_count++] = (struct pci_port){ .index = index };
}

static void read_device(const xmlNode *device, struct pci_map *map)
{
	const xmlNode *address;

	/* Only direct children: <source><address/></source> is a place on the host. */
	xml_for_each(address, device, NULL, "address")
	{
		unsigned domain = 0, bus = 0, slot = 0;
		struct pci_port *port;

		if (!xml_attribute_is(address, "type", "pci"))
			continue;
		address_number(address, "domain", &domain);
		address_number(address, "bus", &bus);
		address_number(address, "slot", &slot);
		if (domain)
			continue;
		if (!bus && slot < PCI_SLOTS)
			map->root[slot] = true;
		port = bus ? find_port(map, bus) : NULL;
		if (port)
			port->used = true;
	}
}

void pci_map_occupy(struct pci_map *map, enum domain_xml_machine machine,
		    const struct metadata_placement *place)
{
	unsigned index;
	char end;

	if (!strcmp(place->bus, pci_root_bus(machine))) {
		map->root[place->slot % PCI_SLOTS] = true;
		return;
	}
	if (sscanf(place->bus, "pci.%u%c", &index, &end) == 1 && find_port(map, index))
		find_port(map, index)->used = true;
}

static void read_argument(const struct commandline_option *option, struct pci_map *map)
{
	_cleanup_free_ char *bus = commandline_property(option->value, "bus");
	_cleanup_free_ char *addr = commandline_property(option->value, "addr");
	_cleanup_free_ char *chassis = commandline_property(option->value, "chassis");
	struct metadata_placement place = { .slot = 0 };
	unsigned index;
	char end;

	if (chassis && strtoul(chassis, NULL, 0) < ARRAY_SIZE(map->chassis))
		map->chassis[strtoul(chassis, NULL, 0)] = true;
	if (bus && sscanf(bus, "pci.%u%c", &index, &end) == 1 && index && find_port(map, index))
		find_port(map, index)->used = true;
	/* Without a bus it is on the root bus, or QEMU refuses it. */
	if (addr && (!bus || !strcmp(bus, "pcie.0") || !strcmp(bus, "pci.0")) &&
	    pci_parse_address(addr, &place) == 0)
		map->root[place.slot] = true;
}

void pci_map_read(const xmlNode *domain, struct pci_map *ret)
{
	_cleanup_commandline_ struct commandline commandline = { 0 };
	const xmlNode *devices = xml_child(domain, NULL, "devices");
	const xmlNode *node;
	size_t i;

	memset(ret, 0, sizeof(*ret));
	/* The host bridge, and what is beside it on every machine of the kind. */
	ret->root[0] = true;
	xml_for_each(node, devices, NULL, "controller") read_controller(node, ret);
	for (node = devices ? devices->children : NULL; node; node = node->next)
		if (node->type == XML_ELEMENT_NODE)
			read_device(node, ret);
	if (commandline_read(domain, &commandline) < 0)
		return;
	for (i = 0; i < commandline.count; i++)
		if (!commandline.options[i].ours && !strcmp(commandline.options[i].name, "-device"))
			read_argument(&commandline.options[i], ret);
}

int pci_map_highest(const struct pci_map *map, enum domain_xml_machine machine)
{
	static const bool q35_fixed[PCI_SLOTS] = { [0x1f] = true /* chipset */ };
	static const bool q35_late[PCI_SLOTS] = {
		[0x01] = true,				     /* video */
		[0x1a] = true, [0x1b] = true, [0x1d] = true, /* USB 2, sound, USB 2 */
		[0x1e] = true,				     /* dmi-to-pci-bridge */
	};
	static const bool pc_fixed[PCI_SLOTS] = { [0x01] = true /* chipset */ };
	static const bool pc_late[PCI_SLOTS] = { [0x02] = true /* video */ };
	const bool *fixed = machine == DOMAIN_XML_PC ? pc_fixed : q35_fixed;
	const bool *late = machine == DOMAIN_XML_PC ? pc_late : q35_late;
	int slot, pass;

	for (pass = 0; pass < 2; pass++)
		for (slot = PCI_SLOTS - 1; slot > 0; slot--)
			if (!map->root[slot] && !fixed[slot] && late[slot] == (pass == 1))
				return slot;
	return -ENOSPC;
}
