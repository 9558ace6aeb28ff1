// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "block/block.h"
#include "tests/unit/test.h"

static struct block_ring *ring;
static int last_result;
static unsigned done_count;

static void done(struct block_request *request, int result)
{
	last_result = result;
	done_count++;
}

static int run(struct block *block, struct block_request request)
{
	unsigned before = done_count;

	request.done = done;
	block_submit(block, ring, &request);
	block_ring_reap(ring);
	assert_int_equal(done_count, before + 1);
	assert_int_equal(block_ring_in_flight(ring), 0);
	return last_result;
}

static int transfer(struct block *block, enum block_op op, uint64_t offset, void *data,
		    size_t bytes)
{
	struct iovec iov = { data, bytes };

	return run(block,
		   (struct block_request){
			   .op = op, .offset = offset, .bytes = bytes, .iov = &iov, .iovcnt = 1 });
}

static int zero(struct block *block, enum block_op op, unsigned flags, uint64_t offset,
		uint64_t bytes)
{
	return run(block, (struct block_request){
				  .op = op, .flags = flags, .offset = offset, .bytes = bytes });
}

static void starts_as_zeroes_and_keeps_what_is_written(void **state)
{
	struct block *block = block_open_memory(1 * MiB, NULL);
	char in[] = "namespace", out[sizeof(in)];

	assert_non_null(block);
	memset(out, 'x', sizeof(out));
	assert_int_equal(transfer(block, BLOCK_READ, 4096, out, sizeof(out)), 0);
	assert_int_equal(out[0], 0);
	assert_int_equal(transfer(block, BLOCK_WRITE, 1 * MiB - sizeof(in), in, sizeof(in)), 0);
	assert_int_equal(transfer(block, BLOCK_READ, 1 * MiB - sizeof(in), out, sizeof(out)), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(run(block, (struct block_request){ .op = BLOCK_FLUSH }), 0);
	block_close(block);
}

/* A hint with numbers of a guest's. */
static void a_hint_takes_any_numbers(void **state)
{
	static const uint64_t numbers[] = { 0,		 1,	    4096,
					    1 * MiB - 1, 1 * MiB,   1ULL << 32,
					    1ULL << 47,	 INT64_MAX, UINT64_MAX - 1,
					    UINT64_MAX };
	struct block *blocks[] = { block_open_memory(1 * MiB, NULL), block_open_null(1 * MiB) };
	char out[512];

	for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++) {
		assert_non_null(blocks[i]);
		for (unsigned j = 0; j < ARRAY_SIZE(numbers); j++)
			for (unsigned k = 0; k < ARRAY_SIZE(numbers); k++)
				block_prefetch(blocks[i], numbers[j], numbers[k]);
		block_close(blocks[i]);
	}
	blocks[0] = block_open_memory(1 * MiB, NULL);
	memset(out, 'x', sizeof(out));
	block_prefetch(blocks[0], 512, sizeof(out));
	assert_int_equal(transfer(blocks[0], BLOCK_WRITE, 512, out, sizeof(out)), 0);
	block_prefetch(blocks[0], 0, 512);
	assert_int_equal(transfer(blocks[0], BLOCK_READ, 0, out, sizeof(out)), 0);
	assert_int_equal(out[0], 0);
	assert_int_equal(transfer(blocks[0], BLOCK_READ, 512, out, sizeof(out)), 0);
	assert_int_equal(out[511], 'x');
	block_close(blocks[0]);
}

static void gathers_and_scatters(void **state)
{
	struct block *block = block_open_memory(4096, NULL);
	char text[] = "0123456789", a[4] = "", b[8] = "";
	struct iovec from[] = { { text + 5, 5 }, { text, 5 } };
	struct iovec to[] = { { a, 3 }, { a + 3, 0 }, { b, 7 } };

	assert_int_equal(run(block, (struct block_request){ .op = BLOCK_WRITE,
							    .offset = 100,
							    .bytes = 10,
							    .iov = from,
							    .iovcnt = 2 }),
			 0);
	assert_int_equal(
		run(block,
		    (struct block_request){
			    .op = BLOCK_READ, .offset = 100, .bytes = 10, .iov = to, .iovcnt = 3 }),
		0);
	assert_string_equal(a, "567");
	assert_string_equal(b, "8901234");
	block_close(block);
}

