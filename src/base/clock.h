/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/** clock_ns() - what @clock says, in nanoseconds */
static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

/** clock_us() - the same in microseconds */
static inline uint64_t clock_us(clockid_t clock)
{
	return clock_ns(clock) / 1000;
}

/** clock_ms() - the same in milliseconds, signed: what is left until a deadline may be negative */
static inline int64_t clock_ms(clockid_t clock)
{
	return clock_ns(clock) / 1000000;
}

#endif
