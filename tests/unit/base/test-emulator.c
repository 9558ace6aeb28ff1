// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/emulator.h"
#include "tests/unit/test.h"

static char path[] = "/tmp/test-emulator.XXXXXX";

static int ask(const char *script, const char *type)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, 0700), 0);
	dprintf(fd, "#!/bin/sh\n%s\n", script);
	close(fd);
	return emulator_has(path, "-device", type, NULL);
}

static void wants_the_name(void **state)
{
	static const char list[] =
		"[ \"$*\" = '-machine none -device help' ] && echo 'name \"x-pci\", bus PCI'";

	assert_int_equal(ask(list, "x-pci"), 1);
	assert_int_equal(ask(list, "x"), 0);
	assert_int_equal(ask(list, "pci"), 0);
	assert_int_equal(ask("echo x-pci-y; exit 0", "x-pci"), 0);
	assert_int_equal(emulator_has("/bin/true", "-device", "x-pci", NULL), 0);
	assert_int_equal(ask("exit 1", "x-pci"), 0);
	assert_int_equal(emulator_has("/nonexistent/qemu", "-device", "x-pci", NULL), -ENOENT);
}

static void too_much_is_refused(void **state)
{
	assert_int_equal(ask("exec yes x-pci", "x-pci"), -EIO);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(wants_the_name),
		cmocka_unit_test(too_much_is_refused),
	};
	int failed;

	close(mkstemp(path));
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return failed;
}
