/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DOMAIN_XML_VALIDATE_H
#define DOMAIN_XML_VALIDATE_H

#include "base/error.h"

/**
 * domain_xml_validate() - everything that can be judged without a host
 * @file: what the user calls it; the sentence begins "FILE:LINE: "
 *
 * Well-formedness, the metadata (metadata.h), and what the rewrite would refuse. Sources are
 * compared as written; whether another domain uses one, the daemon knows.
 *
 * Return: 0, or -errno with the first fault.
 */
int domain_xml_validate(const char *xml, size_t len, const char *file, struct error **errp);

#endif
