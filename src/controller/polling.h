/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_POLLING_H
#define CONTROLLER_POLLING_H

#include "base/util.h"

/*
 * Theory of operation
 *
 * A thread that runs out of work may look for more for a while before it sleeps. Asleep it costs
 * nothing, but the next command costs more: the guest must write the doorbell register, which is an
 * exit to QEMU and a message, and the thread must wake up. So it pays to poll when the next work
 * comes within about what that costs, and no longer than that however it comes out: then polling
 * never costs more than twice what was best.
 *
 * How long is learned from how long it took each time, separately for what there is to wait for:
 *
 *	the guest	nothing is in flight, it is the turn of a guest with shadow doorbells
 *	a message	the same of a guest that writes registers: it pays its exit in any case, and a
 *			poll would only keep the processor from the thread that brings the news
 *	the disk	something is in flight; when it completes we pay only for our own wake-up, so
 *			the bound is lower
 *
 * Work that came after the end of the polling but within the bound would have been caught: next
 * time poll twice as long as it took. Work that came later, or not at all, halves the time, down to
 * nothing. So one long pause of a busy guest does not send it back to the slow way, and a guest
 * that does something now and then is soon not polled for at all.
 */
enum polling_for {
	POLLING_FOR_GUEST,
	POLLING_FOR_MESSAGE,
	POLLING_FOR_DISK,
	POLLING_KINDS,
};

struct polling {
	uint64_t bound_ns[POLLING_KINDS];
	uint64_t time_ns[POLLING_KINDS];
};

#define POLLING_MAX_US	    50	  /* unless told otherwise: what a wake-up through QEMU costs */
#define POLLING_DISK_MAX_NS 10000 /* what a wake-up of our own costs */

/** polling_init() - @max_us: the longest time to poll for the guest; 0: never poll */
void polling_init(struct polling *polling, unsigned max_us);

/** polling_time() - for how many nanoseconds to poll now */
static inline uint64_t polling_time(const struct polling *polling, enum polling_for what)
{
	return polling->time_ns[what];
}

/** polling_learn() - there was work again after @gap_ns without */
void polling_learn(struct polling *polling, enum polling_for what, uint64_t gap_ns);

#endif
