// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/crash-policy.h"
#include "tests/unit/test.h"

static struct crash_verdict die(struct crash_policy *policy, uint64_t served_us, bool fault)
{
	return crash_policy_judge(policy, served_us, fault);
}

static void single_deaths_cost_nothing(void **state)
{
	struct crash_policy policy = {};
	unsigned i;

	for (i = 0; i < 1000; i++) {
		struct crash_verdict verdict = die(&policy, CRASH_POLICY_LONG_US, true);

		assert_false(verdict.give_up);
		assert_false(verdict.poison);
		assert_int_equal(verdict.delay_us, 0);
	}
}

static void a_loop_slows_down_and_ends(void **state)
{
	struct crash_policy policy = {};
	uint64_t last = 0, total = 0;
	unsigned i;

	for (i = 1; i <= CRASH_POLICY_MAX; i++) {
		struct crash_verdict verdict = die(&policy, i == 1 ? 3600u * 1000000 : 0, false);

		assert_false(verdict.give_up);
		assert_true(verdict.delay_us >= last);
		assert_true((verdict.delay_us == 0) == (i <= 2));
		last = verdict.delay_us;
		total += last;
	}
	/* Before QEMU loses patience with a register access. */
	assert_true(total < 5u * 1000000);
	assert_true(die(&policy, 0, false).give_up);
}

static void two_faults_in_a_row_poison(void **state)
{
	struct crash_policy policy = {};

	assert_false(die(&policy, 3600u * 1000000, true).poison);
	assert_true(die(&policy, 10, true).poison);
	assert_true(die(&policy, 0, true).poison);
	/* It has served: that was it. */
	assert_false(die(&policy, CRASH_POLICY_LONG_US, true).poison);
}

/* A result comes after seconds, and is what the controller dies of. */
static void slow_storage_is_no_excuse(void **state)
{
	struct crash_policy policy = {};
	struct crash_verdict verdict;

	die(&policy, 3600u * 1000000, true);
	verdict = die(&policy, 3 * CRASH_POLICY_QUICK_US, true);
	assert_true(verdict.poison);
	assert_int_equal(verdict.delay_us, 0);
}

static void who_is_killed_has_no_fault(void **state)
{
	struct crash_policy policy = {};
	unsigned i;

	for (i = 0; i < CRASH_POLICY_MAX; i++)
		assert_false(die(&policy, 0, false).poison);
	policy = (struct crash_policy){};
	assert_false(die(&policy, 0, true).poison);
	assert_false(die(&policy, 0, false).poison);
	assert_true(die(&policy, 0, true).poison);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(single_deaths_cost_nothing),
		cmocka_unit_test(a_loop_slows_down_and_ends),
		cmocka_unit_test(two_faults_in_a_row_poison),
		cmocka_unit_test(slow_storage_is_no_excuse),
		cmocka_unit_test(who_is_killed_has_no_fault),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
