// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/crash-policy.h"

#include "base/util.h"

#define FREE_DEATHS    2u /* without a delay */
#define FIRST_DELAY_US 50000u
#define MAX_DELAY_US   800000u

struct crash_verdict crash_policy_judge(struct crash_policy *policy, uint64_t served_us, bool fault)
{
	struct crash_verdict verdict = {};
	unsigned waits;

	if (served_us >= CRASH_POLICY_QUICK_US)
		policy->quick = 0;
	if (served_us >= CRASH_POLICY_LONG_US)
		policy->faults = 0;
	policy->quick++;
	if (fault)
		policy->faults++;
	if (policy->quick > CRASH_POLICY_MAX) {
		verdict.give_up = true;
		return verdict;
	}
	verdict.poison = policy->faults >= 2;
	if (policy->quick > FREE_DEATHS) {
		waits = policy->quick - FREE_DEATHS - 1;
		verdict.delay_us = MIN(FIRST_DELAY_US << waits, MAX_DELAY_US);
	}
	return verdict;
}
