// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/unit/test.h"

#include "controller/polling.h"

#define US 1000ULL

static struct polling polling;

static void learn(enum polling_for what, uint64_t gap_ns, unsigned times)
{
	while (times--)
		polling_learn(&polling, what, gap_ns);
}

static int set_up(void **state)
{
	polling_init(&polling, 50);
	return 0;
}

static void test_nothing_known_does_not_poll(void **state)
{
	assert_int_equal(polling_time(&polling, POLLING_FOR_GUEST), 0);
	assert_int_equal(polling_time(&polling, POLLING_FOR_DISK), 0);
}

static void test_one_short_gap_is_enough(void **state)
{
	learn(POLLING_FOR_GUEST, 12 * US, 1);
	assert_true(polling_time(&polling, POLLING_FOR_GUEST) > 12 * US);
	assert_int_equal(polling_time(&polling, POLLING_FOR_DISK), 0);
}

static void test_never_beyond_the_bound(void **state)
{
	learn(POLLING_FOR_GUEST, 49 * US, 10);
	assert_int_equal(polling_time(&polling, POLLING_FOR_GUEST), 50 * US);
	learn(POLLING_FOR_DISK, 9 * US, 10);
	assert_int_equal(polling_time(&polling, POLLING_FOR_DISK), POLLING_DISK_MAX_NS);
}

static void test_a_disk_that_takes_long_is_slept_for(void **state)
{
	learn(POLLING_FOR_DISK, 40 * US, 10);
	assert_int_equal(polling_time(&polling, POLLING_FOR_DISK), 0);
}

static void test_messages_are_slept_for(void **state)
{
	learn(POLLING_FOR_MESSAGE, 2 * US, 10);
	assert_int_equal(polling_time(&polling, POLLING_FOR_MESSAGE), 0);
}

static void test_long_gaps_end_it(void **state)
{
	learn(POLLING_FOR_GUEST, 30 * US, 5);
	learn(POLLING_FOR_GUEST, 1000 * US, 7);
	assert_int_equal(polling_time(&polling, POLLING_FOR_GUEST), 0);
}

static void test_one_pause_of_a_busy_guest_does_not(void **state)
{
	learn(POLLING_FOR_GUEST, 3 * US, 100);
	learn(POLLING_FOR_GUEST, 1000000 * US, 1);
	assert_true(polling_time(&polling, POLLING_FOR_GUEST) >= 3 * US);
}

static void test_zero_means_never(void **state)
{
	polling_init(&polling, 0);
	learn(POLLING_FOR_GUEST, 1, 10);
	learn(POLLING_FOR_DISK, 1, 10);
	assert_int_equal(polling_time(&polling, POLLING_FOR_GUEST), 0);
	assert_int_equal(polling_time(&polling, POLLING_FOR_DISK), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_nothing_known_does_not_poll, set_up),
		cmocka_unit_test_setup(test_one_short_gap_is_enough, set_up),
		cmocka_unit_test_setup(test_never_beyond_the_bound, set_up),
		cmocka_unit_test_setup(test_a_disk_that_takes_long_is_slept_for, set_up),
		cmocka_unit_test_setup(test_messages_are_slept_for, set_up),
		cmocka_unit_test_setup(test_long_gaps_end_it, set_up),
		cmocka_unit_test_setup(test_one_pause_of_a_busy_guest_does_not, set_up),
		cmocka_unit_test_setup(test_zero_means_never, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
