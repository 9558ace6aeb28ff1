// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/polling.h"

/* Shorter is not worth looking at the clock for. */
#define SHORTEST_NS 1000

void polling_init(struct polling *polling, unsigned max_us)
{
	*polling = (struct polling){};
	polling->bound_ns[POLLING_FOR_GUEST] = max_us * 1000ULL;
	polling->bound_ns[POLLING_FOR_DISK] = MIN(max_us * 1000ULL, (uint64_t)POLLING_DISK_MAX_NS);
}

void polling_learn(struct polling *polling, enum polling_for what, uint64_t gap_ns)
{
	uint64_t bound = polling->bound_ns[what], *time = &polling->time_ns[what];

	if (gap_ns > bound)
		*time = *time / 2 < SHORTEST_NS ? 0 : *time / 2;
	else if (gap_ns > *time)
		*time = MIN(bound, MAX(2 * gap_ns, (uint64_t)SHORTEST_NS));
}
