// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/io-thread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/i18n.h"
#include "base/log.h"
#include "controller/mailbox.h"
#include "controller/pinning.h"
#include "controller/polling.h"

/*
 * Theory of operation
 *
 * An I/O thread runs calls, reaps what is done and polls its workers, as long as any of that finds
 * work. When nothing does, it goes on looking for as long as it has learned that this pays
 * (polling.h), then it sleeps in its ring, without a timeout unless an interrupt is due later,
 * commands wait for their turn or doorbells are mapped: else an idle process never wakes up.
 *
 * What the workers have submitted is given to the kernel one round later: when that round finds
 * nothing and the thread sleeps, submission and sleep are one system call; when it finds more, more
 * is given at once. No request waits longer than for the round after its own, and never for more
 * than a few others (block/ring-uring.c).
 *
 * Not losing a kick. The thread says `asleep`, then (full fence) looks once more at everything that
 * a kick could be about: the mailbox, and by nvme_worker_arm() the doorbells. A kicker stores its
 * news first, then (full fence) looks at `asleep`. One of the two sees the other.
 *
 * Standing. The control thread may change what the workers read (the DMA map, eventfds) only while
 * all threads stand at a pause point. `standing` is true while a thread sleeps in its ring, waits
 * for the client in the middle of a poll, or is held. Leaving such a place is the same handshake as
 * above: the thread clears `standing`, then looks at `paused`; the control thread sets `paused`,
 * then looks at `standing`. So sleepers are not woken for a pause, and a thread at work notices it
 * after the current poll, whatever its requests in flight are doing.
 */

/* Depth of a ring: what all queues of a thread may usefully have in flight; more waits inside. */
#define RING_DEPTH 256

/* While nobody tells of a guest's doorbells: asleep for a quarter of the time that nothing came, so
 * that what comes then waits for at most so much of it; and never longer than the last. */
#define LOOK_PART   4
#define LOOK_MIN_NS 5000
#define LOOK_MAX_NS 1000000

/* Rounds without work before the first look at the clock, which costs as much as a round. */
#define ROUNDS 16

struct io_thread {
	struct io_threads *threads;
	unsigned index;
	pthread_t thread;
	pid_t tid;
	cpu_set_t pin; /* empty: none */
	struct block_ring *ring;

	/* Written by others. */
	struct mailbox calls __attribute__((aligned(64)));
	bool asleep;
	uint64_t kicked_at; /* 0: not since it was last looked at */
	bool stop;
	bool standing; /* own, read by the control thread */

	/* Own. */
	struct nvme_worker *workers[IO_THREADS_MAX_DEVICES] __attribute__((aligned(64)));
	struct nvme_controller *controllers[IO_THREADS_MAX_DEVICES]; /* whose worker it is */
	unsigned worker_count;
	/* The ring counts one mark at a time, and devices ask independently: who asks while it counts
	 * waits for the next. */
	struct io_part *marked, *to_mark;
	struct polling polling;
	enum polling_for polling_for;
	bool was_busy; /* the last round found work: what it submitted may not be flushed */
	unsigned empty_rounds;
	uint64_t idle_since; /* 0: at work, or idle for a few rounds only */
};

struct io_threads {
	unsigned count;
	enum block_ring_kind kind;
	unsigned poll_max_us;
	unsigned pause_depth; /* the control thread's */
	bool paused;
	pthread_mutex_t lock; /* only around the two conditions */
	pthread_cond_t stood, resumed;
	struct mailbox control_calls;
	int control_fd;

	unsigned started; /* under lock, while starting */
	struct error *start_error;
	struct io_thread thread[];
};

static __thread struct io_thread *current;
static __thread struct io_threads *holder; /* whose kicks this thread holds back */
static __thread uint32_t held_kicks;	   /* of which threads */
_Static_assert(IO_THREADS_MAX <= 32, "held_kicks");

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield");
#endif
}

/*
 * Standing
 */

