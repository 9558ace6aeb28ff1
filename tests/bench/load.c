// SPDX-License-Identifier: LGPL-2.1-or-later
#include "bench/load.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "bench/clock.h"

/*
 * Theory of operation
 *
 * Each place in a queue has a slot with its buffer, its PRPs and its command prepared, so that a
 * command costs a random number, a copy of 64 bytes and a look at the clock. One reading of the
 * clock serves all completions that are found together, and the commands that follow them.
 *
 * A command counts if it begins and ends between the two samples of the server: the samples
 * themselves take time.
 *
 * With verify every block carries what it should be: its place and how often it was written. No
 * block has two commands in flight at a time, else nobody could say what a read should find.
 */

/* Polls without a look at the clock. */
#define SPINS 256

static uint64_t next_random(struct load *load)
{
	uint64_t x = load->random;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	load->random = x;
	return x * 0x2545f4914f6cdd1dULL;
}

static uint64_t slot_size(const struct load_options *options)
{
	uint64_t list = options->block_size > 2 * NVME_PAGE_SIZE ? NVME_PAGE_SIZE : 0;

	return ROUND_UP((uint64_t)options->block_size, NVME_PAGE_SIZE) + list;
}

uint64_t load_memory(const struct load_options *options, unsigned queues)
{
	return slot_size(options) * options->depth * queues;
}

static int make_slots(struct load *load, struct error **errp)
{
	const struct load_options *options = &load->options;
	unsigned count = options->depth * load->driver->queue_count, i;

	load->slots = calloc(count, sizeof(*load->slots));
	if (!load->slots)
		return error_set_errno(errp, ENOMEM, "slots");
	for (i = 0; i < count; i++) {
		struct load_slot *slot = &load->slots[i];
		uint64_t *list = NULL;

		slot->buffer = driver_alloc(load->driver, options->block_size, errp);
		if (slot->buffer && options->block_size > 2 * NVME_PAGE_SIZE)
			list = driver_alloc(load->driver, NVME_PAGE_SIZE, errp);
		if (!slot->buffer || (options->block_size > 2 * NVME_PAGE_SIZE && !list))
			return -ENOMEM;
		slot->command.nsid = options->nsid;
		slot->command.cid = i % options->depth;
		slot->command.cdw12 = (options->block_size >> load->driver->block_shift) - 1;
		driver_set_buffer(load->driver, &slot->command, slot->buffer, options->block_size,
				  list);
	}
	return 0;
}

int load_open(struct load *load, struct driver *driver, const struct load_options *options,
	      struct error **errp)
{
	uint64_t capacity = driver->blocks << driver->block_shift, span = options->span;
	int ret;

	*load = (struct load){ .driver = driver,
			       .options = *options,
			       .random = 0x9e3779b97f4a7c15ULL ^ clock_ticks() };
	if (!span || span > capacity)
		span = capacity;
	if (options->block_size % (1u << driver->block_shift) ||
	    options->block_size > driver->max_transfer)
		return error_set(errp, EINVAL, "a block size of %u does not suit the namespace",
				 options->block_size);
	load->shift = __builtin_ctz(options->block_size) - driver->block_shift;
	load->blocks = span / options->block_size;
	if (load->blocks < (uint64_t)options->depth * driver->queue_count)
		return error_set(errp, EINVAL, "the span is too small");
	ret = make_slots(load, errp);
	if (ret == 0 && options->verify) {
		load->sequences = calloc(load->blocks, sizeof(*load->sequences));
		load->busy = calloc(load->blocks, 1);
		if (!load->sequences || !load->busy)
			ret = error_set_errno(errp, ENOMEM, "verify");
	}
	if (ret < 0)
		load_close(load);
	return ret;
}

void load_close(struct load *load)
{
	free(load->slots);
	free(load->sequences);
	free(load->busy);
}

/*
 * Verify
 */

