// SPDX-License-Identifier: LGPL-2.1-or-later
#include "bench/server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <sys/syscall.h>

static int read_text(const char *path, char *text, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, size - 1);

	if (len < 0)
		return -errno;
	text[len] = 0;
	return 0;
}

static int for_each_thread(int pid, int (*call)(int tid, void *opaque), void *opaque)
{
	const struct dirent *entry;
	char path[64];
	DIR *folder;
	int ret = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	folder = opendir(path);
	if (!folder)
		return -errno;
	while (ret == 0 && (entry = readdir(folder)))
		if (entry->d_name[0] != '.')
			ret = call(atoi(entry->d_name), opaque);
	closedir(folder);
	return ret;
}

static long trace_event_id(void)
{
	static const char *const places[] = {
		"/sys/kernel/tracing/events/raw_syscalls/sys_enter/id",
		"/sys/kernel/debug/tracing/events/raw_syscalls/sys_enter/id",
	};
	char text[32];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(places); i++)
		if (read_text(places[i], text, sizeof(text)) == 0)
			return atol(text);
	return -1;
}

static int add_counter(int tid, void *opaque)
{
	struct server *server = opaque;
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof(attr),
		.config = trace_event_id(),
	};
	int fd;

	if (server->count == SERVER_MAX_THREADS)
		return -E2BIG;
	fd = syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return -errno;
	server->counters[server->count].tid = tid;
	server->counters[server->count++].fd = fd;
	return 0;
}

void server_open(struct server *server, int pid, bool count_system_calls)
{
	*server = (struct server){ .pid = pid };
	if (!count_system_calls || trace_event_id() < 0)
		return;
	server->counting = for_each_thread(pid, add_counter, server) == 0;
	if (!server->counting)
		server_close(server);
}

void server_close(struct server *server)
{
	while (server->count)
		close(server->counters[--server->count].fd);
}

static uint64_t field(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static uint64_t system_calls(const struct server *server, int tid)
{
	uint64_t value;
	unsigned i;

	for (i = 0; i < server->count; i++)
		if (server->counters[i].tid == tid &&
		    read(server->counters[i].fd, &value, sizeof(value)) == sizeof(value))
			return value;
	return 0;
}

struct sampling {
	const struct server *server;
	struct server_sample *sample;
};

static void add(struct server_thread *sum, const struct server_thread *thread)
{
	sum->cpu_ns += thread->cpu_ns;
	sum->voluntary += thread->voluntary;
	sum->involuntary += thread->involuntary;
	sum->system_calls += thread->system_calls;
}

/* One that ends meanwhile is left out. */
static int sample_thread(int tid, void *opaque)
{
	const struct sampling *sampling = opaque;
	struct server_sample *sample = sampling->sample;
	struct server_thread *thread = &sample->threads[sample->count];
	char path[64], text[4096];

	if (sample->count == SERVER_MAX_THREADS)
		return -E2BIG;
	*thread = (struct server_thread){ .tid = tid };
	snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", sampling->server->pid, tid);
	if (read_text(path, text, sizeof(text)) < 0)
		return 0;
	thread->cpu_ns = strtoull(text, NULL, 10);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", sampling->server->pid, tid);
	if (read_text(path, text, sizeof(text)) < 0)
		return 0;
	sscanf(text, "Name: %15s", thread->name);
	thread->voluntary = field(text, "\nvoluntary_ctxt_switches:");
	thread->involuntary = field(text, "\nnonvoluntary_ctxt_switches:");
	thread->system_calls = system_calls(sampling->server, tid);
	add(&sample->total, thread);
	sample->count++;
	return 0;
}

int server_sample(const struct server *server, struct server_sample *ret, struct error **errp)
{
	struct sampling sampling = { server, ret };
	int err;

	memset(ret, 0, sizeof(*ret));
	if (!server->pid)
		return 0;
	err = for_each_thread(server->pid, sample_thread, &sampling);
	if (err < 0)
		return error_set_errno(errp, -err, "process %d", server->pid);
	return 0;
}

void server_since(struct server_sample *sample, const struct server_sample *from)
{
	unsigned i, n;

	memset(&sample->total, 0, sizeof(sample->total));
	for (i = 0; i < sample->count; i++) {
		struct server_thread *thread = &sample->threads[i];

		for (n = 0; n < from->count; n++) {
			const struct server_thread *old = &from->threads[n];

			if (old->tid != thread->tid)
				continue;
			thread->cpu_ns -= old->cpu_ns;
			thread->voluntary -= old->voluntary;
			thread->involuntary -= old->involuntary;
			thread->system_calls -= old->system_calls;
		}
		add(&sample->total, thread);
	}
}
