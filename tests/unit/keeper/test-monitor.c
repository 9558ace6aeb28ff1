// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/monitor.h"

#include <errno.h>

#include "base/log.h"
#include "tests/unit/test.h"

static void note_error(void *opaque, struct json_object *result, const struct error *err)
{
	*(int *)opaque = err ? err->code : 0;
}

/* What reads QEMU's half of the devices asks QEMU and the controller in turn, and QEMU may end. */
static void a_monitor_that_is_gone_is_not_connected(void **state)
{
	struct json_object *arguments = json_object_new_object();
	int error = 0;

	json_add_string(arguments, "command-line", "xp /4wx 0x1000");
	monitor_execute(NULL, "human-monitor-command", arguments, -1, note_error, &error);
	assert_int_equal(error, ENOTCONN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_monitor_that_is_gone_is_not_connected),
	};

	log_open("test-monitor", LOG_CRIT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
