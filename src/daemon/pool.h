/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_POOL_H
#define DAEMON_POOL_H

/*
 * Threads for work that blocks. They are made when there is work and none is idle, up to a limit,
 * and live as long as the process: the daemon may end at any time and owes nobody a clean-up.
 */
struct pool;

/** pool_new() - NULL when out of memory */
struct pool *pool_new(const char *name, unsigned max_threads);

/** pool_submit() - run @run(@opaque) in some thread; in order of submission, if there is only one.
 * 0 or -errno, and then it will not run. */
int pool_submit(struct pool *pool, void (*run)(void *opaque), void *opaque);

#endif
