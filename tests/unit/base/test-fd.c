// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/util.h"
#include "tests/unit/test.h"

static int pair[2];

static int setup(void **state)
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
}

static int teardown(void **state)
{
	close(pair[0]);
	close(pair[1]);
	return 0;
}

static void passes_descriptors(void **state)
{
	_cleanup_close_ int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	char byte = 'x';
	struct iovec iov = { &byte, 1 };
	int got[2];
	size_t count;

	assert_int_equal(fd_send(pair[0], &iov, 1, &event, 1, 0), 1);
	assert_int_equal(fd_receive(pair[1], &iov, 1, got, 2, &count, 0), 1);
	assert_int_equal(count, 1);
	fd_eventfd_signal(got[0]);
	assert_true(fd_eventfd_drain(event));
	assert_false(fd_eventfd_drain(event));
	assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	close(got[0]);
}

static void keeps_none_when_too_many(void **state)
{
	int fds[3] = { pair[0], pair[0], pair[0] }, got[2], before, after;
	char byte = 'x';
	struct iovec iov = { &byte, 1 };
	size_t count;

	before = dup(0);
	close(before);
	assert_int_equal(fd_send(pair[0], &iov, 1, fds, 3, 0), 1);
	assert_int_equal(fd_receive(pair[1], &iov, 1, got, 2, &count, 0), -EMSGSIZE);
	after = dup(0);
	close(after);
	assert_int_equal(before, after);
}

static void reads_all_up_to_a_limit(void **state)
{
	_cleanup_free_ char *data = NULL;
	size_t len;

	assert_int_equal(fd_write_full(pair[0], "hello", 5), 0);
	shutdown(pair[0], SHUT_WR);
	assert_int_equal(fd_read_all(pair[1], 5, &data, &len), 0);
	assert_int_equal(len, 5);
	assert_string_equal(data, "hello");
}

static void refuses_more_than_the_limit(void **state)
{
	char *data = NULL;
	size_t len;

	assert_int_equal(fd_write_full(pair[0], "hello", 5), 0);
	shutdown(pair[0], SHUT_WR);
	assert_int_equal(fd_read_all(pair[1], 4, &data, &len), -EFBIG);
	assert_null(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(passes_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(keeps_none_when_too_many, setup, teardown),
		cmocka_unit_test_setup_teardown(reads_all_up_to_a_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_more_than_the_limit, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
