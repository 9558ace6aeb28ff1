/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DOMAIN_XML_BOOT_H
#define DOMAIN_XML_BOOT_H

#include <libxml/tree.h>

#include "domain-xml/metadata.h"
#include "domain-xml/record.h"

/*
 * Who boots first; inside the folder only. See boot.c.
 */

/** boot_arrange() - make room for our disks' <boot order>; 0 or -errno with a sentence */
int boot_arrange(xmlNode *domain, const struct metadata *metadata, struct record *record,
		 bool *changed, struct error **errp);

/** boot_restore() - <os><boot dev> again, if it is as boot_arrange() left it; 0 or -ENOMEM */
int boot_restore(xmlNode *domain, const struct record *record, bool *changed);

/** boot_from_ours() - see struct domain_xml_check */
bool boot_from_ours(const xmlNode *domain, const struct metadata *metadata);

/** boot_by_device() - does a device of libvirt's have a <boot order>? */
bool boot_by_device(const xmlNode *domain);

#endif
