// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/util.h"
#include "control/channel.h"
#include "keeper/listener.h"
#include "tests/unit/test.h"

static sd_event *loop;
static char directory[32], path[64], pidfile[64];
static struct peer peer;
static struct listener *listener;
static int accepted;
static unsigned accepts, gone;

static void on_accepted(void *opaque, int fd)
{
	accepted = fd;
	accepts++;
}

static void on_gone(void *opaque)
{
	gone++;
}

static void run(void)
{
	int i;

	for (i = 0; i < 20; i++)
		if (sd_event_run(loop, 2000) == 0)
			break;
}

static void start(const char *file)
{
	const struct listener_options options = {
		.path = path,
		.uid = geteuid(),
		.gid = getegid(),
		.peer = &peer,
		.accepted = on_accepted,
	};

	peer_init(&peer, loop, file, on_gone, NULL);
	listener = listener_new(loop, &options, NULL);
	assert_non_null(listener);
}

static int setup(void **state)
{
	accepted = -1;
	accepts = gone = 0;
	listener = NULL;
	strcpy(directory, "/tmp/test-listener.XXXXXX");
	if (!mkdtemp(directory) || sd_event_new(&loop) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/s", directory);
	snprintf(pidfile, sizeof(pidfile), "%s/pid", directory);
	return 0;
}

static int teardown(void **state)
{
	listener_free(listener);
	peer_done(&peer);
	if (accepted >= 0)
		close(accepted);
	sd_event_unref(loop);
	unlink(pidfile);
	return rmdir(directory); /* the socket's path must be gone */
}

static void write_pidfile(const char *text)
{
	FILE *file = fopen(pidfile, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static int connect_here(void)
{
	int fd = -1;

	assert_int_equal(control_connect(path, &fd), 0);
	return fd;
}

/* Has the other end closed? */
static bool is_closed(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void accepts_once(void **state)
{
	int first, second, none;

	start(NULL);
	first = connect_here();
	second = connect_here();
	run();
	assert_int_equal(accepts, 1);
	assert_true(listener_used(listener));
	assert_false(is_closed(first));
	assert_true(is_closed(second));
	assert_int_equal(control_connect(path, &none), -ENOENT);
	close(first);
	close(second);
}

static void is_for_the_owner_alone(void **state)
{
	struct stat st;

	start(NULL);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_uid, geteuid());
}

static void refuses_another_than_the_pid_file_says(void **state)
{
	static const char *const wrong[] = { "1\n", "", "x", "-1", "99999999999999" };
	char text[32];
	size_t i;
	int fd;

	start(pidfile);
	fd = connect_here(); /* there is no file */
	run();
	assert_true(is_closed(fd));
	close(fd);
	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		write_pidfile(wrong[i]);
		fd = connect_here();
		run();
		assert_int_equal(accepts, 0);
		assert_true(is_closed(fd));
		close(fd);
	}
	snprintf(text, sizeof(text), "%d\n", (int)getpid());
	write_pidfile(text);
	fd = connect_here();
	run();
	assert_int_equal(accepts, 1);
	assert_false(is_closed(fd));
	close(fd);
}

/* A child that connects and says how that went when it is told to go on. */
static pid_t connect_in_child(int *ret_control)
{
	int pair[2];
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	pid = fork();
	if (pid == 0) {
		int fd = -1;
		char byte;

		if (control_connect(path, &fd) < 0 || write(pair[1], "c", 1) != 1 ||
		    read(pair[1], &byte, 1) != 1)
			_exit(2);
		_exit(is_closed(fd));
	}
	close(pair[1]);
	*ret_control = pair[0];
	return pid;
}

static void the_first_process_is_the_domains(void **state)
{
	int control, fd, status;
	char byte;
	pid_t child;

	start(NULL);
	fd = connect_here();
	run();
	assert_int_equal(peer.pid, getpid());
	/* Another socket of the domain, another process. */
	listener_free(listener);
	accepts = 0;
	close(steal_fd(&accepted));
	{
		const struct listener_options options = {
			.path = path,
			.uid = geteuid(),
			.gid = getegid(),
			.peer = &peer,
			.accepted = on_accepted,
		};

		listener = listener_new(loop, &options, NULL);
	}
	child = connect_in_child(&control);
	assert_int_equal(read(control, &byte, 1), 1);
	run();
	assert_int_equal(accepts, 0);
	assert_int_equal(write(control, "g", 1), 1);
	waitpid(child, &status, 0);
	assert_int_equal(WEXITSTATUS(status), 1);
	close(control);
	close(fd);
}

static void tells_when_the_process_ends(void **state)
{
	int control;
	char byte;
	pid_t child;

	start(NULL);
	child = connect_in_child(&control);
	assert_int_equal(read(control, &byte, 1), 1);
	run();
	assert_int_equal(accepts, 1);
	assert_int_equal(gone, 0);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	run();
	assert_int_equal(gone, 1);
	close(control);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(accepts_once),
		TEST(is_for_the_owner_alone),
		TEST(refuses_another_than_the_pid_file_says),
		TEST(the_first_process_is_the_domains),
		TEST(tells_when_the_process_ends),
	};

	alarm(60); /* a wait for what never comes is a failure */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
