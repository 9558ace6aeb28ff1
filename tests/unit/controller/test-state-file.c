// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/state-file.h"

#define QUEUES 4

static int empty_file(void)
{
	int fd = memfd_create("state", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static int map(struct state_file *file, int fd)
{
	return state_file_map(file, fd, state_file_vectors(QUEUES), NULL);
}

static void a_successor_finds_what_was_stored(void **state)
{
	_cleanup_close_ int fd = empty_file();
	struct state_file file;

	assert_int_equal(map(&file, fd), 0);
	assert_false(pci_config_msix(&file.function->pci));
	file.function->msix_table[5] = 7;
	*(char *)file.controller = 8;
	*(char *)file.local = 9;
	state_file_unmap(&file);

	assert_int_equal(map(&file, fd), 0);
	assert_int_equal(file.function->msix_table[5], 7);
	assert_int_equal(*(char *)file.controller, 8);
	assert_int_equal(*(char *)file.local, 9);
	assert_ptr_equal((char *)file.function + state_file_travelling_size(64), file.local);
	assert_true(state_file_travelling_size(4) < state_file_travelling_size(5));
	state_file_unmap(&file);
}

/* Everything is stored before the magic number: the next one begins again. */
static void one_that_was_begun_is_begun_again(void **state)
{
	_cleanup_close_ int fd = empty_file();
	struct state_file file;

	assert_int_equal(map(&file, fd), 0);
	file.function->magic = 0;
	memset(&file.function->pci, 0xff, sizeof(file.function->pci));
	state_file_unmap(&file);

	assert_int_equal(state_file_judge(fd, QUEUES, NULL), 0);
	assert_int_equal(map(&file, fd), 0);
	assert_false(pci_config_msix(&file.function->pci));
	assert_false(pci_config_bus_master(&file.function->pci));
	state_file_unmap(&file);
	assert_int_equal(map(&file, fd), 0);
	state_file_unmap(&file);
}

static void another_versions_is_refused(void **state)
{
	_cleanup_close_ int fd = empty_file();
	struct state_file file;
	struct stat st;

	assert_int_equal(map(&file, fd), 0);
	file.function->version++;
	state_file_unmap(&file);
	assert_int_equal(map(&file, fd), -EINVAL);
	assert_int_equal(state_file_judge(fd, QUEUES, NULL), -EINVAL);

	assert_int_equal(map(&file, -1), 0);
	state_file_unmap(&file);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(ftruncate(fd, st.st_size - 4096), 0);
	assert_int_equal(map(&file, fd), -EINVAL);
}

static void the_controllers_part_is_judged_too(void **state)
{
	_cleanup_close_ int fd = empty_file();
	struct state_file file;

	assert_int_equal(state_file_judge(fd, QUEUES, NULL), 0);
	assert_int_equal(map(&file, fd), 0);
	memset(file.controller, 0xff, 64);
	assert_int_equal(state_file_judge(fd, QUEUES, NULL), -EINVAL);
	state_file_unmap(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_successor_finds_what_was_stored),
		cmocka_unit_test(one_that_was_begun_is_begun_again),
		cmocka_unit_test(another_versions_is_refused),
		cmocka_unit_test(the_controllers_part_is_judged_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
