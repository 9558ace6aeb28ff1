// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "base/error.h"
#include "tests/unit/test.h"

static void sets_code_and_sentence(void **state)
{
	_cleanup_error_ struct error *err = NULL;

	assert_int_equal(error_set(&err, ENOENT, "no disk \"%s\"", "a"), -ENOENT);
	assert_int_equal(err->code, ENOENT);
	assert_string_equal(error_message(err), "no disk \"a\"");
	error_prefix(&err, "domain %s", "vm");
	assert_string_equal(error_message(err), "domain vm: no disk \"a\"");
}

static void appends_strerror(void **state)
{
	_cleanup_error_ struct error *err = NULL;

	assert_int_equal(error_set_errno(&err, EACCES, "cannot open %s", "x"), -EACCES);
	assert_string_equal(error_message(err), "cannot open x: Permission denied");
}

static void nobody_listens(void **state)
{
	struct error *err = NULL;

	assert_int_equal(error_set(NULL, EIO, "lost"), -EIO);
	error_prefix(NULL, "x");
	error_prefix(&err, "x");
	assert_null(err);
	assert_string_equal(error_message(NULL), "unknown error");
}

static void moves_to_caller(void **state)
{
	_cleanup_error_ struct error *outer = NULL;
	struct error *inner = NULL;

	error_set(&inner, EBUSY, "busy");
	assert_int_equal(error_propagate(&outer, inner), -EBUSY);
	assert_string_equal(outer->message, "busy");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sets_code_and_sentence),
		cmocka_unit_test(appends_strerror),
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(moves_to_caller),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
