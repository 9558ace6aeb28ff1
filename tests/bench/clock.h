/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

#include <stdint.h>
#include <time.h>

/*
 * Time in ticks: of the processor's time stamp counter where there is one (a reading costs a few
 * nanoseconds and orders nothing), else nanoseconds.
 */
static inline uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static inline uint64_t clock_ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t ticks;

	__asm__ __volatile__("mrs %0, cntvct_el0" : "=r"(ticks));
	return ticks;
#else
	return clock_ns();
#endif
}

static inline void clock_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield");
#endif
}

/** clock_ticks_per_ns() - measured, once, in 20 ms */
static inline double clock_ticks_per_ns(void)
{
	static double rate;
	uint64_t ns = clock_ns(), ticks = clock_ticks(), passed;

	if (rate != 0)
		return rate;
	do
		passed = clock_ns() - ns;
	while (passed < 20000000);
	rate = (double)(clock_ticks() - ticks) / (double)passed;
	return rate;
}

#endif
