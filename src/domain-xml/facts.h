/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DOMAIN_XML_FACTS_H
#define DOMAIN_XML_FACTS_H

#include <libxml/tree.h>

#include "domain-xml/domain.h"

/*
 * Single facts of the tree, in domain.c; inside the folder only.
 */

enum domain_xml_machine facts_machine(const xmlNode *domain);

/** facts_uuid() - in lower case with dashes; false when there is none */
bool facts_uuid(const xmlNode *domain, char ret[37]);

/** facts_user_interface() - see struct domain_xml_info */
bool facts_user_interface(const xmlNode *domain);

/** facts_foreign_vmstate() - see struct domain_xml_info; 0 or -ENOMEM */
int facts_foreign_vmstate(const xmlNode *domain, bool *ret);

#endif
