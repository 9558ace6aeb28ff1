/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DOMAIN_XML_LAYOUT_H
#define DOMAIN_XML_LAYOUT_H

#include "domain-xml/commandline.h"
#include "domain-xml/pci.h"
#include "domain-xml/rewrite.h"

/*
 * Where everything of ours sits on the PCI bus, and the arguments that say so; inside the folder
 * only. See layout.c.
 */
#define LAYOUT_MAX_PORTS 24

struct layout_device {
	unsigned index; /* of the controller */
	struct metadata_placement place;
	unsigned boot_order; /* 0: none */
};

struct layout {
	/* q35: our root ports, by number. On a machine without them port_count is 0. */
	struct metadata_placement ports[LAYOUT_MAX_PORTS];
	const char *port_texts[LAYOUT_MAX_PORTS]; /* as they are in the tree: borrowed, or NULL */
	size_t port_count;
	unsigned chassis;
	bool port_taken[LAYOUT_MAX_PORTS]; /* only layout_occupy() and layout_place() look at it */
	struct layout_device devices[METADATA_MAX_CONTROLLERS];
	size_t device_count;
};

/** layout_read() - what the block in the XML says; what is not understood is left out */
void layout_read(const struct commandline *commandline, struct layout *ret);

/** layout_device() - NULL when there is none */
const struct layout_device *layout_device(const struct layout *layout, unsigned index);

/**
 * layout_config() - for the persistent configuration
 * @old: what there is keeps its place where it can
 *
 * Return: 0 or -ENOSPC with a sentence.
 */
int layout_config(const struct pci_map *map, enum domain_xml_machine machine,
		  const struct metadata *metadata, const struct layout *old, struct layout *ret,
		  struct error **errp);

/** layout_incoming() - for a domain that comes from elsewhere: every place as recorded */
void layout_incoming(const struct metadata *metadata, const struct layout *old, struct layout *ret);

/** layout_occupy() - somebody is at @place, if that is one of our ports */
void layout_occupy(struct layout *layout, const struct metadata_placement *place);

/** layout_place() - for one more controller of a running domain; @map and @layout know what is
 * taken. 0 or -ENOSPC with a sentence */
int layout_place(const struct pci_map *map, enum domain_xml_machine machine,
		 const struct layout *layout, struct metadata_placement *ret, struct error **errp);

/** layout_format() - the whole block; 0 or -ENOMEM */
int layout_format(const struct layout *layout, const char *uuid,
		  const struct rewrite_options *options, struct commandline_block *ret);

#endif
