// SPDX-License-Identifier: LGPL-2.1-or-later
/* What both kinds of ring promise: kicks, timeouts, order of calls, and the choice between them. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "block/backend.h"
#include "tests/unit/block/image.h"
#include "tests/unit/test.h"

#define MS 1000000ULL
/* A wait as long as this has lost its kick. */
#define LOST (5000 * MS)

static struct block_ring *ring;
static struct block *block;
static char *path;

static int setup_kind(enum block_ring_kind kind, unsigned depth)
{
	path = image_make(false, 1 * MiB);
	block = image_block(path, BLOCK_CACHE_WRITEBACK);
	ring = block_ring_new(kind, depth, NULL);
	return ring ? 0 : -1;
}

static int setup_uring(void **state)
{
	return setup_kind(BLOCK_RING_AUTO, 4);
}

static int setup_threads(void **state)
{
	return setup_kind(BLOCK_RING_THREADS, 4);
}

static int teardown(void **state)
{
	block_ring_free(ring);
	block_close(block);
	image_remove(path);
	return 0;
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static void wait_ends_at_the_timeout(void **state)
{
	uint64_t start = now();

	block_ring_wait(ring, 50 * MS);
	assert_in_range(now() - start, 49 * MS, 5000 * MS);
	start = now();
	block_ring_wait(ring, 0);
	assert_in_range(now() - start, 0, 1000 * MS);
}

static void a_kick_before_the_wait_is_not_lost(void **state)
{
	uint64_t start = now();

	block_ring_kick(ring);
	block_ring_kick(ring);
	block_ring_wait(ring, LOST);
	assert_in_range(now() - start, 0, LOST - 1);
	/* Used up: the next one sleeps. It may have been announced twice, not more. */
	block_ring_wait(ring, 20 * MS);
	block_ring_wait(ring, 20 * MS);
	assert_in_range(now() - start, 19 * MS, 5000 * MS);
}

static unsigned completed;

static void count_done(struct block_request *request, int result)
{
	assert_int_equal(result, 0);
	completed++;
}

/* The kick comes after the caller looked at its own work, and is among what it then collects. */
static void a_kick_before_the_reap_is_not_lost(void **state)
{
	char byte = 'x';
	struct iovec iov = { &byte, 1 };
	uint64_t start;
	unsigned i;

	for (i = 0; i < 50; i++) {
		struct block_request request = {
			.op = BLOCK_READ, .bytes = 1, .iov = &iov, .iovcnt = 1, .done = count_done
		};

		/* Arms what there is to arm. */
		block_ring_wait(ring, 0);
		completed = 0;
		block_submit(block, ring, &request);
		block_ring_kick(ring);
		block_ring_flush(ring);
		while (!completed) {
			block_ring_reap(ring);
			sched_yield();
		}
		start = now();
		block_ring_wait(ring, LOST);
		assert_in_range(now() - start, 0, LOST - 1);
	}
}

struct ping {
	pthread_t thread;
	struct block_ring *ring;
	unsigned sent;	   /* atomic */
	unsigned received; /* atomic */
	unsigned rounds;
	bool stop; /* atomic */
};

static void *kick_away(void *arg)
{
	struct ping *ping = arg;
	unsigned i;

	for (i = 1; i <= ping->rounds && !LOAD_ACQUIRE(ping->stop); i++) {
		STORE_RELEASE(ping->sent, i);
		block_ring_kick(ping->ring);
		while (LOAD_ACQUIRE(ping->received) != i && !LOAD_ACQUIRE(ping->stop))
			sched_yield();
	}
	return NULL;
}

/* Each kick is answered before the next one is made. */
static void kicks_from_another_thread_all_arrive(void **state)
{
	struct ping ping = { .ring = ring, .rounds = 3000 };
	unsigned seen = 0, lost = 0;
	char byte = 0;

	assert_int_equal(pthread_create(&ping.thread, NULL, kick_away, &ping), 0);
	while (seen < ping.rounds && !lost) {
		uint64_t start;

		if (LOAD_ACQUIRE(ping.sent) != seen) {
			seen = LOAD_ACQUIRE(ping.sent);
			/* I/O in between, so that kicks arrive at all sorts of moments. */
			if (seen % 7 == 0)
				assert_int_equal(
					transfer(ring, block, BLOCK_READ, 0, seen, &byte, 1), 0);
			STORE_RELEASE(ping.received, seen);
			continue;
		}
		block_ring_reap(ring);
		start = now();
		block_ring_wait(ring, LOST);
		lost += now() - start >= LOST;
	}
	STORE_RELEASE(ping.stop, true);
	pthread_join(ping.thread, NULL);
	assert_int_equal(lost, 0);
}

static volatile sig_atomic_t signalled;

static void kick_from_signal(int number)
{
	signalled = 1;
	block_ring_kick(ring);
}

static void a_signal_handler_may_kick(void **state)
{
	const struct itimerspec soon = { .it_value.tv_nsec = 20 * MS };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	uint64_t start = now();
	timer_t timer;

	signalled = 0;
	signal(SIGUSR1, kick_from_signal);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	assert_int_equal(timer_settime(timer, 0, &soon, NULL), 0);
	/* However late the signal comes, before this look or after it. */
	while (!signalled)
		block_ring_wait(ring, LOST);
	assert_in_range(now() - start, 0, LOST - 1);
	timer_delete(timer);
	signal(SIGUSR1, SIG_DFL);
}

/* More requests than the ring is deep, each of which submits another one from done(). */
struct chain {
	struct block_request request;
	struct iovec iov;
	uint8_t data[512];
	unsigned left;
};

static void next_link(struct block_request *request, int result)
{
	struct chain *chain = container_of(request, struct chain, request);

	assert_int_equal(result, 0);
	completed++;
	if (--chain->left)
		block_submit(block, ring, request);
}

static void takes_more_than_its_depth(void **state)
{
	static struct chain chains[64];
	unsigned i, reaped = 0;

	completed = 0;
	for (i = 0; i < ARRAY_SIZE(chains); i++) {
		chains[i].left = 5;
		chains[i].iov = (struct iovec){ chains[i].data, sizeof(chains[i].data) };
		chains[i].request = (struct block_request){ .op = i % 3 ? BLOCK_WRITE : BLOCK_READ,
							    .offset = i * 512,
							    .bytes = 512,
							    .iov = &chains[i].iov,
							    .iovcnt = 1,
							    .done = next_link };
		block_submit(block, ring, &chains[i].request);
		assert_int_equal(block_ring_in_flight(ring), i + 1);
	}
	assert_int_equal(completed, 0);
	while (block_ring_in_flight(ring)) {
		block_ring_wait(ring, -1);
		reaped += block_ring_reap(ring);
	}
	assert_int_equal(completed, 5 * ARRAY_SIZE(chains));
	assert_int_equal(reaped, completed);
	assert_int_equal(block_ring_reap(ring), 0);
}

/* A polling caller: one flush, then only reap(). What waits inside the ring goes on by itself. */
static void needs_no_flush_for_what_waits_inside(void **state)
{
	static struct chain chains[32];
	uint64_t start = now();
	unsigned i;

	completed = 0;
	for (i = 0; i < ARRAY_SIZE(chains); i++) {
		chains[i].left = 1;
		chains[i].iov = (struct iovec){ chains[i].data, sizeof(chains[i].data) };
		chains[i].request = (struct block_request){ .op = BLOCK_READ,
							    .offset = i * 512,
							    .bytes = 512,
							    .iov = &chains[i].iov,
							    .iovcnt = 1,
							    .done = next_link };
		block_submit(block, ring, &chains[i].request);
	}
	block_ring_flush(ring);
	while (completed < ARRAY_SIZE(chains) && now() - start < 5000 * MS) {
		block_ring_reap(ring);
		sched_yield();
	}
	assert_int_equal(completed, ARRAY_SIZE(chains));
}

static unsigned given; /* to the kernel */
struct io_uring;
int __real_io_uring_submit(struct io_uring *io);
int __wrap_io_uring_submit(struct io_uring *io);

int __wrap_io_uring_submit(struct io_uring *io)
{
	int ret = __real_io_uring_submit(io);

	given += MAX(ret, 0);
	return ret;
}

/* A disk that has little to do gets all at once, but for one that is alone; else it gets four at a time. */
static void little_waits_for_more(void **state)
{
	static const unsigned expected[] = { 0, 2, 3, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12 };
	static struct chain chains[ARRAY_SIZE(expected)];
	struct block_ring *deep = block_ring_new(BLOCK_RING_AUTO, 64, NULL);
	unsigned i;

	if (block_ring_kind(deep) != BLOCK_RING_URING) {
		block_ring_free(deep);
		SKIP("no io_uring here");
	}
	completed = given = 0;
	for (i = 0; i < ARRAY_SIZE(chains); i++) {
		chains[i].left = 1;
		chains[i].iov = (struct iovec){ chains[i].data, sizeof(chains[i].data) };
		chains[i].request = (struct block_request){ .op = BLOCK_READ,
							    .bytes = sizeof(chains[i].data),
							    .iov = &chains[i].iov,
							    .iovcnt = 1,
							    .done = next_link };
		block_submit(block, deep, &chains[i].request);
		assert_int_equal(given, expected[i]);
	}
	block_ring_flush(deep);
	assert_int_equal(given, ARRAY_SIZE(chains));
	while (block_ring_in_flight(deep)) {
		block_ring_wait(deep, -1);
		block_ring_reap(deep);
	}
	assert_int_equal(completed, ARRAY_SIZE(chains));
	block_ring_free(deep);
}

static void errors_found_at_once_are_done_at_once(void **state)
{
	char byte = 0;
	struct iovec iov = { &byte, 1 };

	assert_int_equal(run(ring, block,
			     (struct block_request){ .op = BLOCK_READ,
						     .offset = 1 * MiB,
						     .bytes = 1,
						     .iov = &iov,
						     .iovcnt = 1 }),
			 -EINVAL);
	assert_int_equal(block_ring_in_flight(ring), 0);
}

/* As RHEL, containers and kernel.io_uring_disabled do it. */
static int without_io_uring(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_SIZE(code), code };
	_cleanup_error_ struct error *err = NULL;
	struct block_ring *fallback;
	char byte;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		return 77;
	if (block_ring_new(BLOCK_RING_URING, 4, &err) || !err || err->code != EPERM)
		return 1;
	fallback = block_ring_new(BLOCK_RING_AUTO, 4, NULL);
	if (!fallback || block_ring_kind(fallback) != BLOCK_RING_THREADS)
		return 2;
	if (transfer(fallback, block, BLOCK_READ, 0, 0, &byte, 1) != 0)
		return 3;
	block_ring_free(fallback);
	return 0;
}

