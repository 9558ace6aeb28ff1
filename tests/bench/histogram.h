/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include "base/util.h"

/*
 * How often which value came, to 3 %: each power of two is cut into 32 equal parts. Recording is an
 * increment.
 */
#define HISTOGRAM_PARTS	  32
#define HISTOGRAM_BUCKETS ((64 - 4) * HISTOGRAM_PARTS)

struct histogram {
	uint64_t count;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_bucket(uint64_t value)
{
	unsigned shift;

	if (value < HISTOGRAM_PARTS)
		return value;
	shift = 63 - __builtin_clzll(value) - 5;
	return (shift + 1) * HISTOGRAM_PARTS + (value >> shift) - HISTOGRAM_PARTS;
}

static inline void histogram_add(struct histogram *histogram, uint64_t value)
{
	histogram->count++;
	histogram->buckets[histogram_bucket(value)]++;
}

/** histogram_percentile() - the middle of the bucket below which @percent of the values are; 0 of
 * an empty one */
double histogram_percentile(const struct histogram *histogram, double percent);

#endif
