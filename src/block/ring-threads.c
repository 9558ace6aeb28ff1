// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Theory of operation
 *
 * Where io_uring is switched off, a few threads make the blocking system calls. submit() gathers
 * requests without a lock; flush() passes them to the workers in one go and starts a worker when
 * none is free. A worker carries a request to its end, puts it on the `finished` list and, only if
 * the ring's thread sleeps, signals the eventfd that kicks use as well. The eventfd is emptied only
 * by wait(), just before it returns, so neither kind of signal is lost.
 */
#include "block/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include "base/fd.h"

/* As many as keep a device busy that wants several requests at a time; each costs a stack. */
#define WORKERS_MAX 8

struct threads {
	struct block_ring ring;
	struct block_queue gathered; /* the ring's thread only */

	pthread_mutex_t lock;
	pthread_cond_t work;
	struct block_queue waiting;
	unsigned waiting_count;
	struct block_queue finished;
	unsigned idle;
	bool sleeping; /* the ring's thread is in poll(), or about to be */
	bool stopping;

	bool any_finished; /* a look at finished.first without the lock; atomic */
	unsigned worker_count;
	pthread_t workers[WORKERS_MAX];
};

static struct threads *to_threads(struct block_ring *ring)
{
	return container_of(ring, struct threads, ring);
}

static void *work(void *arg)
{
	struct threads *threads = arg;
	struct iovec scratch[BLOCK_MAX_IOV];

	pthread_mutex_lock(&threads->lock);
	for (;;) {
		struct block_request *request = block_queue_take(&threads->waiting);

		if (!request) {
			if (threads->stopping)
				break;
			threads->idle++;
			pthread_cond_wait(&threads->work, &threads->lock);
			threads->idle--;
			continue;
		}
		threads->waiting_count--;
		pthread_mutex_unlock(&threads->lock);
		block_carry_out(request, scratch);
		pthread_mutex_lock(&threads->lock);
		block_queue_add(&threads->finished, request);
		STORE_RELEASE(threads->any_finished, true);
		if (threads->sleeping) {
			threads->sleeping = false;
			fd_eventfd_signal(threads->ring.kick_fd);
		}
	}
	pthread_mutex_unlock(&threads->lock);
	return NULL;
}

/* Signals are for the program's own threads, but for the one that a copy to memory of somebody else's
 * raises here: blocked, it would kill us. */
static int start_worker(struct threads *threads)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&threads->workers[threads->worker_count], NULL, work, threads);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err == 0)
		threads->worker_count++;
	return err;
}

static void threads_execute(struct block_ring *ring, struct block_request *request)
{
	block_queue_add(&to_threads(ring)->gathered, request);
}

static void threads_flush(struct block_ring *ring)
{
	struct threads *threads = to_threads(ring);
	struct block_request *request;
	unsigned wanted, wake;

	if (!threads->gathered.first)
		return;
	pthread_mutex_lock(&threads->lock);
	while ((request = block_queue_take(&threads->gathered))) {
		block_queue_add(&threads->waiting, request);
		threads->waiting_count++;
	}
	wanted = threads->waiting_count;
	for (wake = MIN(wanted, threads->idle); wake; wake--)
		pthread_cond_signal(&threads->work);
	wanted -= MIN(wanted, threads->idle);
	pthread_mutex_unlock(&threads->lock);
	/* Without another worker it only takes longer: there is always one. */
	for (; wanted && threads->worker_count < WORKERS_MAX; wanted--)
		if (start_worker(threads) != 0)
			break;
}

static unsigned threads_reap(struct block_ring *ring)
{
	struct threads *threads = to_threads(ring);
	struct block_request *request, *next;
	unsigned count = 0;

	if (!LOAD_ACQUIRE(threads->any_finished))
		return 0;
	pthread_mutex_lock(&threads->lock);
	request = threads->finished.first;
	block_queue_init(&threads->finished);
	STORE_RELEASE(threads->any_finished, false);
	pthread_mutex_unlock(&threads->lock);
	for (; request; request = next, count++) {
		next = request->priv.next; /* done() may reuse the request */
		block_ring_finish(ring, request);
	}
	return count;
}

static void threads_wait(struct block_ring *ring, int64_t timeout_ns)
{
	struct threads *threads = to_threads(ring);
	struct pollfd fd = { .fd = ring->kick_fd, .events = POLLIN };
	struct timespec ts = { .tv_sec = timeout_ns / 1000000000,
			       .tv_nsec = timeout_ns % 1000000000 };
	bool sleep;

	threads_flush(ring);
	pthread_mutex_lock(&threads->lock);
	sleep = !threads->finished.first;
	threads->sleeping = sleep;
	pthread_mutex_unlock(&threads->lock);
	if (!sleep)
		return;
	ppoll(&fd, 1, timeout_ns < 0 ? NULL : &ts, NULL);
	pthread_mutex_lock(&threads->lock);
	threads->sleeping = false;
	pthread_mutex_unlock(&threads->lock);
	if (fd.revents)
		fd_eventfd_drain(ring->kick_fd);
}

static void threads_free(struct block_ring *ring)
{
	struct threads *threads = to_threads(ring);
	unsigned i;

	pthread_mutex_lock(&threads->lock);
	threads->stopping = true;
	pthread_cond_broadcast(&threads->work);
	pthread_mutex_unlock(&threads->lock);
	for (i = 0; i < threads->worker_count; i++)
		pthread_join(threads->workers[i], NULL);
	pthread_cond_destroy(&threads->work);
	pthread_mutex_destroy(&threads->lock);
	free(threads);
}

static const struct block_ring_ops threads_ops = {
	.kind = BLOCK_RING_THREADS,
	.execute = threads_execute,
	.flush = threads_flush,
	.reap = threads_reap,
	.wait = threads_wait,
	.free = threads_free,
};

struct block_ring *block_ring_threads_new(int *ret_errno)
{
	struct threads *threads = calloc(1, sizeof(*threads));

	if (!threads) {
		*ret_errno = ENOMEM;
		return NULL;
	}
	pthread_mutex_init(&threads->lock, NULL);
	pthread_cond_init(&threads->work, NULL);
	block_queue_init(&threads->gathered);
	block_queue_init(&threads->waiting);
	block_queue_init(&threads->finished);
	threads->ring.ops = &threads_ops;
	*ret_errno = start_worker(threads);
	if (*ret_errno) {
		threads_free(&threads->ring);
		return NULL;
	}
	return &threads->ring;
}