/* Beginnings and ends inside a line of the cache, of the disk and of the guest's memory. */
static void writes_exactly_the_range(void **state)
{
	static uint8_t pattern[1024], before[1024], want[1024], got[1024];
	struct block *block = block_open_memory(sizeof(got), NULL);
	size_t offset, bytes, i;

	for (i = 0; i < sizeof(pattern); i++) {
		pattern[i] = i * 7 + i / 256;
		before[i] = ~i;
	}
	for (offset = 0; offset < 130; offset++) {
		for (bytes = 1; bytes < 330; bytes += bytes < 140 ? 1 : 27) {
			const uint8_t *from = pattern + offset * 5 % 67;

			assert_int_equal(transfer(block, BLOCK_WRITE, 0, before, sizeof(before)),
					 0);
			assert_int_equal(transfer(block, BLOCK_WRITE, offset, (void *)from, bytes),
					 0);
			memcpy(want, before, sizeof(want));
			memcpy(want + offset, from, bytes);
			assert_int_equal(transfer(block, BLOCK_READ, 0, got, sizeof(got)), 0);
			assert_memory_equal(got, want, sizeof(got));
		}
	}
	block_close(block);
}

static unsigned fences;

void __real_block_stream_fence(void);
void __wrap_block_stream_fence(void);

void __wrap_block_stream_fence(void)
{
	fences++;
	__real_block_stream_fence();
}

struct streamed {
	struct block_request request;
	struct iovec iov;
	uint8_t data[4096];
	unsigned fences;
};

/* Whoever is told may tell others, which then must see it. */
static void fenced(struct block_request *request, int result)
{
	struct streamed *streamed = container_of(request, struct streamed, request);

	assert_int_equal(result, 0);
	assert_true(fences > streamed->fences);
	done_count++;
}

static void submit_streamed(struct block *block, struct streamed *streamed, unsigned number)
{
	memset(streamed->data, number + 1, sizeof(streamed->data));
	streamed->fences = fences;
	streamed->iov = (struct iovec){ streamed->data, sizeof(streamed->data) };
	streamed->request = (struct block_request){ .op = BLOCK_WRITE,
						    .offset = number * sizeof(streamed->data),
						    .bytes = sizeof(streamed->data),
						    .iov = &streamed->iov,
						    .iovcnt = 1,
						    .done = fenced };
	block_submit(block, ring, &streamed->request);
}

static void a_write_is_done_when_others_see_it(void **state)
{
	static struct streamed streamed[11];
	struct block *block = block_open_memory(1 * MiB, NULL);
	unsigned before = done_count, i;
	uint64_t start;
	uint8_t got;

	fences = 0;
	for (i = 0; i < ARRAY_SIZE(streamed); i++) {
		submit_streamed(block, &streamed[i], i);
		/* Few wait for it, and none is forgotten. */
		assert_true(done_count - before + 4 > i + 1);
		assert_int_equal(done_count - before + block_ring_in_flight(ring), i + 1);
	}
	assert_true(block_ring_in_flight(ring));
	block_ring_mark(ring);
	assert_true(block_ring_marked(ring));
	/* Does not sleep while there are any. */
	start = clock_ns(CLOCK_MONOTONIC);
	block_ring_wait(ring, 5000000000);
	assert_in_range(clock_ns(CLOCK_MONOTONIC) - start, 0, 4999999999);
	assert_true(block_ring_reap(ring));
	assert_int_equal(block_ring_marked(ring), 0);
	assert_int_equal(done_count - before, ARRAY_SIZE(streamed));
	assert_true(fences < ARRAY_SIZE(streamed));
	for (i = 0; i < ARRAY_SIZE(streamed); i++) {
		assert_int_equal(
			transfer(block, BLOCK_READ, i * sizeof(streamed->data) + 4095, &got, 1), 0);
		assert_int_equal(got, i + 1);
	}
	block_close(block);
}

