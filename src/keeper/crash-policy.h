/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_CRASH_POLICY_H
#define KEEPER_CRASH_POLICY_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What to do about a controller that has died. A pure function of what has happened so far.
 *
 * One death is nothing: a successor starts at once. Deaths of controllers that had hardly begun to
 * serve are a loop, and each successor of one waits longer, so that a broken machine is not kept
 * busy with starting processes. After CRASH_POLICY_MAX of them nobody is started any more: a guest
 * can deal with a failed controller and cannot with one that hangs.
 *
 * Two deaths by a fault of its own, the second of one that had not served for long, are taken as the
 * doing of the command in hand, which the next one fails instead of trying it again. That is no loop
 * when the storage is slow: the command may take seconds to come so far. A process that was killed
 * from outside proves nothing against a command.
 */
#define CRASH_POLICY_QUICK_US 1000000u
#define CRASH_POLICY_LONG_US  60000000u
#define CRASH_POLICY_MAX      10u

struct crash_policy {
	unsigned quick;	 /* deaths in a row, the first one after a longer life included */
	unsigned faults; /* that nobody outside caused, since one had served for long */
};

struct crash_verdict {
	bool give_up;
	bool poison;
	uint64_t delay_us; /* before the successor is started */
};

/**
 * crash_policy_judge() - one more death
 * @served_us: how long it had served its devices; 0: it never did
 * @fault: it was not killed from outside
 */
struct crash_verdict crash_policy_judge(struct crash_policy *policy, uint64_t served_us,
					bool fault);

#endif
