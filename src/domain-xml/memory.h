/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DOMAIN_XML_MEMORY_H
#define DOMAIN_XML_MEMORY_H

#include <libxml/tree.h>

#include "domain-xml/domain.h"
#include "domain-xml/record.h"

/*
 * <memoryBacking> and the other places that decide whether another process can map guest memory;
 * inside the folder only.
 */

enum domain_xml_memory_source memory_source(const xmlNode *domain);

/**
 * memory_private() - why guest memory is not shared
 *
 * @ret_shared: true when all of it is
 *
 * Return: the place in the XML, malloc()ed; NULL when it is shared, or when out of memory.
 */
char *memory_private(const xmlNode *domain, bool *ret_shared);

/** memory_share() - make it shared, and note in @record what was there before */
int memory_share(xmlNode *domain, struct record *record, bool *changed, struct error **errp);

/** memory_restore() - the way back, as far as it is recorded and still as memory_share() left it */
int memory_restore(xmlNode *domain, const struct record *record, bool *changed);

#endif
