// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>

#include "base/util.h"
#include "control/commands.h"
#include "tests/unit/test.h"

static int check(unsigned role, const char *name, const char *arguments, size_t fds)
{
	const struct control_command *command = control_command_find(role, name);
	_cleanup_json_ struct json_object *object = NULL;
	_cleanup_error_ struct error *err = NULL;
	int r;

	assert_non_null(command);
	if (arguments)
		object = json_parse(arguments, strlen(arguments), NULL);
	r = control_command_check(command, object, fds, &err);
	assert_int_equal(r < 0, err != NULL);
	return r;
}

static void finds_by_role(void **state)
{
	const struct control_command *keeper, *controller;

	keeper = control_command_find(CONTROL_KEEPER, "add-controller");
	controller = control_command_find(CONTROL_CONTROLLER, "add-controller");
	assert_non_null(keeper);
	assert_non_null(controller);
	assert_ptr_not_equal(keeper, controller);
	assert_null(control_command_find(CONTROL_NONE, "stop"));
	assert_null(control_command_find(CONTROL_DAEMON, "stop"));
	assert_null(control_command_find(CONTROL_KEEPER, "hook"));
	assert_null(control_command_find(CONTROL_KEEPER, ""));
}

static void wants_required_arguments(void **state)
{
	assert_int_equal(check(CONTROL_KEEPER, "remove-namespace", "{\"index\":0,\"nsid\":1}", 0),
			 0);
	assert_int_equal(check(CONTROL_KEEPER, "remove-namespace", "{\"index\":0}", 0), -EINVAL);
	assert_int_equal(check(CONTROL_KEEPER, "remove-namespace", NULL, 0), -EINVAL);
	assert_int_equal(check(CONTROL_KEEPER, "status", NULL, 0), 0);
}

static void checks_types(void **state)
{
	const char *const bad[] = {
		"{\"index\":\"0\",\"nsid\":1}",
		"{\"index\":-1,\"nsid\":1}",
		"{\"index\":1.5,\"nsid\":1}",
		"{\"index\":null,\"nsid\":1}",
		"[]",
		"{\"index\":true,\"nsid\":1}",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(check(CONTROL_KEEPER, "remove-namespace", bad[i], 0), -EINVAL);
	assert_int_equal(check(CONTROL_DAEMON, "attach-disk",
			       "{\"domain\":\"d\",\"source\":\"s\",\"target\":\"t\",\"live\":1}",
			       0),
			 -EINVAL);
}

static void ignores_unknown_fields(void **state)
{
	assert_int_equal(check(CONTROL_KEEPER, "stop", "{\"later\":{}}", 0), 0);
}

static void bounds_descriptors(void **state)
{
	const char *arguments = "{\"index\":0,\"serial\":\"S\",\"queues\":1}";

	assert_int_equal(check(CONTROL_CONTROLLER, "add-controller", arguments, 4), 0);
	assert_int_equal(check(CONTROL_CONTROLLER, "add-controller", arguments, 5), -EINVAL);
	assert_int_equal(check(CONTROL_KEEPER, "status", NULL, 1), -EINVAL);
}

/* docs/control.md lists what the table knows, in "| `name` |" rows under "## role: ..." headings.
 */
static void documents_every_command(void **state)
{
	const char *source = getenv("top_srcdir");
	_cleanup_free_ char *path = NULL;
	char line[1024];
	unsigned role = 0, rows = 0;
	FILE *doc;

	assert_true(asprintf(&path, "%s/docs/control.md", source ? source : ".") > 0);
	doc = fopen(path, "r");
	if (!doc)
		skip();
	while (fgets(line, sizeof(line), doc)) {
		char name[64];

		if (string_has_prefix(line, "## daemon"))
			role = CONTROL_DAEMON;
		else if (string_has_prefix(line, "## keeper"))
			role = CONTROL_KEEPER;
		else if (string_has_prefix(line, "## controller"))
			role = CONTROL_CONTROLLER;
		if (sscanf(line, "| `%63[^`]` |", name) == 1) {
			if (!control_command_find(role, name))
				fail_msg("%s is documented but not in the table", name);
			rows++;
		}
	}
	fclose(doc);
	/* That nothing is missing is seen to by tests/static/check-docs. */
	assert_true(rows >= 9 + 8 + 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_by_role),      cmocka_unit_test(wants_required_arguments),
		cmocka_unit_test(checks_types),	      cmocka_unit_test(ignores_unknown_fields),
		cmocka_unit_test(bounds_descriptors), cmocka_unit_test(documents_every_command),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
