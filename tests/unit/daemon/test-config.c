// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>

#include "daemon/config.h"
#include "tests/unit/test.h"

/* Load @text; the caller clears @config. */
static int load(struct config *config, const char *text, struct error **errp)
{
	char path[] = "/tmp/virtnvme-config-XXXXXX";
	int fd = mkstemp(path);
	int r;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	assert_int_equal(config_init(config), 0);
	r = config_load(config, path, true, errp);
	unlink(path);
	return r;
}

static void has_defaults(void **state)
{
	struct config config;

	assert_int_equal(config_init(&config), 0);
	assert_int_equal(config_load(&config, "/nonexistent/virtnvmed.conf", false, NULL), 0);
	assert_string_equal(config.uri, "qemu:///system");
	assert_string_equal(config.socket_group, "libvirt");
	assert_int_equal(config.log_level, 6);
	config_clear(&config);
}

static void wants_the_file_that_was_named(void **state)
{
	_cleanup_error_ struct error *err = NULL;
	struct config config;

	assert_int_equal(config_init(&config), 0);
	assert_int_equal(config_load(&config, "/nonexistent/virtnvmed.conf", true, &err), -ENOENT);
	assert_string_equal(error_message(err),
			    "/nonexistent/virtnvmed.conf: No such file or directory");
	config_clear(&config);
}

static void reads_what_libvirts_files_have(void **state)
{
	struct config config;

	assert_int_equal(load(&config,
			      "# comment\n\n  uri = \"qemu+unix:///system\" # why\n"
			      "socket_group='kvm'\nlog_level=7",
			      NULL),
			 0);
	assert_string_equal(config.uri, "qemu+unix:///system");
	assert_string_equal(config.socket_group, "kvm");
	assert_int_equal(config.log_level, 7);
	config_clear(&config);
}

static void reads_lists(void **state)
{
	struct config config;

	assert_int_equal(load(&config,
			      "shared_filesystems = [ # of both hosts\n  \"/srv/a [b]\", '/c',\n"
			      "] # end\nlog_level = 4\n",
			      NULL),
			 0);
	assert_string_equal(config.shared_filesystems[0], "/srv/a [b]");
	assert_string_equal(config.shared_filesystems[1], "/c");
	assert_null(config.shared_filesystems[2]);
	assert_int_equal(config.log_level, 4);
	config_clear(&config);

	assert_int_equal(load(&config, "shared_filesystems = []", NULL), 0);
	assert_null(config.shared_filesystems[0]);
	config_clear(&config);
}

static void names_the_line_that_is_wrong(void **state)
{
	static const struct {
		const char *text, *line, *what;
	} wrong[] = {
		{ "\n\nurl = \"x\"\n", ":3: ", "url" },
		{ "uri = qemu\n", ":1: ", "quotes" },
		{ "uri = \"qemu\n", ":1: ", "closing quote" },
		{ "uri = \"a\" b\n", ":1: ", "behind" },
		{ "uri\n", ":1: ", "key = value" },
		{ "log_level = 8\n", ":1: ", "more than 7" },
		{ "log_level = -1\n", ":1: ", "not a number" },
		{ "log_level = \"6\"\n", ":1: ", "not a number" },
		{ "log_level = 6x\n", ":1: ", "not a number" },
		{ "\nshared_filesystems = \"/a\"\n", ":2: ", "list" },
		{ "shared_filesystems = [ \"/a\" \"/b\" ]\n", ":1: ", "behind" },
		{ "shared_filesystems = [ \"a\" ]\n", ":1: ", "not an absolute path" },
		{ "shared_filesystems = [ \"/a\"\nuri = 'x'\n", ":1: ", "behind" },
		{ "shared_filesystems = [ \"/a\",\n\n", ":1: ", "closing bracket" },
		{ "shared_filesystems = [\n'/a',\n]\nurl = 1", ":4: ", "url" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		_cleanup_error_ struct error *err = NULL;
		struct config config;

		assert_true(load(&config, wrong[i].text, &err) < 0);
		assert_non_null(strstr(error_message(err), wrong[i].line));
		assert_non_null(strstr(error_message(err), wrong[i].what));
		assert_null(strstr(error_message(err), ": :"));
		config_clear(&config);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(has_defaults),
		cmocka_unit_test(wants_the_file_that_was_named),
		cmocka_unit_test(reads_what_libvirts_files_have),
		cmocka_unit_test(reads_lists),
		cmocka_unit_test(names_the_line_that_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