static uint64_t first_word(const struct load_slot *slot)
{
	return (slot->index << 32 | slot->sequence) * 0x9e3779b97f4a7c15ULL + 1;
}

static void fill_buffer(const struct load *load, const struct load_slot *slot)
{
	uint64_t *words = slot->buffer, word = first_word(slot);
	unsigned i;

	for (i = 0; i < load->options.block_size / sizeof(*words); i++)
		words[i] = word + i;
}

static bool buffer_is_right(const struct load *load, const struct load_slot *slot)
{
	const uint64_t *words = slot->buffer;
	uint64_t word = first_word(slot);
	unsigned i;

	for (i = 0; i < load->options.block_size / sizeof(*words); i++)
		if (words[i] != word + i)
			return false;
	return true;
}

static void claim(struct load *load, struct load_slot *slot)
{
	while (load->busy[slot->index])
		if (++slot->index == load->blocks)
			slot->index = 0;
	load->busy[slot->index] = 1;
	slot->sequence = load->sequences[slot->index];
	if (slot->command.opcode == NVME_IO_WRITE) {
		slot->sequence++;
		fill_buffer(load, slot);
	} else {
		memset(slot->buffer, 0xee, load->options.block_size);
	}
}

static void check(struct load *load, struct load_slot *slot)
{
	load->busy[slot->index] = 0;
	if (slot->command.opcode == NVME_IO_WRITE) {
		load->sequences[slot->index] = slot->sequence;
	} else if (slot->sequence && !buffer_is_right(load, slot)) {
		fprintf(stderr, "block %llu is not what was written\n",
			(unsigned long long)slot->index);
		load->failed = true;
	}
}

/*
 * The loop
 */

static bool is_write(struct load *load)
{
	switch (load->options.pattern) {
	case LOAD_RANDOM_WRITE:
	case LOAD_WRITE:
		return true;
	case LOAD_MIXED:
		return next_random(load) >> 63;
	default:
		return false;
	}
}

static bool is_sequential(const struct load *load)
{
	return load->options.pattern == LOAD_READ || load->options.pattern == LOAD_WRITE;
}

static inline void start(struct load *load, unsigned queue, struct load_slot *slot, uint64_t now)
{
	uint64_t lba;

	slot->command.opcode = is_write(load) ? NVME_IO_WRITE : NVME_IO_READ;
	if (is_sequential(load)) {
		slot->index = load->next;
		if (++load->next == load->blocks)
			load->next = 0;
	} else {
		slot->index = ((__uint128_t)next_random(load) * load->blocks) >> 64;
	}
	if (load->busy)
		claim(load, slot);
	lba = slot->index << load->shift;
	slot->command.cdw10 = lba;
	slot->command.cdw11 = lba >> 32;
	slot->started = now;
	driver_put(&load->driver->queues[queue], &slot->command);
	load->left--;
	load->in_flight++;
}

/* Returns how many completions there were; their moment in @now. */
static inline unsigned poll_queue(struct load *load, unsigned index, uint64_t since,
				  struct histogram *ticks, uint64_t *now)
{
	struct driver_queue *queue = &load->driver->queues[index];
	unsigned found = 0;
	uint32_t last;

	while ((last = driver_take(queue)) != UINT32_MAX) {
		struct load_slot *slot =
			&load->slots[index * load->options.depth + (last & 0xffff)];

		if (!found++)
			*now = clock_ticks();
		load->in_flight--;
		if (last >> 17) {
			fprintf(stderr, "status 0x%x\n", last >> 17);
			load->failed = true;
		}
		if (load->busy)
			check(load, slot);
		if (slot->started >= since)
			histogram_add(ticks, *now - slot->started);
		if (load->left)
			start(load, index, slot, *now);
	}
	if (found)
		driver_ring(load->driver, queue);
	return found;
}

