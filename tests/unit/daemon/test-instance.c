// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>

#include "base/fd.h"
#include "daemon/instance.h"
#include "tests/unit/test.h"

static void there_is_only_one(void **state)
{
	char directory[] = "/tmp/virtnvme-instance-XXXXXX";
	_cleanup_error_ struct error *err = NULL;
	char path[64];
	int first;

	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/lock", directory);
	first = instance_lock(path, NULL);
	assert_true(first >= 0);
	assert_int_equal(instance_lock(path, &err), -EBUSY);
	assert_non_null(strstr(error_message(err), "another virtnvmed"));
	/* One that died leaves the file, not the lock. */
	close(first);
	first = instance_lock(path, NULL);
	assert_true(first >= 0);
	close(first);
	unlink(path);
	rmdir(directory);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_is_only_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
