// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/unit/test.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>

#include "block/backend.h"
#include "block/ring.h"
#include "controller/io-thread.h"
#include "controller/polling.h"

/*
 * The threads with workers of our own: a worker has work when `doorbell` is not what it has seen.
 * A test that hangs is ended by SIGALRM.
 */
struct nvme_controller {
	unsigned doorbell, seen, polls; /* of thread 0; atomic */
	bool busy;			/* every poll finds work */
	int64_t wait_ns;		/* it wants to be woken up after that time; 0: not */
	bool looks;			/* nobody kicks it */
	bool fail_on_1;			/* thread 1 gets no worker */
	bool wont_sleep;		/* arming finds work, which a poll does not */
	void (*in_poll)(struct nvme_worker *worker);
	void (*in_arm)(struct nvme_worker *worker); /* after it has looked, as if just too late */
};

struct nvme_worker {
	struct nvme_controller *ctrl;
	struct block_ring *ring;
	unsigned index;
};

static unsigned workers;

struct nvme_worker *nvme_worker_new(struct nvme_controller *ctrl, unsigned index,
				    struct block_ring *ring)
{
	struct nvme_worker *worker;

	if (index == 1 && ctrl->fail_on_1)
		return NULL;
	worker = malloc(sizeof(*worker));
	*worker = (struct nvme_worker){ ctrl, ring, index };
	__atomic_add_fetch(&workers, 1, __ATOMIC_SEQ_CST);
	return worker;
}

void nvme_worker_free(struct nvme_worker *worker)
{
	__atomic_sub_fetch(&workers, 1, __ATOMIC_SEQ_CST);
	free(worker);
}

bool nvme_worker_poll(struct nvme_worker *worker)
{
	struct nvme_controller *ctrl = worker->ctrl;
	unsigned doorbell = LOAD_ACQUIRE(ctrl->doorbell);
	bool any = doorbell != ctrl->seen || ctrl->busy;

	if (worker->index)
		return false;
	if (any && ctrl->in_poll)
		ctrl->in_poll(worker);
	WRITE_ONCE(ctrl->polls, ctrl->polls + 1);
	STORE_RELEASE(ctrl->seen, doorbell);
	return any;
}

void nvme_worker_disarm(struct nvme_worker *worker)
{
}

bool nvme_worker_watches(const struct nvme_worker *worker)
{
	return true;
}

bool nvme_worker_looks(const struct nvme_worker *worker)
{
	return READ_ONCE(worker->ctrl->looks);
}

int64_t nvme_worker_wait(const struct nvme_worker *worker)
{
	return worker->ctrl->wait_ns ? worker->ctrl->wait_ns : -1;
}

bool nvme_worker_arm(struct nvme_worker *worker)
{
	struct nvme_controller *ctrl = worker->ctrl;
	bool nothing = LOAD_ACQUIRE(ctrl->doorbell) == ctrl->seen || worker->index;

	if (READ_ONCE(ctrl->wont_sleep))
		return false;
	if (!worker->index && nothing && ctrl->in_arm)
		ctrl->in_arm(worker);
	return nothing;
}

/* The rig */
static void sleep_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000L }, NULL);
}

/* What comes at all comes soon; who waits for what never comes leaves the processor to others. */
#define WAIT_UNTIL(condition)                                                                      \
	do {                                                                                       \
		unsigned turns_ = 0;                                                               \
		while (!(condition)) {                                                             \
			if (turns_++ < 100000)                                                     \
				sched_yield();                                                     \
			else                                                                       \
				sleep_ms(10);                                                      \
		}                                                                                  \
	} while (0)

static struct io_threads *threads;
static struct nvme_controller *ctrl;
static struct io_operation operation;
static unsigned done;

static void operation_done(struct io_operation *finished)
{
	done++;
}

static void control_turn(int timeout_ms)
{
	struct pollfd fd = { .fd = io_threads_control_fd(threads), .events = POLLIN };

	if (poll(&fd, 1, timeout_ms) > 0)
		io_threads_run_control(threads);
}

static void wait_done(unsigned count)
{
	while (done < count)
		control_turn(-1);
}

static int setup(void **state)
{
	alarm(20);
	done = 0;
	ctrl = calloc(1, sizeof(*ctrl));
	threads = io_threads_new(2, BLOCK_RING_AUTO, POLLING_MAX_US, NULL, NULL);
	assert_non_null(threads);
	io_threads_add(threads, &operation, ctrl, operation_done);
	wait_done(1);
	assert_false(operation.failed);
	assert_int_equal(workers, 2);
	return 0;
}