static void start_all(struct load *load)
{
	unsigned queue, i;

	for (queue = 0; queue < load->driver->queue_count; queue++) {
		for (i = 0; i < load->options.depth && load->left; i++)
			start(load, queue, &load->slots[queue * load->options.depth + i],
			      clock_ticks());
		driver_ring(load->driver, &load->driver->queues[queue]);
	}
}

static void wait_for_interrupt(struct load *load, struct load_result *result)
{
	struct pollfd fd = { .fd = load->driver->interrupt, .events = POLLIN };
	uint64_t value;

	result->sleeps++;
	result->client_system_calls += 2;
	poll(&fd, 1, 1000);
	if (read(fd.fd, &value, sizeof(value)) < 0 && errno != EAGAIN)
		perror("eventfd");
}

/* Until @end; or until nothing is in flight, when nothing more is started. */
static uint64_t run_until(struct load *load, uint64_t since, uint64_t end,
			  struct load_result *result)
{
	uint64_t now = clock_ticks();
	unsigned empty = 0;

	while (now < end && load->in_flight && !load->failed) {
		unsigned found = 0, queue;

		for (queue = 0; queue < load->driver->queue_count; queue++)
			found += poll_queue(load, queue, since, &result->ticks, &now);
		if (found) {
			empty = 0;
			continue;
		}
		if (load->driver->interrupts) {
			wait_for_interrupt(load, result);
			now = clock_ticks();
		} else if (++empty % SPINS == 0) {
			now = clock_ticks();
		}
	}
	return now;
}

static int drain(struct load *load, struct load_result *result, struct error **errp)
{
	load->left = 0;
	run_until(load, UINT64_MAX, clock_ticks() + (uint64_t)(clock_ticks_per_ns() * 30e9),
		  result);
	if (load->failed)
		return error_set(errp, EIO, "commands have failed");
	if (load->in_flight)
		return error_set(errp, ETIMEDOUT, "%llu commands are not over after 30 s",
				 (unsigned long long)load->in_flight);
	return 0;
}

int load_fill(struct load *load, struct error **errp)
{
	enum load_pattern pattern = load->options.pattern;
	struct load_result *unused = calloc(1, sizeof(*unused));
	int ret;

	if (!unused)
		return error_set_errno(errp, ENOMEM, "fill");
	load->options.pattern = LOAD_WRITE;
	load->next = 0;
	load->left = load->blocks;
	start_all(load);
	run_until(load, UINT64_MAX, clock_ticks() + (uint64_t)(clock_ticks_per_ns() * 120e9),
		  unused);
	ret = drain(load, unused, errp);
	free(unused);
	load->options.pattern = pattern;
	return ret;
}

static uint64_t own_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

int load_run(struct load *load, const struct server *server, struct load_result *ret,
	     struct error **errp)
{
	double per_ns = clock_ticks_per_ns();
	struct server_sample before;
	uint64_t since, end, now;
	int err;

	memset(ret, 0, sizeof(*ret));
	load->left = UINT64_MAX;
	start_all(load);
	run_until(load, UINT64_MAX,
		  clock_ticks() + (uint64_t)(load->options.warm_up * per_ns * 1e9), ret);
	ret->sleeps = ret->client_system_calls = load->driver->client.system_calls = 0;
	err = server_sample(server, &before, errp);
	if (err < 0)
		return err;
	ret->client_cpu_ns = own_cpu_ns();
	since = clock_ticks();
	end = since + (uint64_t)(load->options.seconds * per_ns * 1e9);
	now = run_until(load, since, end, ret);
	ret->client_cpu_ns = own_cpu_ns() - ret->client_cpu_ns;
	ret->commands = ret->ticks.count;
	ret->seconds = (double)(now - since) / per_ns / 1e9;
	ret->client_system_calls += load->driver->client.system_calls;
	err = server_sample(server, &ret->server, errp);
	if (err < 0)
		return err;
	server_since(&ret->server, &before);
	return drain(load, ret, errp);
}
