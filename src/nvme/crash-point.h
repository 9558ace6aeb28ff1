/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_CRASH_POINT_H
#define NVME_CRASH_POINT_H

#include "base/util.h"

/*
 * Where a test lets the process die: before and after each store into the state, and wherever else
 * a step ends that a successor must be able to tell from its neighbours. Built in for
 * tests/unit/nvme/test-crash only.
 */
#ifdef NVME_CRASH_POINTS
void nvme_crash_point(void);
#else
static inline void nvme_crash_point(void)
{
}
#endif

/* A store that a successor will look at: one that is there or not, and after all those before it.
 */
#define NVME_STORE(field, value)                                                                   \
	do {                                                                                       \
		nvme_crash_point();                                                                \
		STORE_RELEASE(field, value);                                                       \
		nvme_crash_point();                                                                \
	} while (0)

#endif
