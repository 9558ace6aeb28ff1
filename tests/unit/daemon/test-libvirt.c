// SPDX-License-Identifier: LGPL-2.1-or-later
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"
#include "daemon/libvirt.h"
#include "tests/unit/test.h"

/* A libvirtd that takes the call and says nothing more: what counts is when it is called. */
static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void *want_connection(void *opaque)
{
	return libvirt_connection_wait(opaque);
}

static void a_request_wakes_the_connection(void **state)
{
	char directory[] = "/tmp/virtnvme-libvirt-XXXXXX";
	_cleanup_error_ struct error *err = NULL;
	struct pollfd called = { .events = POLLIN };
	char path[64], uri[128];
	pthread_t asker;
	void *conn;

	signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/s", directory);
	snprintf(uri, sizeof(uri), "qemu+unix:///system?socket=%s", path);
	assert_int_equal(libvirt_start(uri, NULL), 0);
	/* Attempts after 0, 100, 300, 700, 1500 and 3100 ms; the next one would be at 6300. */
	usleep(3600 * 1000);
	called.fd = listen_at(path);
	assert_int_equal(poll(&called, 1, 500), 0);
	assert_int_equal(pthread_create(&asker, NULL, want_connection, &err), 0);
	assert_int_equal(poll(&called, 1, 1000), 1);
	close(accept(called.fd, NULL, NULL));
	close(called.fd);
	unlink(path);
	rmdir(directory);
	pthread_join(asker, &conn);
	assert_null(conn);
	assert_non_null(strstr(error_message(err), "no connection to libvirt"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_wakes_the_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