static void auto_falls_back_to_threads(void **state)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(without_io_uring());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		SKIP("no seccomp filters here");
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Every system call but the last is deadly. */
static int idle_without_system_calls(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_SIZE(code), code };
	enum block_ring_kind kind = block_ring_kind(ring);
	unsigned i;
	char byte;

	ring = block_ring_new(kind, 4, NULL);
	if (transfer(ring, block, BLOCK_READ, 0, 0, &byte, 1) != 0)
		return 1;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		return 77;
	for (i = 0; i < 1000; i++) {
		block_ring_flush(ring);
		block_ring_reap(ring);
	}
	syscall(SYS_exit_group, 0);
	return 2;
}

static void costs_no_system_call_when_idle(void **state)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(idle_without_system_calls());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		SKIP("no seccomp filters here");
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void says_which_kind_it_is(void **state)
{
	struct block_ring *one;

	assert_int_not_equal(block_ring_kind(ring), BLOCK_RING_AUTO);
	one = block_ring_new(BLOCK_RING_THREADS, 1, NULL);
	assert_int_equal(block_ring_kind(one), BLOCK_RING_THREADS);
	block_ring_free(one);
	one = block_ring_new(BLOCK_RING_URING, 1, NULL);
	if (!one)
		SKIP("no io_uring here: everything above ran on threads");
	assert_int_equal(block_ring_kind(one), BLOCK_RING_URING);
	block_ring_free(one);
}

#define BOTH(test)                                                                                 \
	{ #test " (io_uring)", test, setup_uring, teardown, NULL },                                \
	{                                                                                          \
#test " (threads)", test, setup_threads, teardown, NULL                            \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(wait_ends_at_the_timeout),
		BOTH(a_kick_before_the_wait_is_not_lost),
		BOTH(a_kick_before_the_reap_is_not_lost),
		BOTH(kicks_from_another_thread_all_arrive),
		BOTH(a_signal_handler_may_kick),
		BOTH(takes_more_than_its_depth),
		BOTH(needs_no_flush_for_what_waits_inside),
		BOTH(errors_found_at_once_are_done_at_once),
		cmocka_unit_test_setup_teardown(little_waits_for_more, setup_uring, teardown),
		cmocka_unit_test_setup_teardown(auto_falls_back_to_threads, setup_uring, teardown),
		BOTH(costs_no_system_call_when_idle),
		BOTH(says_which_kind_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
