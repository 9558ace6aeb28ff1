/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_STANDSTILL_H
#define KEEPER_STANDSTILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * How long a guest stands still for its disks in a migration, and what for: for the log. Times are
 * CLOCK_MONOTONIC, microseconds.
 */
#define STANDSTILL_STEPS 8

struct standstill {
	uint64_t began, last; /* 0: it does not stand still */
	struct {
		const char *what;
		uint64_t us;
	} steps[STANDSTILL_STEPS];
	unsigned count;
};

/** standstill_begin() - anew */
void standstill_begin(struct standstill *standstill, uint64_t now);

/** standstill_step() - the time since the last step went into @what, which is borrowed. None when it
 * has not begun; what comes after STANDSTILL_STEPS is left out. */
void standstill_step(struct standstill *standstill, const char *what, uint64_t now);

/** standstill_end() - begun no more */
void standstill_end(struct standstill *standstill);

/** standstill_describe() - as "24.1 ms: draining 20.0, collecting 4.1". Return: @text */
const char *standstill_describe(const struct standstill *standstill, char *text, size_t size);

#endif
