// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain-xml/size.h"

#include <ctype.h>
#include <errno.h>
#include <strings.h>

#include "base/i18n.h"

static int unit_scale(const char *unit, uint64_t *ret)
{
	static const char letters[] = "kmgtpe";
	uint64_t base, scale = 1;
	const char *letter;

	if (!unit || !*unit || !strcasecmp(unit, "b") || !strcasecmp(unit, "byte") ||
	    !strcasecmp(unit, "bytes")) {
		*ret = 1;
		return 0;
	}
	letter = strchr(letters, tolower((unsigned char)unit[0]));
	if (!letter)
		return -EINVAL;
	if (!unit[1] || !strcasecmp(unit + 1, "ib"))
		base = 1024;
	else if (!strcasecmp(unit + 1, "b"))
		base = 1000;
	else
		return -EINVAL;
	for (; letter >= letters; letter--)
		scale *= base;
	*ret = scale;
	return 0;
}

int size_parse(const char *number, const char *unit, uint64_t *ret_bytes, struct error **errp)
{
	uint64_t value = 0, scale;
	const char *p;

	if (unit_scale(unit, &scale) < 0)
		return error_set(errp, EINVAL,
				 _("unknown unit \"%s\": use bytes, KiB, MiB, GiB or TiB"), unit);
	if (!*number)
		return error_set(errp, EINVAL, _("the number is missing"));
	for (p = number; *p; p++) {
		if (!isdigit((unsigned char)*p))
			return error_set(errp, EINVAL, _("\"%s\" is not a number"), number);
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
			return error_set(errp, ERANGE, _("%s is too large"), number);
	}
	if (__builtin_mul_overflow(value, scale, &value) || value > INT64_MAX)
		return error_set(errp, ERANGE, _("%s %s is too large"), number,
				 unit ? unit : "bytes");
	*ret_bytes = value;
	return 0;
}
