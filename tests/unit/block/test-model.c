// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Random requests, many at a time, against a copy in memory. Requests in flight never overlap, so
 * the copy says exactly what each read must return and what the file must hold at the end.
 */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>

#include "tests/unit/block/image.h"
#include "tests/unit/test.h"

#define IMAGE_BYTES (4 * MiB)
#define UNIT	    4096u
#define UNITS	    (IMAGE_BYTES / UNIT)
#define SLOTS	    24
#define REQUESTS    10000
#define MAX_UNITS   16

struct slot {
	struct block_request request;
	struct iovec iov[4];
	uint8_t *data; /* MAX_UNITS units, and a page to be misaligned in */
	uint8_t *at;
	unsigned first, count;
	bool busy;
};

static uint8_t model[IMAGE_BYTES];
static bool taken[UNITS];
static struct slot slots[SLOTS];
static struct block *block;
static struct block_ring *ring;
static unsigned seed, finished;

static unsigned roll(unsigned sides)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 8) % sides;
}

static bool claim_range(struct slot *slot)
{
	unsigned i;

	slot->count = 1 + roll(MAX_UNITS);
	slot->first = roll(UNITS - slot->count);
	for (i = 0; i < slot->count; i++)
		if (taken[slot->first + i])
			return false;
	for (i = 0; i < slot->count; i++)
		taken[slot->first + i] = true;
	return true;
}

/* A page's pieces, as PRPs make them; now and then at an address that O_DIRECT does not take. */
static unsigned split(struct slot *slot, size_t bytes)
{
	size_t done = 0;
	unsigned n;

	slot->at = slot->data + (roll(5) == 0 ? 4 * (1 + roll(100)) : 0);
	for (n = 0; n < 3 && done + UNIT < bytes; n++) {
		slot->iov[n] = (struct iovec){ slot->at + done, UNIT };
		done += UNIT;
	}
	slot->iov[n] = (struct iovec){ slot->at + done, bytes - done };
	return n + 1;
}

static void check(struct block_request *request, int result)
{
	struct slot *slot = container_of(request, struct slot, request);
	uint64_t offset = request->offset;
	unsigned i;

	assert_int_equal(result, 0);
	assert_true(slot->busy);
	if (request->op == BLOCK_READ)
		assert_memory_equal(slot->at, model + offset, request->bytes);
	for (i = 0; i < slot->count; i++)
		taken[slot->first + i] = false;
	slot->busy = false;
	finished++;
}

static void issue(struct slot *slot)
{
	const struct block_info *info = block_get_info(block);
	struct block_request *request = &slot->request;
	unsigned kind = roll(20);
	size_t i;

	*request = (struct block_request){ .done = check };
	slot->count = 0;
	if (kind == 0) {
		request->op = BLOCK_FLUSH;
	} else {
		if (!claim_range(slot)) {
			slot->count = 0;
			return;
		}
		request->offset = (uint64_t)slot->first * UNIT;
		request->bytes = (uint64_t)slot->count * UNIT;
		if (kind <= 9) {
			request->op = BLOCK_READ;
		} else if (kind == 10 && info->can_write_zeroes) {
			request->op = BLOCK_WRITE_ZEROES;
			request->flags = roll(2) ? BLOCK_NO_HOLE : 0;
			memset(model + request->offset, 0, request->bytes);
		} else if (kind == 11 && info->can_discard) {
			request->op = BLOCK_DISCARD;
			memset(model + request->offset, 0, request->bytes);
		} else {
			request->op = BLOCK_WRITE;
			request->flags = roll(50) == 0 ? BLOCK_FUA : 0;
		}
	}
	if (request->op == BLOCK_READ || request->op == BLOCK_WRITE) {
		request->iov = slot->iov;
		request->iovcnt = split(slot, request->bytes);
	}
	if (request->op == BLOCK_READ)
		memset(slot->at, 0xee, request->bytes);
	if (request->op == BLOCK_WRITE) {
		for (i = 0; i < request->bytes; i++)
			slot->at[i] = seed + i * 7 + (i >> 8);
		memcpy(model + request->offset, slot->at, request->bytes);
	}
	slot->busy = true;
	block_submit(block, ring, request);
}

static void run_requests(unsigned count)
{
	unsigned i;

	finished = 0;
	while (finished < count || block_ring_in_flight(ring)) {
		for (i = 0; i < SLOTS && finished < count; i++)
			if (!slots[i].busy)
				issue(&slots[i]);
		if (roll(2))
			block_ring_flush(ring);
		else
			block_ring_wait(ring, 10000000);
		block_ring_reap(ring);
	}
}

static void compare(enum block_ring_kind kind, enum block_cache cache, unsigned count)
{
	static uint8_t got[IMAGE_BYTES];
	_cleanup_close_ int fd = -1;
	char *path = image_make(true, IMAGE_BYTES);
	unsigned i;

	block = image_block(path, cache);
	if (!block) {
		image_remove(path);
		SKIP("no O_DIRECT on this file system");
	}
	/* Shallower than the number of requests: some wait inside the ring. */
	ring = block_ring_new(kind, 16, NULL);
	assert_non_null(ring);
	memset(model, 0, sizeof(model));
	for (i = 0; i < SLOTS; i++)
		slots[i].data = aligned_alloc(4096, (MAX_UNITS + 1) * UNIT);
	seed = (unsigned)time(NULL);
	print_message("seed %u\n", seed);
	run_requests(count);
	assert_int_equal(transfer(ring, block, BLOCK_READ, 0, 0, got, sizeof(got)), 0);
	assert_memory_equal(got, model, sizeof(got));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, got, sizeof(got), 0), sizeof(got));
	assert_memory_equal(got, model, sizeof(got));
	for (i = 0; i < SLOTS; i++)
		free(slots[i].data);
	block_ring_free(ring);
	block_close(block);
	image_remove(path);
}

static void io_uring_writeback(void **state)
{
	compare(BLOCK_RING_AUTO, BLOCK_CACHE_WRITEBACK, REQUESTS);
}

static void io_uring_none(void **state)
{
	compare(BLOCK_RING_AUTO, BLOCK_CACHE_NONE, REQUESTS);
}

static void threads_writeback(void **state)
{
	compare(BLOCK_RING_THREADS, BLOCK_CACHE_WRITEBACK, REQUESTS);
}

static void threads_none(void **state)
{
	compare(BLOCK_RING_THREADS, BLOCK_CACHE_NONE, REQUESTS);
}

/* Every write waits for the disk: fewer of them. */
static void io_uring_writethrough(void **state)
{
	compare(BLOCK_RING_AUTO, BLOCK_CACHE_WRITETHROUGH, REQUESTS / 10);
}

static void threads_writethrough(void **state)
{
	compare(BLOCK_RING_THREADS, BLOCK_CACHE_WRITETHROUGH, REQUESTS / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(io_uring_writeback),	 cmocka_unit_test(io_uring_none),
		cmocka_unit_test(threads_writeback),	 cmocka_unit_test(threads_none),
		cmocka_unit_test(io_uring_writethrough), cmocka_unit_test(threads_writethrough),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
