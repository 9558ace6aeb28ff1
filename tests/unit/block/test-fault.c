// SPDX-License-Identifier: LGPL-2.1-or-later
/* The faults that tests rely on, each on both kinds of ring. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>

#include "block/fault.h"
#include "tests/unit/block/image.h"
#include "tests/unit/test.h"

#define IMAGE_BYTES (1 * MiB)
#define BLOCKS	    (IMAGE_BYTES / BLOCK_FAULT_BLOCK)

static struct block_ring *ring;
static struct block *block;
static char *path, *control_path, *stable_path;
static struct block_fault_control *control;
static uint8_t *buffer; /* aligned to a page, IMAGE_BYTES */
static int stable_fd;

static struct block *open_block(enum block_cache cache)
{
	const struct block_file_options options = { .cache = cache, .discard = true };
	struct block *opened;

	opened = block_open_fault(image_open(path, cache), &options,
				  open(control_path, O_RDWR | O_CLOEXEC),
				  open(stable_path, O_RDWR | O_CLOEXEC), NULL);
	assert_non_null(opened);
	return opened;
}

static int setup_kind(enum block_ring_kind kind)
{
	size_t bytes = sizeof(*control) + BLOCKS;
	int fd;

	ring = block_ring_new(kind, 16, NULL);
	path = image_make(false, IMAGE_BYTES);
	stable_path = image_make(false, IMAGE_BYTES);
	control_path = image_make(false, bytes);
	buffer = aligned_alloc(4096, IMAGE_BYTES);
	fd = open(control_path, O_RDWR | O_CLOEXEC);
	control = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	control->magic = BLOCK_FAULT_MAGIC;
	stable_fd = open(stable_path, O_RDONLY | O_CLOEXEC);
	block = open_block(BLOCK_CACHE_WRITEBACK);
	return 0;
}

static int setup_uring(void **state)
{
	return setup_kind(BLOCK_RING_AUTO);
}

static int setup_threads(void **state)
{
	return setup_kind(BLOCK_RING_THREADS);
}

static int teardown(void **state)
{
	block_close(block);
	block_ring_free(ring);
	munmap(control, sizeof(*control) + BLOCKS);
	close(stable_fd);
	image_remove(path);
	image_remove(stable_path);
	image_remove(control_path);
	free(buffer);
	return 0;
}

