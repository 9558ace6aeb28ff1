// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/cpuset.h"

#include <errno.h>

#include "tests/unit/test.h"

static void reads_and_writes(void **state)
{
	static const struct {
		const char *text, *again;
	} sets[] = {
		{ "0", "0" },
		{ "3,1,2", "1-3" },
		{ "0-3,^2,8", "0-1,3,8" },
		{ "0-7,^2-5,3", "0-1,3,6-7" },
		{ "^1,1", "1" },
		{ "1023", "1023" },
		{ "0-1023", "0-1023" },
		{ "007", "7" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sets); i++) {
		_cleanup_free_ char *text = NULL;
		cpu_set_t set;

		assert_int_equal(cpuset_parse(sets[i].text, &set, NULL), 0);
		text = cpuset_format(&set);
		assert_string_equal(text, sets[i].again);
	}
}

static void refuses(void **state)
{
	static const char *const wrong[] = {
		"",	",",	 "1,",	 ",1",	   "-1",
		"1-",	"2-1",	 "1024", "^",	   "^0",
		"1,^1", "0x1",	 "1 ,2", "0-1024", "18446744073709551616",
		"a",	"1-2-3", "1^2",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		_cleanup_error_ struct error *err = NULL;
		cpu_set_t set;

		assert_int_equal(cpuset_parse(wrong[i], &set, &err), -EINVAL);
		assert_non_null(strstr(error_message(err), wrong[i]));
	}
}

static void an_empty_one_is_no_text(void **state)
{
	_cleanup_free_ char *text = NULL;
	cpu_set_t set;

	CPU_ZERO(&set);
	text = cpuset_format(&set);
	assert_string_equal(text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes),
		cmocka_unit_test(refuses),
		cmocka_unit_test(an_empty_one_is_no_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
