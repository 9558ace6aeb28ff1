// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/standstill.h"

#include <string.h>

#include "tests/unit/test.h"

static void says_what_the_time_went_into(void **state)
{
	struct standstill standstill = {};
	char text[200];

	standstill_begin(&standstill, 5000000);
	standstill_step(&standstill, "draining", 5020000);
	standstill_step(&standstill, "collecting", 5024200);
	assert_string_equal(standstill_describe(&standstill, text, sizeof(text)),
			    "24.2 ms: draining 20.0, collecting 4.2");
	/* The next one begins from nothing. */
	standstill_begin(&standstill, 6000000);
	standstill_step(&standstill, "draining", 6001000);
	assert_string_equal(standstill_describe(&standstill, text, sizeof(text)),
			    "1.0 ms: draining 1.0");
}

static void steps_of_none_are_none(void **state)
{
	struct standstill standstill = {};

	standstill_step(&standstill, "draining", 5020000);
	assert_int_equal(standstill.count, 0);
	standstill_begin(&standstill, 5020000);
	standstill_end(&standstill);
	standstill_step(&standstill, "draining", 5030000);
	assert_int_equal(standstill.count, 0);
}

static void is_bounded(void **state)
{
	struct standstill standstill;
	char text[30];
	unsigned i;

	standstill_begin(&standstill, 1);
	for (i = 0; i < 2 * STANDSTILL_STEPS; i++)
		standstill_step(&standstill, "something", 1 + i);
	assert_int_equal(standstill.count, STANDSTILL_STEPS);
	assert_int_equal(strlen(standstill_describe(&standstill, text, sizeof(text))),
			 sizeof(text) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_what_the_time_went_into),
		cmocka_unit_test(steps_of_none_are_none),
		cmocka_unit_test(is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
