// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "block/block.h"
#include "controller/sandbox.h"

/* Each in a process of its own: there is no way back out. */
static int in_a_child(int (*run)(void))
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0)
		_exit(run());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int enter(void)
{
	const struct sandbox_options options = {};

	return sandbox_enter(&options, NULL);
}

static void *nothing(void *opaque)
{
	return opaque;
}

#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x))                                                                          \
			return __LINE__ % 255 + 1;                                                 \
	} while (0)

#if defined(HAVE_LIBSECCOMP) && !defined(__SANITIZE_ADDRESS__)
static int refuses(void)
{
	int fd = open("/dev/null", O_RDWR), other;
	cpu_set_t cpus;

	CHECK(sched_getaffinity(0, sizeof(cpus), &cpus) == 0);
	CHECK(fd >= 0 && enter() == 0);
	other = open("/dev/null", O_RDWR);
	CHECK(other < 0 && errno == EPERM);
	CHECK(socket(AF_UNIX, SOCK_STREAM, 0) < 0 && errno == EPERM);
	CHECK(socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == EPERM);
	CHECK(execl("/bin/true", "true", NULL) < 0 && errno == EPERM);
	CHECK(fork() < 0 || errno == EPERM);
	CHECK(kill(getppid(), 0) < 0 && errno == EPERM);
	/* Where it runs itself it may say. */
	CHECK(sched_setaffinity(getppid(), sizeof(cpus), &cpus) < 0 && errno == EPERM);
	CHECK(sched_setaffinity(0, sizeof(cpus), &cpus) == 0);
	CHECK(unlink("/nothing") < 0 && errno == EPERM);
	CHECK(write(fd, "x", 1) == 1);
	return 0;
}
#endif

static int allows(void)
{
	struct block_ring *ring;
	pthread_t thread;
	void *memory;

	CHECK(enter() == 0);
	CHECK(pthread_create(&thread, NULL, nothing, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED && munmap(memory, 1 << 20) == 0);
	ring = block_ring_new(BLOCK_RING_AUTO, 8, NULL);
	CHECK(ring);
	block_ring_kick(ring);
	block_ring_wait(ring, -1);
	block_ring_free(ring);
	ring = block_ring_new(BLOCK_RING_THREADS, 8, NULL);
	CHECK(ring);
	block_ring_free(ring);
	return 0;
}

static int unlinks(void)
{
	const struct sandbox_options options = { .may_unlink = true };

	CHECK(sandbox_enter(&options, NULL) == 0);
	CHECK(unlinkat(AT_FDCWD, "nothing", 0) < 0 && errno != EPERM);
	return 0;
}

static int closes(void)
{
	int fds[3], i;

	for (i = 0; i < 3; i++)
		fds[i] = dup(2);
	sandbox_close_inherited(fds[1]);
	CHECK(fcntl(fds[0], F_GETFD) < 0 && fcntl(fds[2], F_GETFD) < 0);
	CHECK(fcntl(fds[1], F_GETFD) == FD_CLOEXEC);
	sandbox_close_inherited(-1);
	CHECK(fcntl(fds[1], F_GETFD) < 0 && fcntl(2, F_GETFD) >= 0);
	return 0;
}

static int knows_users(void)
{
	const struct sandbox_options options = { .user = "nobody-has-this-name" };
	_cleanup_error_ struct error *err = NULL;

	CHECK(sandbox_enter(&options, &err) < 0);
	CHECK(strstr(error_message(err), options.user));
	return 0;
}

static int becomes_a_user(void)
{
	const struct sandbox_options options = { .user = "nobody" };
	uid_t real, effective, saved;

	CHECK(sandbox_enter(&options, NULL) == 0);
	/* The calls that would tell are not allowed either: what matters is that there is no way
	 * back. */
	if (getresuid(&real, &effective, &saved) == 0)
		CHECK(real && effective && saved);
	CHECK(setuid(0) < 0);
	return 0;
}

#if defined(HAVE_LIBSECCOMP) && !defined(__SANITIZE_ADDRESS__)
static void refuses_what_a_guest_must_not_reach(void **state)
{
	assert_int_equal(in_a_child(refuses), 0);
}
#endif

static void allows_what_serving_disks_needs(void **state)
{
	assert_int_equal(in_a_child(allows), 0);
}

static void may_unlink_where_told(void **state)
{
	assert_int_equal(in_a_child(unlinks), 0);
}

static void closes_what_was_inherited(void **state)
{
	assert_int_equal(in_a_child(closes), 0);
}

static void an_unknown_user_is_named(void **state)
{
	assert_int_equal(in_a_child(knows_users), 0);
}

static void gives_up_root(void **state)
{
	if (geteuid() == 0)
		assert_int_equal(in_a_child(becomes_a_user), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#if defined(HAVE_LIBSECCOMP) && !defined(__SANITIZE_ADDRESS__)
		cmocka_unit_test(refuses_what_a_guest_must_not_reach),
#endif
		cmocka_unit_test(allows_what_serving_disks_needs),
		cmocka_unit_test(may_unlink_where_told),
		cmocka_unit_test(closes_what_was_inherited),
		cmocka_unit_test(an_unknown_user_is_named),
		cmocka_unit_test(gives_up_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