static void zeroes_exactly_the_range(void **state)
{
	static const struct {
		enum block_op op;
		unsigned flags;
	} cases[] = {
		{ BLOCK_WRITE_ZEROES, 0 },
		{ BLOCK_WRITE_ZEROES, BLOCK_NO_HOLE },
		{ BLOCK_DISCARD, 0 },
	};
	static const struct {
		uint64_t offset, bytes;
	} ranges[] = { { 0, 4096 }, { 100, 50 }, { 4000, 200 }, { 4000, 12000 }, { 0, 64 * KiB } };
	static uint8_t pattern[64 * KiB], got[64 * KiB];
	size_t c, r, i;

	memset(pattern, 0xa5, sizeof(pattern));
	for (c = 0; c < ARRAY_SIZE(cases); c++) {
		for (r = 0; r < ARRAY_SIZE(ranges); r++) {
			struct block *block = block_open_memory(sizeof(pattern), NULL);
			uint64_t end = ranges[r].offset + ranges[r].bytes;

			transfer(block, BLOCK_WRITE, 0, pattern, sizeof(pattern));
			assert_int_equal(zero(block, cases[c].op, cases[c].flags, ranges[r].offset,
					      ranges[r].bytes),
					 0);
			transfer(block, BLOCK_READ, 0, got, sizeof(got));
			for (i = 0; i < sizeof(got); i++)
				assert_int_equal(got[i],
						 i >= ranges[r].offset && i < end ? 0 : 0xa5);
			block_close(block);
		}
	}
}

static void refuses_what_is_not_inside(void **state)
{
	struct block *block = block_open_memory(4096, NULL);
	char byte[2] = "";
	struct iovec iov[BLOCK_MAX_IOV + 1] = { { byte, 1 } };
	struct block_request request = { .op = BLOCK_READ, .iov = iov, .iovcnt = 1 };

	assert_int_equal(transfer(block, BLOCK_WRITE, 4095, byte, 2), -EINVAL);
	assert_int_equal(transfer(block, BLOCK_WRITE, UINT64_MAX, byte, 2), -EINVAL);
	assert_int_equal(zero(block, BLOCK_WRITE_ZEROES, 0, 1, UINT64_MAX), -EINVAL);
	assert_int_equal(zero(block, BLOCK_DISCARD, 0, UINT64_MAX, 1), -EINVAL);
	assert_int_equal(transfer(block, BLOCK_READ, 4095, byte, 1), 0);
	assert_int_equal(zero(block, BLOCK_DISCARD, 0, 4096, 0), 0);
	/* The vectors must say what the request says. */
	request.bytes = 2;
	assert_int_equal(run(block, request), -EINVAL);
	request.bytes = 0;
	assert_int_equal(run(block, request), -EINVAL);
	request.bytes = 1;
	request.iovcnt = BLOCK_MAX_IOV + 1;
	assert_int_equal(run(block, request), -EINVAL);
	block_close(block);
}

static void says_what_it_is(void **state)
{
	struct block *block = block_open_memory(8192, NULL);
	const struct block_info *info = block_get_info(block);

	assert_int_equal(info->capacity, 8192);
	assert_int_equal(info->block_size, 1);
	assert_false(info->read_only);
	assert_false(info->volatile_cache);
	assert_int_equal(block_refresh(block, 0), 0);
	assert_int_equal(info->capacity, 8192);
	block_close(block);
}

static void has_a_sentence_for_impossible_sizes(void **state)
{
	_cleanup_error_ struct error *empty = NULL, *huge = NULL;

	assert_null(block_open_memory(0, &empty));
	assert_int_equal(empty->code, EINVAL);
	assert_null(block_open_memory(1ULL << 60, &huge));
	assert_non_null(strstr(huge->message, "1152921504606846976"));
}

static void null_answers_at_once(void **state)
{
	struct block *block = block_open_null(1 * GiB);
	char byte = 'x';

	assert_int_equal(transfer(block, BLOCK_WRITE, 512, &byte, 1), 0);
	assert_int_equal(transfer(block, BLOCK_READ, 512, &byte, 1), 0);
	assert_int_equal(zero(block, BLOCK_DISCARD, 0, 0, 1 * GiB), 0);
	assert_int_equal(run(block, (struct block_request){ .op = BLOCK_FLUSH }), 0);
	assert_int_equal(transfer(block, BLOCK_READ, 1 * GiB, &byte, 1), -EINVAL);
	block_close(block);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(starts_as_zeroes_and_keeps_what_is_written),
		cmocka_unit_test(a_hint_takes_any_numbers),
		cmocka_unit_test(gathers_and_scatters),
		cmocka_unit_test(writes_exactly_the_range),
		cmocka_unit_test(a_write_is_done_when_others_see_it),
		cmocka_unit_test(zeroes_exactly_the_range),
		cmocka_unit_test(refuses_what_is_not_inside),
		cmocka_unit_test(says_what_it_is),
		cmocka_unit_test(has_a_sentence_for_impossible_sizes),
		cmocka_unit_test(null_answers_at_once),
	};

	int failed;

	ring = block_ring_new(BLOCK_RING_AUTO, 16, NULL);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	block_ring_free(ring);
	return failed;
}