static int teardown(void **state)
{
	done = 0;
	io_threads_remove(threads, &operation, ctrl, operation_done);
	wait_done(1);
	assert_int_equal(workers, 0);
	io_threads_free(threads);
	free(ctrl);
	alarm(0);
	return 0;
}

static void ring_doorbell(void)
{
	__atomic_add_fetch(&ctrl->doorbell, 1, __ATOMIC_SEQ_CST);
	io_threads_kick(threads, 0);
}

static void wait_seen(void)
{
	WAIT_UNTIL(LOAD_ACQUIRE(ctrl->seen) == ctrl->doorbell);
}

/* Longer than any spin: the thread sleeps, but for what is being tested. */
static void let_it_sleep(void)
{
	sleep_ms(5);
}

static void wakes_for_each_doorbell(void **state)
{
	unsigned i, j;

	for (i = 0; i < 3000; i++) {
		ring_doorbell();
		wait_seen();
		for (j = 0; j < i % 300; j++)
			READ_ONCE(ctrl->seen);
	}
}

/* One wake-up for all of them. */
static void held_kicks_come_in_the_end(void **state)
{
	unsigned i;

	for (i = 0; i < 50; i++) {
		let_it_sleep();
		io_threads_hold_kicks(threads);
		ring_doorbell();
		ring_doorbell();
		io_threads_release_kicks(threads);
		wait_seen();
		ring_doorbell();
		wait_seen();
	}
}

static void kick_late(struct nvme_worker *worker)
{
	ctrl->in_arm = NULL;
	ring_doorbell();
}

/* The doorbell moves when the thread has just looked for the last time before it sleeps. */
static void a_late_kick_is_not_lost(void **state)
{
	unsigned i;

	for (i = 0; i < 50; i++) {
		unsigned before = READ_ONCE(ctrl->doorbell);

		ctrl->in_arm = kick_late;
		ring_doorbell();
		WAIT_UNTIL(READ_ONCE(ctrl->doorbell) == before + 2);
		wait_seen();
	}
}

/* Nobody kicks it. */
static void wakes_up_when_an_interrupt_is_due(void **state)
{
	unsigned polls;

	ctrl->wait_ns = 1000000;
	ring_doorbell();
	wait_seen();
	polls = READ_ONCE(ctrl->polls);
	while (READ_ONCE(ctrl->polls) < polls + 20)
		let_it_sleep();
}

static void looks_again_where_nobody_kicks(void **state)
{
	WRITE_ONCE(ctrl->looks, true);
	ring_doorbell();
	wait_seen();
	for (unsigned i = 0; i < 20; i++) {
		let_it_sleep();
		__atomic_add_fetch(&ctrl->doorbell, 1, __ATOMIC_SEQ_CST);
		wait_seen();
	}
}

static unsigned order[64];
static unsigned ordered;

struct numbered {
	struct nvme_host_call call;
	unsigned number;
};

static void note(struct nvme_host_call *call)
{
	order[ordered] = container_of(call, struct numbered, call)->number;
	STORE_RELEASE(ordered, ordered + 1);
}

static void calls_run_in_order(void **state)
{
	struct numbered calls[64];
	unsigned i;

	ordered = 0;
	for (i = 0; i < 64; i++) {
		calls[i] = (struct numbered){ .call = { .run = note }, .number = i };
		io_threads_call(threads, i < 32 ? 0 : NVME_HOST_CONTROL, &calls[i].call);
	}
	WAIT_UNTIL(LOAD_ACQUIRE(ordered) >= 32);
	control_turn(-1);
	assert_int_equal(ordered, 64);
	for (i = 0; i < 64; i++)
		assert_int_equal(order[i], i);
}

/* The thread has run the calls that were sent before, and what follows from them. */
static void two_rounds(void)
{
	struct numbered calls[2] = { { .call = { .run = note } }, { .call = { .run = note } } };
	unsigned i;

	ordered = 0;
	for (i = 0; i < 2; i++) {
		io_threads_call(threads, 0, &calls[i].call);
		WAIT_UNTIL(LOAD_ACQUIRE(ordered) != i);
	}
}

static struct numbered late;

static void call_late(struct nvme_worker *worker)
{
	ctrl->in_arm = NULL;
	late = (struct numbered){ .call = { .run = note } };
	io_threads_call(threads, 0, &late.call);
}

static void a_late_call_is_not_lost(void **state)
{
	ordered = 0;
	ctrl->in_arm = call_late;
	ring_doorbell();
	WAIT_UNTIL(LOAD_ACQUIRE(ordered));
}

