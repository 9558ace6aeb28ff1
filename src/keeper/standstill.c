// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/standstill.h"

#include <stdio.h>

void standstill_begin(struct standstill *standstill, uint64_t now)
{
	*standstill = (struct standstill){ .began = now, .last = now };
}

void standstill_step(struct standstill *standstill, const char *what, uint64_t now)
{
	if (!standstill->began || standstill->count == STANDSTILL_STEPS)
		return;
	standstill->steps[standstill->count].what = what;
	standstill->steps[standstill->count].us = now - standstill->last;
	standstill->last = now;
	standstill->count++;
}

void standstill_end(struct standstill *standstill)
{
	*standstill = (struct standstill){};
}

const char *standstill_describe(const struct standstill *standstill, char *text, size_t size)
{
	size_t used;
	unsigned i;

	used = snprintf(text, size, "%.1f ms", (standstill->last - standstill->began) / 1e3);
	for (i = 0; i < standstill->count && used < size; i++)
		used += snprintf(text + used, size - used, "%s%s %.1f", i ? ", " : ": ",
				 standstill->steps[i].what, standstill->steps[i].us / 1e3);
	return text;
}
