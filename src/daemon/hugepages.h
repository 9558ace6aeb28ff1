/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_HUGEPAGES_H
#define DAEMON_HUGEPAGES_H

#include "domain-xml/domain.h"

/**
 * hugepages_check() - are there enough for a domain that wants them?
 *
 * QEMU would say "Cannot allocate memory" and no more. What other domains take meanwhile, it still
 * says.
 *
 * Return: 0 or -ENOMEM with a sentence.
 */
int hugepages_check(const struct domain_xml_info *info, struct error **errp);

#endif
