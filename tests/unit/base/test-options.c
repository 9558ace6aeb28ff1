// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "base/options.h"
#include "tests/unit/test.h"

static bool flag;
static const char *text;
static unsigned long number;
static int calls;

static int count_call(const char *value, void *target, struct error **errp)
{
	if (string_equal(value, "bad"))
		return error_set(errp, EINVAL, "bad value");
	(*(int *)target)++;
	return 0;
}

static const struct option_spec options[] = {
	{ "flag", 'f', OPTION_FLAG, NULL, "a flag", &flag },
	{ "text", 't', OPTION_STRING, "TEXT", "a text", &text },
	{ "number", 0, OPTION_NUMBER, "N", "a number", &number },
	{ "item", 0, OPTION_CALL, "ITEM", "an item", &calls, count_call },
	{},
};
static const struct option_program program = { "prog", "FILE", "Test.", options, 1, 1 };

static int parse(struct error **errp, int *first, char **argv)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	flag = false;
	text = NULL;
	number = 0;
	calls = 0;
	return options_parse(&program, argc, argv, first, errp);
}

#define ARGV(...) ((char *[]){ (char *)"prog", __VA_ARGS__, NULL })

static void parses_all_kinds(void **state)
{
	char **argv =
		ARGV((char *)"--item", (char *)"a", (char *)"file", (char *)"-f",
		     (char *)"--text=x", (char *)"--number", (char *)"0x10", (char *)"--item=b");
	int first;

	assert_int_equal(parse(NULL, &first, argv), 0);
	assert_true(flag);
	assert_string_equal(text, "x");
	assert_int_equal(number, 16);
	assert_int_equal(calls, 2);
	assert_string_equal(argv[first], "file");
}

static void refuses(const char *want, char **argv)
{
	_cleanup_error_ struct error *err = NULL;
	int first;

	assert_int_equal(parse(&err, &first, argv), -EINVAL);
	assert_non_null(strstr(error_message(err), want));
}

static void says_what_is_wrong(void **state)
{
	refuses("unknown option --nope", ARGV((char *)"--nope", (char *)"file"));
	refuses("--number wants a number", ARGV((char *)"--number=x", (char *)"file"));
	refuses("--number wants a number", ARGV((char *)"--number=-1", (char *)"file"));
	refuses("value is missing after --text", ARGV((char *)"file", (char *)"--text"));
	refuses("missing: FILE", ARGV((char *)"-f"));
	refuses("unexpected argument b", ARGV((char *)"a", (char *)"b"));
	refuses("bad value", ARGV((char *)"--item=bad", (char *)"a"));
}

static void parses_sizes(void **state)
{
	uint64_t bytes;

	assert_int_equal(options_parse_size("512", &bytes, NULL), 0);
	assert_int_equal(bytes, 512);
	assert_int_equal(options_parse_size("10G", &bytes, NULL), 0);
	assert_int_equal(bytes, 10 * GiB);
	assert_int_equal(options_parse_size("3MiB", &bytes, NULL), 0);
	assert_int_equal(bytes, 3 * MiB);
	assert_int_equal(options_parse_size("1k", &bytes, NULL), 0);
	assert_int_equal(bytes, 1024);
	assert_int_equal(options_parse_size("", &bytes, NULL), -EINVAL);
	assert_int_equal(options_parse_size("G", &bytes, NULL), -EINVAL);
	assert_int_equal(options_parse_size("-1", &bytes, NULL), -EINVAL);
	assert_int_equal(options_parse_size("+1G", &bytes, NULL), -EINVAL);
	assert_int_equal(options_parse_size("1GB", &bytes, NULL), -EINVAL);
	assert_int_equal(options_parse_size("16E", &bytes, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_all_kinds),
		cmocka_unit_test(says_what_is_wrong),
		cmocka_unit_test(parses_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
