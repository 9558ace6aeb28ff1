/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DOMAIN_XML_PCI_H
#define DOMAIN_XML_PCI_H

#include <libxml/tree.h>

#include "domain-xml/domain.h"
#include "domain-xml/metadata.h"

/*
 * Which places of the PCI buses a domain's XML uses; inside the folder only.
 */

#define PCI_SLOTS	    32
#define PCI_FUNCTIONS	    8
#define PCI_MAX_CONTROLLERS 256

struct pci_port {
	unsigned index; /* of libvirt's controller: the bus is "pci.<index>" */
	bool used;
};

struct pci_map {
	bool root[PCI_SLOTS];			    /* of bus 0 */
	struct pci_port ports[PCI_MAX_CONTROLLERS]; /* libvirt's hot-pluggable root ports */
	size_t port_count;
	bool chassis[256]; /* of root ports and bridges */
};

/** pci_map_read() - from every <address type="pci"> and every device in the user's own <qemu:arg>
 */
void pci_map_read(const xmlNode *domain, struct pci_map *ret);

/** pci_map_occupy() - somebody is at @place; buses that are not on the map are nobody's business */
void pci_map_occupy(struct pci_map *map, enum domain_xml_machine machine,
		    const struct metadata_placement *place);

/**
 * pci_map_highest() - the highest free slot of bus 0
 *
 * Slots that libvirt gives to a certain device by itself (USB, sound, the bridge of old q35
 * configurations) come last: an XML without addresses gets them from libvirt after us, and so does
 * a device that the user adds later.
 *
 * Return: -ENOSPC when there is none.
 */
int pci_map_highest(const struct pci_map *map, enum domain_xml_machine machine);

/** pci_root_bus() - its id in QEMU */
const char *pci_root_bus(enum domain_xml_machine machine);

/** pci_format_address() - "0x1e", "0x1e.0x1": QEMU's addr */
void pci_format_address(const struct metadata_placement *place, char ret[16]);

/** pci_parse_address() - the same back; hexadecimal with or without 0x. 0 or -EINVAL */
int pci_parse_address(const char *text, struct metadata_placement *ret);

#endif
