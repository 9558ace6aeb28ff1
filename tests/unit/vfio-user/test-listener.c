// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "tests/unit/test.h"
#include "vfio-user/listener.h"

static char directory[] = "/tmp/vfio-user-listener-XXXXXX";
static struct sockaddr_un address = { .sun_family = AF_UNIX };

static int setup(void **state)
{
	strcpy(directory + sizeof(directory) - 7, "XXXXXX");
	assert_non_null(mkdtemp(directory));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", directory);
	return 0;
}

static int teardown(void **state)
{
	unlink(address.sun_path);
	return rmdir(directory);
}

static int client(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static bool exists(void)
{
	return access(address.sun_path, F_OK) == 0;
}

static void accepts_who_connects(void **state)
{
	struct vfio_user_listener *listener = vfio_user_listener_new(address.sun_path, NULL);
	int first, served;
	char byte;

	assert_non_null(listener);
	assert_int_equal(vfio_user_listener_accept(listener), -EAGAIN);
	first = client();
	served = vfio_user_listener_accept(listener);
	assert_true(served >= 0);
	assert_int_equal(write(first, "x", 1), 1);
	assert_int_equal(read(served, &byte, 1), 1);
	close(first);
	close(served);
	assert_true(exists());
	vfio_user_listener_free(listener);
	assert_false(exists());
}

static void replaces_a_dead_socket_but_not_a_live_one(void **state)
{
	int dead = socket(AF_UNIX, SOCK_STREAM, 0);
	struct vfio_user_listener *listener;
	struct error *err = NULL;

	assert_int_equal(bind(dead, (struct sockaddr *)&address, sizeof(address)), 0);
	close(dead);
	listener = vfio_user_listener_new(address.sun_path, NULL);
	assert_non_null(listener);
	assert_null(vfio_user_listener_new(address.sun_path, &err));
	assert_int_equal(err->code, EADDRINUSE);
	error_free(err);
	assert_true(exists());
	vfio_user_listener_free(listener);
}

static void leaves_a_file_alone(void **state)
{
	FILE *file = fopen(address.sun_path, "w");
	struct error *err = NULL;

	fclose(file);
	assert_null(vfio_user_listener_new(address.sun_path, &err));
	error_free(err);
	assert_true(exists());
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(accepts_who_connects),
		test(replaces_a_dead_socket_but_not_a_live_one),
		test(leaves_a_file_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
