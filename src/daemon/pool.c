// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "base/util.h"

struct work {
	struct work *next;
	void (*run)(void *opaque);
	void *opaque;
};

struct pool {
	const char *name;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct work *first, **last;
	unsigned pending, idle, threads, max_threads;
};

struct pool *pool_new(const char *name, unsigned max_threads)
{
	struct pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->name = name;
	pool->last = &pool->first;
	pool->max_threads = max_threads;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->wake, NULL);
	return pool;
}

static void *pool_thread(void *opaque)
{
	struct pool *pool = opaque;
	struct work *work;

	pthread_setname_np(pthread_self(), pool->name);
	pthread_mutex_lock(&pool->lock);
	for (;;) {
		while (!pool->first) {
			pool->idle++;
			pthread_cond_wait(&pool->wake, &pool->lock);
			pool->idle--;
		}
		work = pool->first;
		pool->first = work->next;
		if (!pool->first)
			pool->last = &pool->first;
		pool->pending--;
		pthread_mutex_unlock(&pool->lock);

		work->run(work->opaque);
		free(work);

		pthread_mutex_lock(&pool->lock);
	}
	return NULL;
}

/* Signals are the main loop's business. */
static int start_thread(struct pool *pool)
{
	sigset_t all, old;
	pthread_t thread;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, NULL, pool_thread, pool);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r == 0) {
		pthread_detach(thread);
		pool->threads++;
	}
	return -r;
}

int pool_submit(struct pool *pool, void (*run)(void *opaque), void *opaque)
{
	struct work *work = calloc(1, sizeof(*work));
	int r = 0;

	if (!work)
		return -ENOMEM;
	work->run = run;
	work->opaque = opaque;

	pthread_mutex_lock(&pool->lock);
	/* An idle thread that has been woken but does not run yet still counts as idle. */
	if (pool->idle <= pool->pending && pool->threads < pool->max_threads)
		r = start_thread(pool);
	if (r < 0 && pool->threads == 0) {
		free(work);
	} else {
		r = 0;
		*pool->last = work;
		pool->last = &work->next;
		pool->pending++;
		pthread_cond_signal(&pool->wake);
	}
	pthread_mutex_unlock(&pool->lock);
	return r;
}