static void nobody_polls_in_a_pause(void **state)
{
	unsigned i, polls;

	WRITE_ONCE(ctrl->busy, true);
	ring_doorbell();
	for (i = 0; i < 20; i++) {
		io_threads_pause(threads);
		io_threads_pause(threads);
		io_threads_resume(threads);
		polls = READ_ONCE(ctrl->polls);
		sleep_ms(1);
		assert_int_equal(READ_ONCE(ctrl->polls), polls);
		io_threads_resume(threads);
		WAIT_UNTIL(READ_ONCE(ctrl->polls) != polls);
	}
	WRITE_ONCE(ctrl->busy, false);
}

static void a_sleeper_that_is_woken_waits_for_the_end_of_the_pause(void **state)
{
	unsigned seen;

	let_it_sleep();
	io_threads_pause(threads);
	seen = ctrl->seen;
	ring_doorbell();
	sleep_ms(5);
	assert_int_equal(READ_ONCE(ctrl->seen), seen);
	io_threads_resume(threads);
	wait_seen();
}

static bool in_wait, end_wait, left_wait;

static void wait_for_client(struct nvme_worker *worker)
{
	io_threads_wait_enter(NULL);
	STORE_RELEASE(in_wait, true);
	WAIT_UNTIL(LOAD_ACQUIRE(end_wait));
	io_threads_wait_leave(NULL);
	STORE_RELEASE(left_wait, true);
}

static void a_wait_for_the_client_is_a_pause_point(void **state)
{
	in_wait = end_wait = left_wait = false;
	ctrl->in_poll = wait_for_client;
	ring_doorbell();
	WAIT_UNTIL(LOAD_ACQUIRE(in_wait));
	io_threads_pause(threads);
	STORE_RELEASE(end_wait, true);
	sleep_ms(5);
	assert_false(LOAD_ACQUIRE(left_wait));
	io_threads_resume(threads);
	wait_seen();
	assert_true(left_wait);
	ctrl->in_poll = NULL;
}

/* A disk that answers when we want: a pipe. Only io_uring reads one at an offset. */
struct slow {
	struct block block;
	int pipe[2];
	struct block_request request;
	struct iovec iov;
	char byte;
	unsigned completed;
};

static void slow_submit(struct block *block, struct block_ring *ring, struct block_request *request)
{
	block_ring_execute(ring, request);
}

static void slow_prepare(struct block_request *request, struct block_call *call)
{
	struct slow *slow = container_of(request, struct slow, request);

	*call = (struct block_call){ .kind = BLOCK_CALL_READ,
				     .fd = slow->pipe[0],
				     .iov = &slow->iov,
				     .iovcnt = 1,
				     .may_block = true,
				     .scratch = call->scratch };
}

static bool slow_advance(struct block_request *request, int result)
{
	request->priv.result = result < 0 ? result : 0;
	return true;
}

static void slow_done(struct block_request *request, int result)
{
	struct slow *slow = container_of(request, struct slow, request);

	STORE_RELEASE(slow->completed, slow->completed + 1);
}

static const struct block_ops slow_ops = { .submit = slow_submit,
					   .prepare = slow_prepare,
					   .advance = slow_advance };

static struct slow slow[2];
static unsigned submitted;

static void submit_next(struct nvme_worker *worker)
{
	struct slow *one = &slow[submitted];

	one->request = (struct block_request){
		.op = BLOCK_READ, .bytes = 1, .iov = &one->iov, .iovcnt = 1, .done = slow_done
	};
	one->request.priv.block = &one->block;
	one->request.priv.ring = worker->ring;
	slow_ops.submit(&one->block, worker->ring, &one->request);
	STORE_RELEASE(submitted, submitted + 1);
}

static void slow_start(void)
{
	unsigned i;

	for (i = 0; i < 2; i++) {
		slow[i] = (struct slow){ .block = { .ops = &slow_ops } };
		slow[i].iov = (struct iovec){ &slow[i].byte, 1 };
		assert_int_equal(pipe(slow[i].pipe), 0);
	}
	submitted = 0;
	ctrl->in_poll = submit_next;
}

static void slow_submit_one(void)
{
	unsigned before = submitted;

	ring_doorbell();
	WAIT_UNTIL(LOAD_ACQUIRE(submitted) != before);
	wait_seen();
}

static void slow_answer(struct slow *one)
{
	assert_int_equal(write(one->pipe[1], "x", 1), 1);
	WAIT_UNTIL(LOAD_ACQUIRE(one->completed));
}

static void slow_end(void)
{
	unsigned i;

	ctrl->in_poll = NULL;
	for (i = 0; i < 2; i++) {
		close(slow[i].pipe[0]);
		close(slow[i].pipe[1]);
	}
}

