// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/json.h"
#include "base/options.h"
#include "bench/clock.h"
#include "bench/histogram.h"

/*
 * What this machine can do at best, so that a figure can be carried to another machine as a ratio:
 * how long a word takes to another processor's cache and back, with a process at each end that does
 * nothing else; and how long it takes to copy blocks from and to random places of a large memory.
 */
struct arguments {
	unsigned long cpu, peer_cpu, milliseconds;
	uint64_t span;
};

struct table {
	uint32_t ping __attribute__((aligned(64)));
	uint32_t pong __attribute__((aligned(64)));
};

#define STOP UINT32_MAX

static int set_span(const char *value, void *target, struct error **errp)
{
	return options_parse_size(value, target, errp);
}

static void pin(pid_t pid, unsigned long cpu)
{
	cpu_set_t set;

	if (cpu == ULONG_MAX)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(pid, sizeof(set), &set) < 0)
		perror("sched_setaffinity");
}

static void answer(struct table *table)
{
	uint32_t seen = 0, value;

	while ((value = LOAD_ACQUIRE(table->ping)) != STOP)
		if (value != seen)
			STORE_RELEASE(table->pong, seen = value);
}

static void play(struct table *table, uint64_t duration, struct histogram *ticks)
{
	uint64_t now = clock_ticks(), started = now, end = now + duration;
	uint32_t value;

	for (value = 1; now < end; value++) {
		STORE_RELEASE(table->ping, value);
		/* The other one may not be running: the machine is not ours alone. */
		while (LOAD_ACQUIRE(table->pong) != value)
			if (clock_ticks() > end + duration / 8)
				return;
		now = clock_ticks();
		histogram_add(ticks, now - started);
		started = now;
	}
}

static int ping_pong(const struct arguments *arguments, struct json_object *object,
		     struct error **errp)
{
	struct table *table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct histogram *ticks = calloc(1, sizeof(*ticks));
	double per_ns = clock_ticks_per_ns();
	struct json_object *part;
	pid_t pid;

	if (table == MAP_FAILED || !ticks)
		return error_set_errno(errp, ENOMEM, "ping-pong");
	pid = fork();
	if (pid < 0)
		return error_set_errno(errp, errno, "fork");
	if (pid == 0) {
		answer(table);
		_exit(0);
	}
	/* By us: with real-time priority it would not get this processor to do so itself. */
	pin(pid, arguments->peer_cpu);
	play(table, (uint64_t)((double)arguments->milliseconds * per_ns * 1e6), ticks);
	STORE_RELEASE(table->ping, STOP);
	waitpid(pid, NULL, 0);
	part = json_object_new_object();
	json_add(part, "p50", json_object_new_double(histogram_percentile(ticks, 50) / per_ns));
	json_add(part, "p99", json_object_new_double(histogram_percentile(ticks, 99) / per_ns));
	json_add(object, "ping_pong_ns", part);
	free(ticks);
	munmap(table, sizeof(*table));
	return 0;
}

/*
 * Nanoseconds a block: the median of many slices, each too short for what others do in between to fall
 * into most of them. Not the best: in that more of the places than usual are in a cache. With @ahead
 * the next place comes into the cache meanwhile: all that can be done for commands that are known.
 */
static double copy_blocks(char *memory, uint64_t span, size_t block, bool to_memory, bool ahead,
			  unsigned long milliseconds)
{
	double per_ns = clock_ticks_per_ns(), median;
	uint64_t end = clock_ticks() + (uint64_t)((double)milliseconds * per_ns * 1e6);
	unsigned slice = MAX(4u, (unsigned)(256 * KiB / block)), i;
	struct histogram *ticks = calloc(1, sizeof(*ticks));
	uint64_t random = 88172645463325252ULL, blocks = span / block;
	/* As many buffers as a queue has commands in flight. */
	char *buffers = aligned_alloc(4096, 32 * block), *place = memory, *next;

	if (!buffers || !ticks)
		abort();
	memset(buffers, 1, 32 * block);
	while (clock_ticks() < end) {
		uint64_t started = clock_ticks();

		for (i = 0; i < slice; i++) {
			char *buffer = buffers + i % 32 * block;

			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			next = memory + random % blocks * block;
			for (size_t at = 0; ahead && at < block; at += 64)
				__builtin_prefetch(next + at, 0, 2);
			if (to_memory)
				memcpy(place, buffer, block);
			else
				memcpy(buffer, place, block);
			__atomic_signal_fence(__ATOMIC_SEQ_CST);
			place = next;
		}
		histogram_add(ticks, clock_ticks() - started);
	}
	median = histogram_percentile(ticks, 50) / per_ns / slice;
	free(buffers);
	free(ticks);
	return median;
}

static int copies(const struct arguments *arguments, struct json_object *object,
		  struct error **errp)
{
	static const struct {
		const char *name;
		size_t bytes;
		bool ahead;
	} kinds[] = {
		{ "copy_4096_ns", 4096, false },
		{ "copy_4096_ahead_ns", 4096, true },
		{ "copy_131072_ns", 131072, false },
	};
	char *memory = mmap(NULL, arguments->span, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct json_object *part;
	size_t i;

	if (memory == MAP_FAILED)
		return error_set_errno(errp, errno, "memory");
	/* As the memory backend's. */
	madvise(memory, arguments->span, MADV_HUGEPAGE);
	memset(memory, 1, arguments->span);
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		part = json_object_new_object();
		json_add(part, "read",
			 json_object_new_double(copy_blocks(memory, arguments->span, kinds[i].bytes,
							    false, kinds[i].ahead,
							    arguments->milliseconds / 2)));
		json_add(part, "write",
			 json_object_new_double(copy_blocks(memory, arguments->span, kinds[i].bytes,
							    true, kinds[i].ahead,
							    arguments->milliseconds / 2)));
		json_add(object, kinds[i].name, part);
	}
	munmap(memory, arguments->span);
	return 0;
}

int main(int argc, char **argv)
{
	struct arguments arguments = {
		.cpu = ULONG_MAX, .peer_cpu = ULONG_MAX, .milliseconds = 200, .span = 256 * MiB
	};
	const struct option_spec table[] = {
		{ "cpu", 0, OPTION_NUMBER, "N", "run on this processor", &arguments.cpu },
		{ "peer-cpu", 0, OPTION_NUMBER, "N", "and the other end of the ping-pong on this",
		  &arguments.peer_cpu },
		{ "milliseconds", 0, OPTION_NUMBER, "N", "for each (200)",
		  &arguments.milliseconds },
		{ "span", 0, OPTION_CALL, "SIZE", "memory to copy from and to (256M)",
		  &arguments.span, set_span },
		{}
	};
	const struct option_program program = {
		.name = "bench-reference",
		.arguments = "",
		.summary = "Measure what the machine can do: ping-pong and memory copies.",
		.options = table,
	};
	_cleanup_json_ struct json_object *object = json_object_new_object();
	_cleanup_error_ struct error *err = NULL;
	int first, ret = options_parse(&program, argc, argv, &first, &err);

	if (ret > 0)
		return EXIT_SUCCESS;
	pin(0, arguments.cpu);
	if (ret == 0)
		ret = ping_pong(&arguments, object, &err);
	if (ret == 0)
		ret = copies(&arguments, object, &err);
	if (ret == 0)
		puts(json_text(object));
	if (err)
		fprintf(stderr, "bench-reference: %s\n", error_message(err));
	return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