/* From here on the control thread may change the world. */
static void stand(struct io_thread *thread)
{
	struct io_threads *threads = thread->threads;

	__atomic_store_n(&thread->standing, true, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (READ_ONCE(threads->paused)) {
		pthread_mutex_lock(&threads->lock);
		pthread_cond_signal(&threads->stood);
		pthread_mutex_unlock(&threads->lock);
	}
}

/* Stay while a pause is on. */
static void hold(struct io_thread *thread)
{
	struct io_threads *threads = thread->threads;

	pthread_mutex_lock(&threads->lock);
	while (threads->paused) {
		WRITE_ONCE(thread->standing, true);
		pthread_cond_signal(&threads->stood);
		pthread_cond_wait(&threads->resumed, &threads->lock);
	}
	WRITE_ONCE(thread->standing, false);
	pthread_mutex_unlock(&threads->lock);
}

static void walk_on(struct io_thread *thread)
{
	WRITE_ONCE(thread->standing, false);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (LOAD_ACQUIRE(thread->threads->paused))
		hold(thread);
}

void io_threads_wait_enter(void *unused)
{
	stand(current);
}

void io_threads_wait_leave(void *unused)
{
	walk_on(current);
}

void io_threads_pause(struct io_threads *threads)
{
	unsigned i;

	if (threads->pause_depth++)
		return;
	pthread_mutex_lock(&threads->lock);
	WRITE_ONCE(threads->paused, true);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (i = 0; i < threads->count; i++)
		while (!LOAD_ACQUIRE(threads->thread[i].standing))
			pthread_cond_wait(&threads->stood, &threads->lock);
	pthread_mutex_unlock(&threads->lock);
}

void io_threads_resume(struct io_threads *threads)
{
	if (--threads->pause_depth)
		return;
	pthread_mutex_lock(&threads->lock);
	STORE_RELEASE(threads->paused, false);
	pthread_cond_broadcast(&threads->resumed);
	pthread_mutex_unlock(&threads->lock);
}

/*
 * Calls and kicks
 */

static void wake(struct io_thread *thread)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (READ_ONCE(thread->asleep) &&
	    __atomic_exchange_n(&thread->asleep, false, __ATOMIC_RELAXED)) {
		WRITE_ONCE(thread->kicked_at, clock_ns(CLOCK_MONOTONIC));
		block_ring_kick(thread->ring);
	}
}

void io_threads_kick(struct io_threads *threads, unsigned index)
{
	if (holder == threads)
		held_kicks |= 1u << index;
	else
		wake(&threads->thread[index]);
}

void io_threads_hold_kicks(struct io_threads *threads)
{
	holder = threads;
}

void io_threads_release_kicks(struct io_threads *threads)
{
	uint32_t kicks = held_kicks;
	unsigned i;

	holder = NULL;
	held_kicks = 0;
	for (i = 0; kicks; i++, kicks >>= 1)
		if (kicks & 1)
			wake(&threads->thread[i]);
}

void io_threads_call(struct io_threads *threads, unsigned index, struct nvme_host_call *call)
{
	if (index == NVME_HOST_CONTROL) {
		if (mailbox_push(&threads->control_calls, call))
			fd_eventfd_signal(threads->control_fd);
	} else {
		mailbox_push(&threads->thread[index].calls, call);
		wake(&threads->thread[index]);
	}
}

int io_threads_control_fd(const struct io_threads *threads)
{
	return threads->control_fd;
}

void io_threads_run_control(struct io_threads *threads)
{
	fd_eventfd_drain(threads->control_fd);
	mailbox_run(&threads->control_calls);
}

const cpu_set_t *io_threads_pin(const struct io_threads *threads, unsigned index)
{
	const cpu_set_t *pin = &threads->thread[index].pin;

	return CPU_COUNT(pin) ? pin : NULL;
}

int io_threads_affinity(const struct io_threads *threads, unsigned index, cpu_set_t *ret)
{
	return sched_getaffinity(threads->thread[index].tid, sizeof(*ret), ret) < 0 ? -errno : 0;
}

unsigned io_threads_count(const struct io_threads *threads)
{
	return threads->count;
}

/*
 * The loop
 */

static bool poll_workers(struct io_thread *thread)
{
	bool busy = false;
	unsigned i;

	for (i = 0; i < thread->worker_count; i++)
		busy |= nvme_worker_poll(thread->workers[i]);
	return busy;
}

static bool arm_workers(struct io_thread *thread)
{
	unsigned i;

	for (i = 0; i < thread->worker_count; i++)
		if (!nvme_worker_arm(thread->workers[i]))
			return false;
	return true;
}

/* An interrupt may be due later: then until that. */
static int64_t wait_of_workers(const struct io_thread *thread, int64_t look_ns)
{
	int64_t shortest = -1;

	for (unsigned i = 0; i < thread->worker_count; i++) {
		int64_t wait = nvme_worker_wait(thread->workers[i]);

		if (nvme_worker_looks(thread->workers[i]) && (shortest < 0 || look_ns < shortest))
			shortest = look_ns;
		if (wait >= 0 && (shortest < 0 || wait < shortest))
			shortest = wait;
	}
	return shortest;
}

static void disarm_workers(struct io_thread *thread)
{
	unsigned i;

	for (i = 0; i < thread->worker_count; i++)
		nvme_worker_disarm(thread->workers[i]);
}

