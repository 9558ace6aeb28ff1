/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DOMAIN_XML_ARRIVAL_H
#define DOMAIN_XML_ARRIVAL_H

#include "domain-xml/layout.h"
#include "domain-xml/xml.h"

/**
 * arrival_record() - note in the metadata where each controller of an arriving guest is
 * @devices: our element
 * @layout: what its block says
 * @changed: set when there was anything to note
 *
 * Most often it is there already: a running domain has such a record, unless it was migrated or
 * saved before the daemon got to it. A configuration never has one, and that is how the `prepare`
 * of a guest that arrives is told from that of one that boots (metadata_has_live()).
 *
 * Return: 0 or -ENOMEM.
 */
int arrival_record(xmlNode *devices, const struct layout *layout, bool *changed);

#endif
