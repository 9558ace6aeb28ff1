// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/cpuset.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#include "base/i18n.h"
#include "base/util.h"

/* A number at **p, which moves behind it; -1 when there is none or it is too large. */
static int parse_cpu(const char **p)
{
	unsigned long number = 0;

	if (!isdigit((unsigned char)**p))
		return -1;
	for (; isdigit((unsigned char)**p); (*p)++) {
		number = number * 10 + (unsigned long)(**p - '0');
		if (number >= CPU_SETSIZE)
			return -1;
	}
	return (int)number;
}

int cpuset_parse(const char *text, cpu_set_t *ret, struct error **errp)
{
	const char *p = text;

	CPU_ZERO(ret);
	for (;; p++) {
		bool out = *p == '^';
		int first, last, cpu;

		p += out;
		first = last = parse_cpu(&p);
		if (first >= 0 && *p == '-') {
			p++;
			last = parse_cpu(&p);
		}
		if (first < 0 || last < first || (*p && *p != ','))
			return error_set(errp, EINVAL,
					 _("\"%s\" is not a list of processors such as "
					   "\"0-3,^2,8\" (the highest is %d)"),
					 text, CPU_SETSIZE - 1);
		for (cpu = first; cpu <= last; cpu++) {
			if (out)
				CPU_CLR(cpu, ret);
			else
				CPU_SET(cpu, ret);
		}
		if (!*p)
			break;
	}
	if (!CPU_COUNT(ret))
		return error_set(errp, EINVAL, _("\"%s\" leaves no processor"), text);
	return 0;
}

char *cpuset_format(const cpu_set_t *set)
{
	const char *separator = "";
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int first, last;

	if (!out)
		return NULL;
	for (first = 0; first < CPU_SETSIZE; first = last + 1) {
		last = first;
		if (!CPU_ISSET(first, set))
			continue;
		while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, set))
			last++;
		fprintf(out, last > first ? "%s%d-%d" : "%s%d", separator, first, last);
		separator = ",";
	}
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
