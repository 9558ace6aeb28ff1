/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include "base/error.h"

/*
 * What a process costs, read from /proc: the time that its threads had a processor (schedstat, in
 * nanoseconds), how often each gave it up by itself (a wake-up follows) and how often it was taken
 * away. System calls are counted by the kernel's trace event raw_syscalls:sys_enter, opened for
 * each thread; that needs tracefs and the right to it, and makes each system call a little slower,
 * so it is asked for separately.
 */
#define SERVER_MAX_THREADS 64

struct server_thread {
	int tid;
	char name[16];
	uint64_t cpu_ns, voluntary, involuntary, system_calls;
};

struct server_sample {
	unsigned count;
	struct server_thread threads[SERVER_MAX_THREADS];
	struct server_thread total;
};

struct server {
	int pid;
	bool counting; /* system calls */
	unsigned count;
	struct {
		int tid, fd;
	} counters[SERVER_MAX_THREADS];
};

/** server_open() - @pid, with its present threads; @count_system_calls where the kernel lets us,
 * see server.counting */
void server_open(struct server *server, int pid, bool count_system_calls);
void server_close(struct server *server);

/** server_sample() - where its counters are now */
int server_sample(const struct server *server, struct server_sample *ret, struct error **errp);

/** server_since() - subtract @from; a thread that is new counts in full, one that ended not at all
 */
void server_since(struct server_sample *sample, const struct server_sample *from);

#endif