static bool no_uring(void)
{
	struct block_ring *ring = block_ring_new(BLOCK_RING_URING, 1, NULL);
	bool missing = !ring;

	block_ring_free(ring);
	if (missing)
		fprintf(stderr, "not tested: io_uring is not available\n");
	return missing;
}

static void a_pause_does_not_wait_for_the_disk(void **state)
{
	if (no_uring())
		return;
	slow_start();
	slow_submit_one();
	io_threads_pause(threads);
	assert_int_equal(slow[0].completed, 0);
	io_threads_resume(threads);
	slow_answer(&slow[0]);
	slow_end();
}

static void what_is_in_flight_is_waited_for_and_nothing_later(void **state)
{
	struct io_operation wait;

	if (no_uring())
		return;
	slow_start();
	slow_submit_one();
	done = 0;
	io_threads_after_in_flight(threads, &wait, operation_done);
	two_rounds();
	control_turn(5);
	assert_int_equal(done, 0);
	slow_submit_one();
	control_turn(5);
	assert_int_equal(done, 0);
	slow_answer(&slow[0]);
	wait_done(1);
	assert_int_equal(slow[1].completed, 0);
	/* And again, for the second. */
	io_threads_after_in_flight(threads, &wait, operation_done);
	control_turn(5);
	assert_int_equal(done, 1);
	slow_answer(&slow[1]);
	wait_done(2);
	slow_end();
}

static unsigned submit_calls; /* atomic */
struct io_uring;
int __real_io_uring_submit(struct io_uring *io);
int __wrap_io_uring_submit(struct io_uring *io);

int __wrap_io_uring_submit(struct io_uring *io)
{
	__atomic_add_fetch(&submit_calls, 1, __ATOMIC_SEQ_CST);
	return __real_io_uring_submit(io);
}

static void who_sleeps_submits_with_the_same_call(void **state)
{
	if (no_uring())
		return;
	slow_start();
	submit_calls = 0;
	slow_submit_one();
	slow_answer(&slow[0]);
	assert_int_equal(__atomic_load_n(&submit_calls, __ATOMIC_SEQ_CST), 0);
	slow_end();
}

static void submit_once(struct nvme_worker *worker)
{
	if (!submitted)
		submit_next(worker);
}

static void what_is_submitted_does_not_wait_for_a_quiet_moment(void **state)
{
	if (no_uring())
		return;
	slow_start();
	ctrl->in_poll = submit_once;
	WRITE_ONCE(ctrl->busy, true);
	slow_submit_one();
	slow_answer(&slow[0]);
	WRITE_ONCE(ctrl->busy, false);
	two_rounds();
	slow_end();
}

static void nor_for_a_sleep_that_does_not_come(void **state)
{
	if (no_uring())
		return;
	slow_start();
	WRITE_ONCE(ctrl->wont_sleep, true);
	slow_submit_one();
	slow_answer(&slow[0]);
	WRITE_ONCE(ctrl->wont_sleep, false);
	slow_end();
}

static void a_worker_that_cannot_be_made_is_told(void **state)
{
	struct nvme_controller other = { .fail_on_1 = true };
	struct io_operation adding;

	done = 0;
	io_threads_add(threads, &adding, &other, operation_done);
	wait_done(1);
	assert_true(adding.failed);
	io_threads_remove(threads, &adding, &other, operation_done);
	wait_done(2);
	assert_int_equal(workers, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(wakes_for_each_doorbell, setup, teardown),
		cmocka_unit_test_setup_teardown(held_kicks_come_in_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(a_late_kick_is_not_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(wakes_up_when_an_interrupt_is_due, setup, teardown),
		cmocka_unit_test_setup_teardown(looks_again_where_nobody_kicks, setup, teardown),
		cmocka_unit_test_setup_teardown(calls_run_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(a_late_call_is_not_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_polls_in_a_pause, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_sleeper_that_is_woken_waits_for_the_end_of_the_pause, setup, teardown),
		cmocka_unit_test_setup_teardown(a_wait_for_the_client_is_a_pause_point, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_pause_does_not_wait_for_the_disk, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_is_in_flight_is_waited_for_and_nothing_later,
						setup, teardown),
		cmocka_unit_test_setup_teardown(who_sleeps_submits_with_the_same_call, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_is_submitted_does_not_wait_for_a_quiet_moment,
						setup, teardown),
		cmocka_unit_test_setup_teardown(nor_for_a_sleep_that_does_not_come, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_worker_that_cannot_be_made_is_told, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