static void io_thread_sleep(struct io_thread *thread, uint64_t idle_ns)
{
	WRITE_ONCE(thread->asleep, true);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (mailbox_empty(&thread->calls) && !READ_ONCE(thread->stop) && arm_workers(thread)) {
		uint64_t look_ns =
			MIN(MAX(idle_ns / LOOK_PART, (uint64_t)LOOK_MIN_NS), (uint64_t)LOOK_MAX_NS);
		int64_t wait_ns = wait_of_workers(thread, look_ns);

		stand(thread);
		block_ring_wait(thread->ring, wait_ns);
		walk_on(thread);
		if (block_ring_in_flight(thread->ring))
			disarm_workers(thread);
	} else {
		block_ring_flush(thread->ring);
	}
	WRITE_ONCE(thread->asleep, false);
}

/* What happened while we slept counts from when we were kicked: waking up takes its time, too. */
static void end_of_gap(struct io_thread *thread)
{
	uint64_t kicked_at;

	thread->empty_rounds = 0;
	if (!thread->idle_since)
		return;
	kicked_at = READ_ONCE(thread->kicked_at);
	WRITE_ONCE(thread->kicked_at, 0);
	if (kicked_at < thread->idle_since)
		kicked_at = clock_ns(CLOCK_MONOTONIC);
	polling_learn(&thread->polling, thread->polling_for, kicked_at - thread->idle_since);
	thread->idle_since = 0;
}

static enum polling_for what_to_wait_for(const struct io_thread *thread)
{
	unsigned i;

	if (block_ring_in_flight(thread->ring))
		return POLLING_FOR_DISK;
	for (i = 0; i < thread->worker_count; i++)
		if (nvme_worker_watches(thread->workers[i]))
			return POLLING_FOR_GUEST;
	return POLLING_FOR_MESSAGE;
}

static void idle(struct io_thread *thread)
{
	uint64_t now;

	if (!thread->empty_rounds++)
		thread->polling_for = what_to_wait_for(thread);
	if (thread->empty_rounds < ROUNDS && polling_time(&thread->polling, thread->polling_for)) {
		block_ring_flush(thread->ring);
		relax();
		return;
	}
	now = clock_ns(CLOCK_MONOTONIC);
	if (!thread->idle_since)
		thread->idle_since = now;
	if (now - thread->idle_since < polling_time(&thread->polling, thread->polling_for))
		relax();
	else
		io_thread_sleep(thread, now - thread->idle_since);
}

static void count_marked(struct io_thread *thread)
{
	struct io_part *part;

	while (thread->marked || thread->to_mark) {
		if (!thread->marked) {
			block_ring_mark(thread->ring);
			thread->marked = thread->to_mark;
			thread->to_mark = NULL;
		}
		if (block_ring_marked(thread->ring))
			return;
		while ((part = thread->marked)) {
			thread->marked = part->next; /* not ours any more after the call */
			io_threads_call(thread->threads, NVME_HOST_CONTROL, &part->back);
		}
	}
}

static void io_thread_loop(struct io_thread *thread)
{
	while (!READ_ONCE(thread->stop)) {
		bool busy = mailbox_run(&thread->calls);

		if (READ_ONCE(thread->threads->paused))
			hold(thread);
		busy |= block_ring_reap(thread->ring) != 0;
		busy |= poll_workers(thread);
		if (busy && thread->was_busy)
			block_ring_flush(thread->ring);
		thread->was_busy = busy;
		count_marked(thread);
		if (busy)
			end_of_gap(thread);
		else
			idle(thread);
	}
}

static void *io_thread_main(void *opaque)
{
	struct io_thread *thread = opaque;
	struct io_threads *threads = thread->threads;
	struct error *err = NULL;
	char name[16];

	current = thread;
	thread->tid = gettid();
	if (CPU_COUNT(&thread->pin))
		pinning_apply(thread->index + 1, &thread->pin);
	snprintf(name, sizeof(name), "io-%u", thread->index);
	pthread_setname_np(pthread_self(), name);
	polling_init(&thread->polling, threads->poll_max_us);
	thread->ring = block_ring_new(threads->kind, RING_DEPTH, &err);
	pthread_mutex_lock(&threads->lock);
	threads->started++;
	if (err && !threads->start_error)
		threads->start_error = err;
	else
		error_free(err);
	pthread_cond_signal(&threads->stood);
	pthread_mutex_unlock(&threads->lock);
	if (thread->ring)
		io_thread_loop(thread);
	block_ring_free(thread->ring);
	return NULL;
}

/*
 * Operations
 */

static void part_back(struct nvme_host_call *call)
{
	struct io_part *part = container_of(call, struct io_part, back);
	struct io_operation *operation = part->operation;

	operation->failed |= part->failed;
	if (--operation->left == 0)
		operation->done(operation);
}

static void start(struct io_threads *threads, struct io_operation *operation,
		  void (*run)(struct nvme_host_call *call),
		  void (*done)(struct io_operation *operation))
{
	unsigned i;

	operation->threads = threads;
	operation->done = done;
	operation->left = threads->count;
	operation->failed = false;
	for (i = 0; i < threads->count; i++) {
		struct io_part *part = &operation->parts[i];

		part->operation = operation;
		part->thread = &threads->thread[i];
		part->failed = false;
		part->there.run = run;
		part->back.run = part_back;
		io_threads_call(threads, i, &part->there);
	}
}

