// SPDX-License-Identifier: LGPL-2.1-or-later
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/shared-storage.h"
#include "tests/unit/test.h"

static void knows_the_kinds_of_libvirt(void **state)
{
	assert_int_equal(shared_storage_kind(0x6969, NULL), SHARED_STORAGE_SHARED);
	assert_int_equal(shared_storage_kind(0xff534d42, NULL), SHARED_STORAGE_SHARED);
	assert_int_equal(shared_storage_kind(0x01161970, NULL), SHARED_STORAGE_COHERENT);
	assert_int_equal(shared_storage_kind(0x7461636f, NULL), SHARED_STORAGE_COHERENT);
	assert_int_equal(shared_storage_kind(0x00c36400, NULL), SHARED_STORAGE_COHERENT);
	assert_int_equal(shared_storage_kind(0xef53, NULL), SHARED_STORAGE_LOCAL);
	assert_int_equal(shared_storage_kind(0x65735546, "fuse.glusterfs"), SHARED_STORAGE_SHARED);
	assert_int_equal(shared_storage_kind(0x65735546, "fuse.sshfs"), SHARED_STORAGE_LOCAL);
	assert_int_equal(shared_storage_kind(0x65735546, NULL), SHARED_STORAGE_LOCAL);
}

static void believes_what_is_declared(void **state)
{
	char directory[] = "/tmp/virtnvme-shared-XXXXXX";
	char image[64], link[40], beside[64], declared[64];
	char *paths[] = { declared, NULL };

	assert_non_null(mkdtemp(directory));
	snprintf(image, sizeof(image), "%s/none.raw", directory);
	snprintf(beside, sizeof(beside), "%s-beside", directory);
	snprintf(link, sizeof(link), "%s-link", directory);
	snprintf(declared, sizeof(declared), "%s/", link);
	assert_int_equal(symlink(directory, link), 0);
	assert_int_equal(mkdir(beside, 0700), 0);

	shared_storage_init(NULL);
	assert_int_equal(shared_storage_of(image), SHARED_STORAGE_LOCAL);
	shared_storage_init(paths);
	assert_int_equal(shared_storage_of(image), SHARED_STORAGE_SHARED);
	assert_int_equal(shared_storage_of(link), SHARED_STORAGE_SHARED);
	/* Its name only begins like the other's. */
	assert_int_equal(shared_storage_of(beside), SHARED_STORAGE_LOCAL);

	unlink(link);
	rmdir(beside);
	rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_the_kinds_of_libvirt),
		cmocka_unit_test(believes_what_is_declared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
