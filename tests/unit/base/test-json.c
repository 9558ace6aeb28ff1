// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "base/json.h"
#include "tests/unit/test.h"

static struct json_object *parse(const char *text, struct error **errp)
{
	return json_parse(text, strlen(text), errp);
}

static void reads_with_types(void **state)
{
	_cleanup_json_ struct json_object *o =
		parse("{\"s\":\"x\",\"n\":18446744073709551615,\"b\":true,\"neg\":-1}", NULL);
	_cleanup_error_ struct error *err = NULL;
	uint64_t n;

	assert_non_null(o);
	assert_string_equal(json_string(o, "s", NULL), "x");
	assert_int_equal(json_u64(o, "n", &n, NULL), 0);
	assert_true(n == UINT64_MAX);
	assert_true(json_bool_or(o, "b", false));
	assert_int_equal(json_u64(o, "neg", &n, NULL), -EINVAL);
	assert_int_equal(json_u64(o, "s", &n, NULL), -EINVAL);
	assert_int_equal(json_u64_or(o, "missing", 7), 7);
	assert_null(json_string(o, "n", &err));
	assert_non_null(strstr(error_message(err), "\"n\""));
}

static void refuses_what_is_not_json(void **state)
{
	static const char *const bad[] = {
		"", "{", "{}x", "{\"a\" 1}", "[1,]", "{\"a\":\"\xff\"}"
	};
	char deep[200];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_error_ struct error *err = NULL;

		if (parse(bad[i], &err))
			fail_msg("accepted %s", bad[i]);
		assert_non_null(err);
	}
	memset(deep, '[', 100);
	memset(deep + 100, ']', 99);
	deep[199] = '\0';
	assert_null(parse(deep, NULL));
}

static void builds(void **state)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();

	json_add_string(o, "s", "a/b");
	json_add_string(o, "none", NULL);
	json_add_u64(o, "n", UINT64_MAX);
	assert_string_equal(json_text(o), "{\"s\":\"a/b\",\"n\":18446744073709551615}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_with_types),
		cmocka_unit_test(refuses_what_is_not_json),
		cmocka_unit_test(builds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
