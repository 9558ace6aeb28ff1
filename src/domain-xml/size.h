/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DOMAIN_XML_SIZE_H
#define DOMAIN_XML_SIZE_H

#include "base/error.h"

/**
 * size_parse() - libvirt's scaled integers: <capacity unit="GiB">10</capacity>
 * @number: decimal digits
 * @unit: NULL or "": bytes. "B", "byte", "bytes"; K, M, G, T, P, E alone or followed by "iB" are
 *	powers of 1024, followed by "B" powers of 1000; upper and lower case alike
 *
 * Return: 0, -EINVAL or -ERANGE (more than 2^63 - 1) with a sentence, without an element path.
 */
int size_parse(const char *number, const char *unit, uint64_t *ret_bytes, struct error **errp);

#endif