static void add_here(struct nvme_host_call *call)
{
	struct io_part *part = container_of(call, struct io_part, there);
	struct io_thread *thread = part->thread;
	struct nvme_worker *worker = NULL;

	if (thread->worker_count < IO_THREADS_MAX_DEVICES)
		worker = nvme_worker_new(part->operation->ctrl, thread->index, thread->ring);
	if (worker) {
		thread->controllers[thread->worker_count] = part->operation->ctrl;
		thread->workers[thread->worker_count++] = worker;
	}
	part->failed = !worker;
	io_threads_call(thread->threads, NVME_HOST_CONTROL, &part->back);
}

static void remove_here(struct nvme_host_call *call)
{
	struct io_part *part = container_of(call, struct io_part, there);
	struct io_thread *thread = part->thread;
	unsigned i;

	for (i = 0; i < thread->worker_count; i++) {
		if (thread->controllers[i] != part->operation->ctrl)
			continue;
		nvme_worker_free(thread->workers[i]);
		thread->worker_count--;
		thread->workers[i] = thread->workers[thread->worker_count];
		thread->controllers[i] = thread->controllers[thread->worker_count];
		break;
	}
	io_threads_call(thread->threads, NVME_HOST_CONTROL, &part->back);
}

static void mark_here(struct nvme_host_call *call)
{
	struct io_part *part = container_of(call, struct io_part, there);

	part->next = part->thread->to_mark;
	part->thread->to_mark = part;
}

void io_threads_add(struct io_threads *threads, struct io_operation *operation,
		    struct nvme_controller *ctrl, void (*done)(struct io_operation *operation))
{
	operation->ctrl = ctrl;
	start(threads, operation, add_here, done);
}

void io_threads_remove(struct io_threads *threads, struct io_operation *operation,
		       struct nvme_controller *ctrl, void (*done)(struct io_operation *operation))
{
	operation->ctrl = ctrl;
	start(threads, operation, remove_here, done);
}

void io_threads_after_in_flight(struct io_threads *threads, struct io_operation *operation,
				void (*done)(struct io_operation *operation))
{
	operation->ctrl = NULL;
	start(threads, operation, mark_here, done);
}

/*
 * Start and end
 */

static void stop_threads(struct io_threads *threads)
{
	unsigned i;

	for (i = 0; i < threads->count; i++) {
		WRITE_ONCE(threads->thread[i].stop, true);
		wake(&threads->thread[i]);
		pthread_join(threads->thread[i].thread, NULL);
	}
}

struct io_threads *io_threads_new(unsigned count, enum block_ring_kind kind, unsigned poll_max_us,
				  const cpu_set_t *pins, struct error **errp)
{
	struct io_threads *threads;
	size_t size = sizeof(*threads) + count * sizeof(threads->thread[0]);
	unsigned i;

	threads = aligned_alloc(64, ROUND_UP(size, 64));
	if (!threads) {
		error_set(errp, ENOMEM, _("out of memory"));
		return NULL;
	}
	memset(threads, 0, size);
	threads->kind = kind;
	threads->poll_max_us = poll_max_us;
	pthread_mutex_init(&threads->lock, NULL);
	pthread_cond_init(&threads->stood, NULL);
	pthread_cond_init(&threads->resumed, NULL);
	threads->control_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (threads->control_fd < 0)
		error_set_errno(&threads->start_error, errno, _("cannot make an eventfd"));
	for (i = 0; i < count && !threads->start_error; i++) {
		struct io_thread *thread = &threads->thread[i];
		int ret;

		thread->threads = threads;
		thread->index = i;
		if (pins)
			thread->pin = pins[i];
		ret = pthread_create(&thread->thread, NULL, io_thread_main, thread);
		if (ret)
			error_set_errno(&threads->start_error, ret, _("cannot start a thread"));
		else
			threads->count++;
		pthread_mutex_lock(&threads->lock);
		while (threads->started < threads->count)
			pthread_cond_wait(&threads->stood, &threads->lock);
		pthread_mutex_unlock(&threads->lock);
	}
	if (threads->start_error) {
		error_propagate(errp, threads->start_error);
		threads->start_error = NULL;
		io_threads_free(threads);
		return NULL;
	}
	return threads;
}

void io_threads_free(struct io_threads *threads)
{
	if (!threads)
		return;
	stop_threads(threads);
	if (threads->control_fd >= 0)
		close(threads->control_fd);
	pthread_cond_destroy(&threads->stood);
	pthread_cond_destroy(&threads->resumed);
	pthread_mutex_destroy(&threads->lock);
	free(threads);
}
