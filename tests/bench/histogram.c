// SPDX-License-Identifier: LGPL-2.1-or-later
#include "bench/histogram.h"

static double middle(unsigned bucket)
{
	unsigned shift = bucket / HISTOGRAM_PARTS;

	if (shift <= 1)
		return bucket;
	shift--;
	return ((double)(HISTOGRAM_PARTS + bucket % HISTOGRAM_PARTS) + 0.5) *
	       (double)(1ULL << shift);
}

double histogram_percentile(const struct histogram *histogram, double percent)
{
	uint64_t below = 0, wanted = (uint64_t)((double)histogram->count * percent / 100);
	unsigned i;

	for (i = 0; i < HISTOGRAM_BUCKETS; i++) {
		below += histogram->buckets[i];
		if (below > wanted)
			return middle(i);
	}
	return 0;
}