static int move(enum block_op op, unsigned flags, uint64_t offset, size_t bytes)
{
	return transfer(ring, block, op, flags, offset, buffer, bytes);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

static void without_rules_it_is_a_file(void **state)
{
	memset(buffer, 0x5a, 8192);
	assert_int_equal(move(BLOCK_WRITE, 0, 4096, 8192), 0);
	memset(buffer, 0, 8192);
	assert_int_equal(move(BLOCK_READ, 0, 4096, 8192), 0);
	assert_int_equal(buffer[8191], 0x5a);
	assert_int_equal(range(ring, block, BLOCK_WRITE_ZEROES, 0, 4096, 4096), 0);
	assert_int_equal(range(ring, block, BLOCK_DISCARD, 0, 8192, 4096), 0);
	assert_int_equal(move(BLOCK_READ, 0, 4096, 8192), 0);
	assert_int_equal(buffer[0], 0);
	assert_int_equal(range(ring, block, BLOCK_FLUSH, 0, 0, 0), 0);
	assert_int_equal(control->rules[BLOCK_READ].begun, 2);
	assert_int_equal(control->rules[BLOCK_READ].succeeded, 2);
	assert_int_equal(control->rules[BLOCK_READ].held, 0);
	assert_int_equal(block_get_info(block)->capacity, IMAGE_BYTES);
}

static void delays(void **state)
{
	uint64_t start = now_ms();

	control->rules[BLOCK_WRITE].delay_ms = 120;
	assert_int_equal(move(BLOCK_WRITE, 0, 0, 4096), 0);
	assert_in_range(now_ms() - start, 119, 20000);
	assert_int_equal(control->rules[BLOCK_WRITE].held, 0);
}

struct waiting {
	struct block_request request;
	bool done;
	int result;
};

static void finished(struct block_request *request, int result)
{
	struct waiting *waiting = container_of(request, struct waiting, request);

	waiting->done = true;
	waiting->result = result;
}

static void turn_for(uint64_t ms)
{
	uint64_t start = now_ms();

	while (now_ms() - start < ms) {
		block_ring_wait(ring, 10000000);
		block_ring_reap(ring);
	}
}

static void hangs_until_it_is_let_go(void **state)
{
	struct iovec iov = { buffer, 4096 };
	struct waiting write = {
		.request = { .op = BLOCK_WRITE,
			     .bytes = 4096,
			     .iov = &iov,
			     .iovcnt = 1,
			     .done = finished },
	}, read;

	read = write;
	read.request.op = BLOCK_READ;
	control->rules[BLOCK_WRITE].hang = 1;
	block_submit(block, ring, &write.request);
	block_ring_flush(ring);
	turn_for(50);
	assert_false(write.done);
	assert_int_equal(control->rules[BLOCK_WRITE].held, 1);
	assert_int_equal(block_ring_in_flight(ring), 1);
	/* The other kinds go on. */
	block_submit(block, ring, &read.request);
	block_ring_flush(ring);
	while (!read.done)
		turn_for(10);
	assert_int_equal(read.result, 0);
	assert_false(write.done);
	control->rules[BLOCK_WRITE].hang = 0;
	while (!write.done)
		turn_for(10);
	assert_int_equal(write.result, 0);
	assert_int_equal(control->rules[BLOCK_WRITE].held, 0);
	assert_int_equal(block_ring_in_flight(ring), 0);
}

static void fails_where_and_as_often_as_it_is_told(void **state)
{
	struct block_fault_rule *rule = &control->rules[BLOCK_READ];

	rule->error = EIO;
	rule->first = 8192;
	rule->last = 8192 + 4095;
	rule->skip = 1;
	rule->left = 2;
	assert_int_equal(move(BLOCK_READ, 0, 0, 8192), 0);
	assert_int_equal(move(BLOCK_READ, 0, 12288, 4096), 0);
	assert_int_equal(move(BLOCK_READ, 0, 8192, 512), 0); /* spared */
	assert_int_equal(move(BLOCK_READ, 0, 4096, 8192), -EIO);
	assert_int_equal(move(BLOCK_READ, 0, 8192 + 4000, 4096), -EIO);
	assert_int_equal(move(BLOCK_READ, 0, 8192, 512), 0);
	rule->left = BLOCK_FAULT_WITHOUT_END;
	assert_int_equal(move(BLOCK_READ, 0, 8192, 512), -EIO);
	assert_int_equal(move(BLOCK_READ, 0, 8192, 512), -EIO);
	assert_int_equal(rule->failed, 4);
	assert_int_equal(rule->succeeded, 4);
}

/* The error is the system call's: what the file backend makes of it is tested as well. */
static void fails_as_the_image_would(void **state)
{
	control->rules[BLOCK_WRITE].error = EDQUOT;
	control->rules[BLOCK_WRITE].left = 1;
	memset(buffer, 1, 4096);
	assert_int_equal(move(BLOCK_WRITE, 0, 0, 4096), -ENOSPC);
	assert_int_equal(move(BLOCK_READ, 0, 0, 4096), 0);
	assert_int_equal(buffer[0], 0);
	control->rules[BLOCK_FLUSH].error = EIO;
	control->rules[BLOCK_FLUSH].left = 1;
	assert_int_equal(range(ring, block, BLOCK_FLUSH, 0, 0, 0), -EIO);
	assert_int_equal(range(ring, block, BLOCK_FLUSH, 0, 0, 0), -EIO);
}

static uint8_t stable_byte(uint64_t offset)
{
	uint8_t byte;

	assert_int_equal(pread(stable_fd, &byte, 1, offset), 1);
	return byte;
}

static void a_write_is_stable_after_a_flush(void **state)
{
	memset(buffer, 7, 8192);
	assert_int_equal(move(BLOCK_WRITE, 0, 4096, 8192), 0);
	assert_int_equal(stable_byte(4096), 0);
	assert_int_equal(control->behind[1], 1);
	/* A restart is no power cut. */
	block_close(block);
	block = open_block(BLOCK_CACHE_WRITEBACK);
	assert_int_equal(range(ring, block, BLOCK_FLUSH, 0, 0, 0), 0);
	assert_int_equal(stable_byte(4096), 7);
	assert_int_equal(stable_byte(4096 + 8191), 7);
	assert_int_equal(control->behind[1], 0);
	assert_int_equal(range(ring, block, BLOCK_WRITE_ZEROES, 0, 8192, 4096), 0);
	assert_int_equal(stable_byte(8192), 7);
	assert_int_equal(range(ring, block, BLOCK_FLUSH, 0, 0, 0), 0);
	assert_int_equal(stable_byte(8192), 0);
}

static void a_flush_that_failed_makes_nothing_stable(void **state)
{
	memset(buffer, 7, 4096);
	assert_int_equal(move(BLOCK_WRITE, 0, 0, 4096), 0);
	control->rules[BLOCK_FLUSH].error = EIO;
	control->rules[BLOCK_FLUSH].left = 1;
	assert_int_equal(range(ring, block, BLOCK_FLUSH, 0, 0, 0), -EIO);
	assert_int_equal(stable_byte(0), 0);
}

static void a_write_with_fua_is_stable_alone(void **state)
{
	memset(buffer, 7, 4096);
	assert_int_equal(move(BLOCK_WRITE, 0, 0, 4096), 0);
	assert_int_equal(move(BLOCK_WRITE, BLOCK_FUA, 8192, 4096), 0);
	assert_int_equal(stable_byte(8192), 7);
	assert_int_equal(stable_byte(0), 0);
}

static void without_a_cache_all_is_stable(void **state)
{
	block_close(block);
	block = open_block(BLOCK_CACHE_WRITETHROUGH);
	memset(buffer, 7, 4096);
	assert_int_equal(move(BLOCK_WRITE, 0, 0, 4096), 0);
	assert_int_equal(stable_byte(0), 7);
}

static void wants_a_control_file_that_fits(void **state)
{
	const struct block_file_options options = { .cache = BLOCK_CACHE_WRITEBACK };
	_cleanup_error_ struct error *err = NULL;

	assert_int_equal(truncate(control_path, sizeof(*control) + BLOCKS - 1), 0);
	assert_null(block_open_fault(image_open(path, BLOCK_CACHE_WRITEBACK), &options,
				     open(control_path, O_RDWR | O_CLOEXEC),
				     open(stable_path, O_RDWR | O_CLOEXEC), &err));
	assert_non_null(err);
}

#define BOTH(test)                                                                                 \
	cmocka_unit_test_setup_teardown(test, setup_uring, teardown),                              \
		cmocka_unit_test_setup_teardown(test, setup_threads, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(without_rules_it_is_a_file),
		BOTH(delays),
		BOTH(hangs_until_it_is_let_go),
		BOTH(fails_where_and_as_often_as_it_is_told),
		BOTH(fails_as_the_image_would),
		BOTH(a_write_is_stable_after_a_flush),
		BOTH(a_flush_that_failed_makes_nothing_stable),
		BOTH(a_write_with_fua_is_stable_alone),
		BOTH(without_a_cache_all_is_stable),
		BOTH(wants_a_control_file_that_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
