// SPDX-License-Identifier: LGPL-2.1-or-later
/* The rules of a file backend, each on both kinds of ring. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "block/backend.h"
#include "tests/unit/block/image.h"
#include "tests/unit/test.h"

#define IMAGE_BYTES (1 * MiB)

static struct block_ring *ring;
static char *path;
static uint8_t *buffer; /* aligned to a page, IMAGE_BYTES */

static int setup_kind(enum block_ring_kind kind)
{
	ring = block_ring_new(kind, 16, NULL);
	path = image_make(true, IMAGE_BYTES);
	buffer = aligned_alloc(4096, IMAGE_BYTES);
	return ring && buffer ? 0 : -1;
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
	block_ring_free(ring);
	image_remove(path);
	free(buffer);
	return 0;
}

static struct block *direct_block(void)
{
	struct block *block = image_block(path, BLOCK_CACHE_NONE);

	if (!block)
		SKIP("no O_DIRECT on this file system");
	return block;
}

static struct block *open_read_only(enum block_cache cache)
{
	const struct block_file_options options = { .cache = cache,
						    .read_only = true,
						    .discard = true };
	struct block *block = block_open_file(open(path, O_RDONLY | O_CLOEXEC), &options, NULL);

	assert_non_null(block);
	return block;
}

/* What is in the file, seen by somebody else. */
static void read_file(uint64_t offset, void *data, size_t bytes)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(pread(fd, data, bytes, offset), bytes);
}

static void fill(uint8_t *data, size_t bytes, unsigned seed)
{
	size_t i;

	for (i = 0; i < bytes; i++)
		data[i] = (i * 31 + seed + (i >> 9)) & 0xff;
}

static void assert_all(const uint8_t *data, uint8_t value, size_t bytes)
{
	size_t i;

	for (i = 0; i < bytes; i++)
		assert_int_equal(data[i], value);
}

static void writes_and_reads(void **state)
{
	static uint8_t got[8192];
	enum block_cache cache;

	for (cache = BLOCK_CACHE_NONE; cache <= BLOCK_CACHE_WRITETHROUGH; cache++) {
		struct block *block = image_block(path, cache);

		if (!block)
			continue;
		fill(buffer, 8192, cache);
		assert_int_equal(transfer(ring, block, BLOCK_WRITE, 0, 4096, buffer, 8192), 0);
		read_file(4096, got, 8192);
		assert_memory_equal(got, buffer, 8192);
		memset(buffer, 0, 8192);
		assert_int_equal(transfer(ring, block, BLOCK_READ, 0, 4096, buffer, 8192), 0);
		assert_memory_equal(got, buffer, 8192);
		assert_int_equal(range(ring, block, BLOCK_FLUSH, 0, 0, 0), 0);
		block_close(block);
	}
}

static void says_what_it_is(void **state)
{
	struct block *block = image_block(path, BLOCK_CACHE_WRITEBACK);
	const struct block_info *info = block_get_info(block);

	assert_int_equal(info->capacity, IMAGE_BYTES);
	assert_int_equal(info->block_size, 1);
	assert_int_equal(info->memory_alignment, 1);
	assert_true(info->volatile_cache);
	assert_false(info->read_only);
	assert_int_equal(truncate(path, 2 * IMAGE_BYTES), 0);
	assert_int_equal(info->capacity, IMAGE_BYTES);
	assert_int_equal(block_refresh(block, 0), 0);
	assert_int_equal(info->capacity, 2 * IMAGE_BYTES);
	assert_int_equal(block_refresh(block, IMAGE_BYTES / 2), 0);
	assert_int_equal(info->capacity, IMAGE_BYTES / 2);
	assert_int_equal(block_refresh(block, 4 * IMAGE_BYTES), 0);
	assert_int_equal(info->capacity, 2 * IMAGE_BYTES);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(block_refresh(block, 0), -EINVAL);
	assert_int_equal(info->capacity, 2 * IMAGE_BYTES);
	assert_int_equal(truncate(path, IMAGE_BYTES), 0);
	block_close(block);

	block = image_block(path, BLOCK_CACHE_WRITETHROUGH);
	assert_false(block_get_info(block)->volatile_cache);
	block_close(block);

	block = direct_block();
	info = block_get_info(block);
	assert_true(info->volatile_cache);
	assert_true(info->block_size >= 512 && info->block_size <= 4096);
	assert_true(is_power_of_two(info->memory_alignment));
	block_close(block);
}

static void rounds_the_capacity_down(void **state)
{
	struct block *block;
	uint32_t size;

	assert_int_equal(truncate(path, IMAGE_BYTES + 700), 0);
	block = direct_block();
	size = block_get_info(block)->block_size;
	assert_int_equal(block_get_info(block)->capacity, ROUND_DOWN(IMAGE_BYTES + 700, size));
	assert_int_equal(transfer(ring, block, BLOCK_READ, 0, 256, buffer, size), -EINVAL);
	block_close(block);
}

static void bounces_buffers_that_do_not_suit_o_direct(void **state)
{
	static uint8_t got[8192];
	struct block *block = direct_block();
	struct iovec iov[] = { { buffer + 4100, 5000 }, { buffer + 3, 3192 } };
	struct block_request request = {
		.op = BLOCK_WRITE, .offset = 8192, .bytes = 8192, .iov = iov, .iovcnt = 2
	};

	fill(buffer, 3 * 4096, 7);
	assert_int_equal(run(ring, block, request), 0);
	read_file(8192, got, 8192);
	assert_memory_equal(got, buffer + 4100, 5000);
	assert_memory_equal(got + 5000, buffer + 3, 3192);
	memset(buffer, 0xee, 3 * 4096);
	request.op = BLOCK_READ;
	assert_int_equal(run(ring, block, request), 0);
	assert_memory_equal(got, buffer + 4100, 5000);
	assert_memory_equal(got + 5000, buffer + 3, 3192);
	assert_int_equal(buffer[2], 0xee);
	assert_int_equal(buffer[3195], 0xee);
	block_close(block);
}

static void reads_zeroes_behind_a_short_files_end(void **state)
{
	static const uint64_t ends[] = { 4096, 4096 + 512, 4096 + 700, 2000, 0 };
	enum block_cache cache;
	size_t i;

	for (cache = BLOCK_CACHE_NONE; cache <= BLOCK_CACHE_WRITEBACK; cache++) {
		struct block *block = image_block(path, cache);

		if (!block)
			continue;
		for (i = 0; i < ARRAY_SIZE(ends); i++) {
			fill(buffer, 16384, i);
			assert_int_equal(truncate(path, IMAGE_BYTES), 0);
			assert_int_equal(transfer(ring, block, BLOCK_WRITE, 0, 0, buffer, 16384),
					 0);
			assert_int_equal(truncate(path, ends[i]), 0);
			memset(buffer + 16384, 0xee, 16384);
			assert_int_equal(
				transfer(ring, block, BLOCK_READ, 0, 0, buffer + 16384, 16384), 0);
			assert_memory_equal(buffer, buffer + 16384, ends[i]);
			assert_all(buffer + 16384 + ends[i], 0, 16384 - ends[i]);
		}
		block_close(block);
		assert_int_equal(truncate(path, IMAGE_BYTES), 0);
	}
}

static void *lost_page;

static void give_a_page(int signal)
{
	if (mmap(lost_page, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		 -1, 0) == MAP_FAILED)
		_exit(1);
}

/* A client may take its memory away while we copy to it. Where there is a handler for that, it must
 * run on every thread. */
static void memory_may_go_while_it_is_zeroed(void **state)
{
	const struct sigaction action = { .sa_handler = give_a_page };
	struct block *block = image_block(path, BLOCK_CACHE_WRITEBACK);
	struct sigaction before;
	int fd = memfd_create("memory", MFD_CLOEXEC);

	assert_true(fd >= 0 && ftruncate(fd, 4096) == 0);
	lost_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(lost_page, MAP_FAILED);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(sigaction(SIGBUS, &action, &before), 0);
	assert_int_equal(transfer(ring, block, BLOCK_READ, 0, 0, lost_page, 4096), 0);
	assert_int_equal(sigaction(SIGBUS, &before, NULL), 0);
	munmap(lost_page, 4096);
	close(fd);
	block_close(block);
}

static void refuses_to_change_a_read_only_image(void **state)
{
	struct block *block = open_read_only(BLOCK_CACHE_WRITEBACK);
	const struct block_info *info = block_get_info(block);

	assert_true(info->read_only);
	assert_false(info->volatile_cache);
	assert_false(info->can_discard);
	assert_false(info->can_write_zeroes);
	assert_int_equal(transfer(ring, block, BLOCK_WRITE, 0, 0, buffer, 512), -EROFS);
	assert_int_equal(range(ring, block, BLOCK_WRITE_ZEROES, 0, 0, 512), -EROFS);
	assert_int_equal(range(ring, block, BLOCK_DISCARD, 0, 0, 512), -EROFS);
	assert_int_equal(transfer(ring, block, BLOCK_READ, 0, 0, buffer, 512), 0);
	assert_int_equal(range(ring, block, BLOCK_FLUSH, 0, 0, 0), 0);
	block_close(block);
}

/*
 * Short transfers: a prepare() that puts itself between the file and the ring and makes each system
 * call smaller than asked for.
 */
static const struct block_ops *file_ops;
static size_t cut_to;
static unsigned calls;

static void cut_prepare(struct block_request *request, struct block_call *call)
{
	size_t left = cut_to;
	unsigned i;

	file_ops->prepare(request, call);
	__atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
	for (i = 0; i < call->iovcnt && left; i++) {
		struct iovec piece = call->iov[i];

		piece.iov_len = MIN(piece.iov_len, left);
		call->scratch[i] = piece;
		left -= piece.iov_len;
	}
	call->iov = call->scratch;
	call->iovcnt = i;
}

static void continues_short_transfers(void **state)
{
	static const struct {
		enum block_cache cache;
		size_t offset, cut;
	} cases[] = {
		{ BLOCK_CACHE_WRITEBACK, 0, 1000 },
		{ BLOCK_CACHE_WRITEBACK, 13, 4096 },
		{ BLOCK_CACHE_NONE, 0, 4096 },
		{ BLOCK_CACHE_NONE, 8, 8192 }, /* through a bounce buffer */
	};
	static uint8_t got[5 * 8192];
	size_t c;

	for (c = 0; c < ARRAY_SIZE(cases); c++) {
		struct block *block = image_block(path, cases[c].cache);
		uint8_t *data = buffer + cases[c].offset;
		struct iovec iov[5];
		struct block_request request = { .op = BLOCK_WRITE,
						 .offset = 4096,
						 .bytes = sizeof(got),
						 .iov = iov,
						 .iovcnt = ARRAY_SIZE(iov) };
		struct block_ops cut_ops;
		size_t i;

		if (!block)
			continue;
		file_ops = block->ops;
		cut_ops = *file_ops;
		cut_ops.prepare = cut_prepare;
		block->ops = &cut_ops;
		cut_to = cases[c].cut;
		calls = 0;
		fill(data, sizeof(got), c);
		for (i = 0; i < ARRAY_SIZE(iov); i++)
			iov[i] = (struct iovec){ data + i * 8192, 8192 };
		assert_int_equal(run(ring, block, request), 0);
		assert_int_equal(calls, DIV_ROUND_UP(sizeof(got), cut_to));
		read_file(4096, got, sizeof(got));
		assert_memory_equal(got, data, sizeof(got));
		memset(data, 0, sizeof(got));
		request.op = BLOCK_READ;
		assert_int_equal(run(ring, block, request), 0);
		assert_memory_equal(got, data, sizeof(got));
		assert_int_equal(calls, 2 * DIV_ROUND_UP(sizeof(got), cut_to));
		block_close(block);
	}
}

/* Many continuations at a time: a ring has one scratch array for all of them. */
static unsigned many_done;

static void count_done(struct block_request *request, int result)
{
	assert_int_equal(result, 0);
	many_done++;
}

static void continues_many_at_a_time(void **state)
{
	enum {
		COUNT = 24,
		EACH = 16384
	};
	static struct iovec iov[COUNT][4];
	static uint8_t got[COUNT * EACH];
	struct block_request requests[COUNT];
	struct block *block = image_block(path, BLOCK_CACHE_WRITEBACK);
	struct block_ops cut_ops = *block->ops;
	unsigned i, j;

	file_ops = block->ops;
	cut_ops.prepare = cut_prepare;
	block->ops = &cut_ops;
	cut_to = 6000;
	many_done = 0;
	fill(buffer, sizeof(got), 3);
	for (i = 0; i < COUNT; i++) {
		for (j = 0; j < 4; j++)
			iov[i][j] = (struct iovec){ buffer + i * EACH + j * 4096, 4096 };
		requests[i] = (struct block_request){ .op = BLOCK_WRITE,
						      .offset = i * EACH,
						      .bytes = EACH,
						      .iov = iov[i],
						      .iovcnt = 4,
						      .done = count_done };
		block_submit(block, ring, &requests[i]);
	}
	while (block_ring_in_flight(ring)) {
		block_ring_wait(ring, -1);
		block_ring_reap(ring);
	}
	assert_int_equal(many_done, COUNT);
	read_file(0, got, sizeof(got));
	assert_memory_equal(got, buffer, sizeof(got));
	block_close(block);
}

/*
 * Durability. cachestat() tells how many pages of a file are not yet on the disk.
 */
struct cachestat_range {
	uint64_t offset, bytes;
};

struct cachestat {
	uint64_t cache, dirty, writeback, evicted, recently_evicted;
};

static int64_t dirty_pages(void)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct cachestat_range whole = { 0, 0 };
	struct cachestat stat;

	if (syscall(451 /* cachestat, Linux 6.5 */, fd, &whole, &stat, 0) < 0)
		return -errno;
	return stat.dirty + stat.writeback;
}

static struct block *block_with_dirty_pages(enum block_cache cache)
{
	struct block *plain = image_block(path, BLOCK_CACHE_WRITEBACK);
	int64_t dirty;

	assert_int_equal(transfer(ring, plain, BLOCK_WRITE, 0, 0, buffer, 65536), 0);
	dirty = dirty_pages();
	assert_int_equal(range(ring, plain, BLOCK_FLUSH, 0, 0, 0), 0);
	block_close(plain);
	if (dirty <= 0 || dirty_pages() != 0)
		SKIP("no cachestat() here, or a file system that never writes back");
	return image_block(path, cache);
}

static void of_a_file_in_memory_data_is_copied_at_once(void **state)
{
	const struct block_file_options options = { .cache = BLOCK_CACHE_WRITEBACK,
						    .discard = true,
						    .in_memory = true };
	struct block *block = block_open_file(image_open(path, options.cache), &options, NULL);
	struct iovec iov[] = { { buffer, 4096 }, { buffer + 8192, 4096 } };
	struct block_request request = { .op = BLOCK_WRITE,
					 .offset = IMAGE_BYTES - 8192,
					 .bytes = 8192,
					 .iov = iov,
					 .iovcnt = 2,
					 .done = count_done };
	static uint8_t got[8192];

	fill(buffer, 12288, 3);
	many_done = 0;
	block_submit(block, ring, &request);
	assert_int_equal(many_done, 1);
	read_file(request.offset, got, 8192);
	assert_memory_equal(got, buffer, 4096);
	assert_memory_equal(got + 4096, buffer + 8192, 4096);
	/* What it does not have is zeroes, as ever. */
	assert_int_equal(truncate(path, IMAGE_BYTES - 4096), 0);
	request.op = BLOCK_READ;
	block_submit(block, ring, &request);
	assert_int_equal(many_done, 2);
	assert_memory_equal(buffer, got, 4096);
	assert_all(buffer + 8192, 0, 4096);
	/* A hole may be large, and waits for its turn. */
	request = (struct block_request){ .op = BLOCK_DISCARD, .bytes = 4096, .done = count_done };
	if (block_get_info(block)->can_discard) {
		block_submit(block, ring, &request);
		assert_int_equal(block_ring_in_flight(ring), 1);
		while (block_ring_in_flight(ring)) {
			block_ring_wait(ring, -1);
			block_ring_reap(ring);
		}
		assert_int_equal(many_done, 3);
	}
	block_close(block);
}

static void flush_makes_writes_durable(void **state)
{
	struct block *block = block_with_dirty_pages(BLOCK_CACHE_WRITEBACK);

	assert_int_equal(transfer(ring, block, BLOCK_WRITE, 0, 0, buffer, 65536), 0);
	assert_true(dirty_pages() > 0);
	assert_int_equal(range(ring, block, BLOCK_FLUSH, 0, 0, 0), 0);
	assert_int_equal(dirty_pages(), 0);
	block_close(block);
}

static void fua_makes_a_write_durable(void **state)
{
	struct block *block = block_with_dirty_pages(BLOCK_CACHE_WRITEBACK);

	assert_int_equal(transfer(ring, block, BLOCK_WRITE, BLOCK_FUA, 0, buffer, 65536), 0);
	assert_int_equal(dirty_pages(), 0);
	block_close(block);
}

static void writethrough_makes_every_write_durable(void **state)
{
	struct block *block = block_with_dirty_pages(BLOCK_CACHE_WRITETHROUGH);

	assert_int_equal(transfer(ring, block, BLOCK_WRITE, 0, 0, buffer, 65536), 0);
	assert_int_equal(dirty_pages(), 0);
	assert_int_equal(transfer(ring, block, BLOCK_WRITE, 0, 0, buffer + 4, 65536), 0);
	assert_int_equal(dirty_pages(), 0);
	block_close(block);
}

/* Where the system calls of a request are made up, whatever the ring: (kind, flags) in order. */
struct step {
	enum block_call_kind kind;
	int flags;
	int outcome; /* what advance() is told */
};

static void assert_steps(struct block *block, struct block_request request,
			 const struct step *steps, size_t count, int result)
{
	struct iovec scratch[BLOCK_MAX_IOV];
	struct block_ops ops = *block->ops;
	size_t i;

	request.priv.block = block;
	for (i = 0; i < count; i++) {
		struct block_call call = { .scratch = scratch };

		ops.prepare(&request, &call);
		assert_int_equal(call.kind, steps[i].kind);
		assert_int_equal(call.flags, steps[i].flags);
		assert_int_equal(ops.advance(&request, steps[i].outcome), i + 1 == count);
	}
	assert_int_equal(request.priv.result, result);
}

/* Lets submit() choose the first step, and nothing run. */
static struct block_request *caught;

static void catch_prepare(struct block_request *request, struct block_call *call)
{
	caught = request;
	*call = (struct block_call){ .kind = BLOCK_CALL_SYNC, .fd = -1, .scratch = call->scratch };
}

static bool catch_advance(struct block_request *request, int result)
{
	request->priv.result = 0;
	return true;
}

static void assert_request_steps(struct block *block, enum block_op op, unsigned flags,
				 const struct step *steps, size_t count, int result)
{
	const struct block_ops *real = block->ops;
	struct block_ops catching = *real;
	struct iovec iov = { buffer, 4096 };
	struct block_request request = { .op = op,
					 .flags = flags,
					 .bytes = 4096,
					 .iov = &iov,
					 .iovcnt = 1,
					 .done = count_done };

	catching.prepare = catch_prepare;
	catching.advance = catch_advance;
	caught = NULL;
	block->ops = &catching;
	block_submit(block, ring, &request);
	while (block_ring_in_flight(ring)) {
		block_ring_wait(ring, -1);
		block_ring_reap(ring);
	}
	block->ops = real;
	assert_non_null(caught);
	assert_steps(block, request, steps, count, result);
}

#define ASSERT_STEPS(block, op, flags, result, ...)                                                \
	do {                                                                                       \
		const struct step steps[] = { __VA_ARGS__ };                                       \
		assert_request_steps(block, op, flags, steps, ARRAY_SIZE(steps), result);          \
	} while (0)

#define PUNCH	   (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO_RANGE (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)
#define ALLOCATE   FALLOC_FL_KEEP_SIZE

static void fua_is_a_flag_of_the_write(void **state)
{
	struct block *block = image_block(path, BLOCK_CACHE_WRITEBACK);

	ASSERT_STEPS(block, BLOCK_WRITE, 0, 0, { BLOCK_CALL_WRITE, 0, 4096 });
	ASSERT_STEPS(block, BLOCK_WRITE, BLOCK_FUA, 0, { BLOCK_CALL_WRITE, RWF_DSYNC, 4096 });
	/* Also on what is left of a short one. */
	ASSERT_STEPS(block, BLOCK_WRITE, BLOCK_FUA, 0, { BLOCK_CALL_WRITE, RWF_DSYNC, 1000 },
		     { BLOCK_CALL_WRITE, RWF_DSYNC, 3096 });
	/* A kernel that does not know it: from then on, without. */
	ASSERT_STEPS(block, BLOCK_WRITE, BLOCK_FUA, 0, { BLOCK_CALL_WRITE, RWF_DSYNC, -EOPNOTSUPP },
		     { BLOCK_CALL_WRITE, 0, 4096 }, { BLOCK_CALL_SYNC, 0, 0 });
	ASSERT_STEPS(block, BLOCK_WRITE, BLOCK_FUA, -EIO, { BLOCK_CALL_WRITE, 0, 4096 },
		     { BLOCK_CALL_SYNC, 0, -EIO });
	block_close(block);

	block = direct_block();
	ASSERT_STEPS(block, BLOCK_WRITE, BLOCK_FUA, 0, { BLOCK_CALL_WRITE, RWF_DSYNC, 4096 });
	block_close(block);
}

static void errors_keep_their_meaning(void **state)
{
	struct block *block = image_block(path, BLOCK_CACHE_WRITEBACK);

	ASSERT_STEPS(block, BLOCK_WRITE, 0, -ENOSPC, { BLOCK_CALL_WRITE, 0, -ENOSPC });
	ASSERT_STEPS(block, BLOCK_WRITE, 0, -ENOSPC, { BLOCK_CALL_WRITE, 0, -EDQUOT });
	ASSERT_STEPS(block, BLOCK_WRITE, 0, -ENOSPC, { BLOCK_CALL_WRITE, 0, -EFBIG });
	ASSERT_STEPS(block, BLOCK_READ, 0, -EIO, { BLOCK_CALL_READ, 0, -EIO });
	ASSERT_STEPS(block, BLOCK_READ, 0, -ENODATA, { BLOCK_CALL_READ, 0, -ENODATA });
	ASSERT_STEPS(block, BLOCK_WRITE, 0, -EIO, { BLOCK_CALL_WRITE, 0, 0 });
	/* What is left after an error in the middle is not silently good. */
	ASSERT_STEPS(block, BLOCK_WRITE, 0, -ENOSPC, { BLOCK_CALL_WRITE, 0, 512 },
		     { BLOCK_CALL_WRITE, 0, -ENOSPC });
	ASSERT_STEPS(block, BLOCK_READ, 0, 0, { BLOCK_CALL_READ, 0, -EINTR },
		     { BLOCK_CALL_READ, 0, -EAGAIN }, { BLOCK_CALL_READ, 0, 4096 });
	block_close(block);
}

static void a_failed_flush_is_not_forgotten(void **state)
{
	struct block *block = image_block(path, BLOCK_CACHE_WRITEBACK);

	ASSERT_STEPS(block, BLOCK_FLUSH, 0, 0, { BLOCK_CALL_SYNC, 0, 0 });
	ASSERT_STEPS(block, BLOCK_FLUSH, 0, -EIO, { BLOCK_CALL_SYNC, 0, -EIO });
	assert_int_equal(range(ring, block, BLOCK_FLUSH, 0, 0, 0), -EIO);
	block_close(block);
}

static void zeroes_by_what_the_file_system_has(void **state)
{
	static uint8_t got[4 * 65536];
	struct block *block = image_block(path, BLOCK_CACHE_WRITEBACK);

	ASSERT_STEPS(block, BLOCK_WRITE_ZEROES, 0, 0, { BLOCK_CALL_FALLOCATE, PUNCH, 0 });
	ASSERT_STEPS(block, BLOCK_WRITE_ZEROES, BLOCK_NO_HOLE, 0,
		     { BLOCK_CALL_FALLOCATE, ZERO_RANGE, 0 });
	ASSERT_STEPS(block, BLOCK_WRITE_ZEROES, BLOCK_FUA, 0, { BLOCK_CALL_FALLOCATE, PUNCH, 0 },
		     { BLOCK_CALL_SYNC, 0, 0 });
	ASSERT_STEPS(block, BLOCK_DISCARD, 0, 0, { BLOCK_CALL_FALLOCATE, PUNCH, 0 });
	/* No ZERO_RANGE: a hole that is filled again; remembered. */
	ASSERT_STEPS(block, BLOCK_WRITE_ZEROES, BLOCK_NO_HOLE, 0,
		     { BLOCK_CALL_FALLOCATE, ZERO_RANGE, -EOPNOTSUPP },
		     { BLOCK_CALL_FALLOCATE, PUNCH, 0 }, { BLOCK_CALL_FALLOCATE, ALLOCATE, 0 });
	ASSERT_STEPS(block, BLOCK_WRITE_ZEROES, BLOCK_NO_HOLE, -ENOSPC,
		     { BLOCK_CALL_FALLOCATE, PUNCH, 0 },
		     { BLOCK_CALL_FALLOCATE, ALLOCATE, -ENOSPC });
	/* Nothing at all: they are written, and a short write goes on. */
	ASSERT_STEPS(block, BLOCK_WRITE_ZEROES, BLOCK_FUA, 0,
		     { BLOCK_CALL_FALLOCATE, PUNCH, -EOPNOTSUPP }, { BLOCK_CALL_WRITE, 0, 1024 },
		     { BLOCK_CALL_WRITE, 0, 3072 }, { BLOCK_CALL_SYNC, 0, 0 });
	ASSERT_STEPS(block, BLOCK_WRITE_ZEROES, BLOCK_NO_HOLE, -ENOSPC,
		     { BLOCK_CALL_WRITE, 0, -ENOSPC });
	ASSERT_STEPS(block, BLOCK_DISCARD, 0, 0, { BLOCK_CALL_FALLOCATE, PUNCH, -EOPNOTSUPP });
	memset(buffer, 0xa5, 4 * 65536);
	assert_int_equal(transfer(ring, block, BLOCK_WRITE, 0, 0, buffer, 4 * 65536), 0);
	assert_int_equal(range(ring, block, BLOCK_WRITE_ZEROES, 0, 512, 3 * 65536), 0);
	read_file(0, got, sizeof(got));
	assert_all(got, 0xa5, 512);
	assert_all(got + 512, 0, 3 * 65536);
	assert_all(got + 512 + 3 * 65536, 0xa5, 65536 - 512);
	block_close(block);
}

static void discard_and_zeroes_read_as_zeroes(void **state)
{
	static uint8_t got[65536];
	struct block *block = image_block(path, BLOCK_CACHE_WRITEBACK);
	const struct block_info *info = block_get_info(block);
	struct stat before, after;

	if (!info->can_write_zeroes || !info->can_discard)
		SKIP("no holes on this file system");
	memset(buffer, 0xa5, 65536);
	assert_int_equal(transfer(ring, block, BLOCK_WRITE, BLOCK_FUA, 0, buffer, 65536), 0);
	assert_int_equal(range(ring, block, BLOCK_WRITE_ZEROES, BLOCK_NO_HOLE, 4096, 8192), 0);
	stat(path, &before);
	assert_int_equal(range(ring, block, BLOCK_DISCARD, 0, 16384, 16384), 0);
	stat(path, &after);
	assert_true(after.st_blocks < before.st_blocks);
	assert_int_equal(range(ring, block, BLOCK_WRITE_ZEROES, 0, 40000, 1000), 0);
	read_file(0, got, sizeof(got));
	assert_all(got, 0xa5, 4096);
	assert_all(got + 4096, 0, 8192);
	assert_all(got + 12288, 0xa5, 4096);
	assert_all(got + 16384, 0, 16384);
	assert_all(got + 32768, 0xa5, 40000 - 32768);
	assert_all(got + 40000, 0, 1000);
	assert_all(got + 41000, 0xa5, 65536 - 41000);
	stat(path, &after);
	assert_int_equal(after.st_size, IMAGE_BYTES);
	block_close(block);
}

static void a_discard_that_was_not_asked_for_is_not_offered(void **state)
{
	const struct block_file_options options = { .cache = BLOCK_CACHE_WRITEBACK };
	struct block *block = block_open_file(image_open(path, options.cache), &options, NULL);

	assert_false(block_get_info(block)->can_discard);
	assert_int_equal(range(ring, block, BLOCK_DISCARD, 0, 0, 4096), -ENOTSUP);
	if (block_get_info(block)->can_write_zeroes)
		ASSERT_STEPS(block, BLOCK_WRITE_ZEROES, 0, 0,
			     { BLOCK_CALL_FALLOCATE, ZERO_RANGE, 0 });
	block_close(block);
}

/* In a child: limits and mounts are a process's. */
static void in_child(int (*body)(void), const char *skip_reason)
{
	enum block_ring_kind kind = block_ring_kind(ring);
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		ring = block_ring_new(kind, 16, NULL);
		_exit(body());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		SKIP("%s", skip_reason);
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int exceed_file_size_limit(void)
{
	const struct rlimit limit = { 65536, 65536 };
	struct block *block = image_block(path, BLOCK_CACHE_WRITEBACK);

	signal(SIGXFSZ, SIG_DFL);
	if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
		return 1;
	if (transfer(ring, block, BLOCK_WRITE, 0, 0, buffer, 65536) != 0)
		return 2;
	if (transfer(ring, block, BLOCK_WRITE, 0, 131072, buffer, 4096) != -ENOSPC)
		return 3;
	/* Half of it fits: that is no success. */
	if (transfer(ring, block, BLOCK_WRITE, 0, 61440, buffer, 8192) != -ENOSPC)
		return 4;
	return 0;
}

static void a_file_size_limit_is_no_space(void **state)
{
	in_child(exceed_file_size_limit, "");
}

static int fill_a_small_file_system(void)
{
	struct block *block;
	int fd;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", "/tmp", "tmpfs", 0, "size=256k") < 0)
		return 77;
	fd = open("/tmp/image", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, IMAGE_BYTES) < 0)
		return 1;
	close(fd);
	block = image_block("/tmp/image", BLOCK_CACHE_WRITEBACK);
	if (transfer(ring, block, BLOCK_WRITE, 0, 0, buffer, 65536) != 0)
		return 2;
	if (transfer(ring, block, BLOCK_WRITE, 0, 65536, buffer, 524288) != -ENOSPC)
		return 3;
	if (transfer(ring, block, BLOCK_READ, 0, 0, buffer, 65536) != 0)
		return 4;
	return 0;
}

static void a_full_file_system_is_no_space(void **state)
{
	memset(buffer, 0xa5, IMAGE_BYTES);
	in_child(fill_a_small_file_system, "mounting a tmpfs needs root");
}

static void assert_not_opened(int fd, const struct block_file_options *options, int code)
{
	_cleanup_error_ struct error *err = NULL;

	assert_true(fd >= 0);
	assert_null(block_open_file(fd, options, &err));
	assert_non_null(err);
	assert_int_equal(err->code, code);
	/* It was ours, and is closed. */
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void refuses_descriptors_that_cannot_work(void **state)
{
	const struct block_file_options none = { .cache = BLOCK_CACHE_NONE };
	const struct block_file_options back = { .cache = BLOCK_CACHE_WRITEBACK };

	assert_not_opened(open(path, O_RDONLY), &back, EBADF);
	assert_not_opened(open(path, O_WRONLY), &back, EBADF);
	assert_not_opened(open(path, O_RDWR), &none, EINVAL);
	assert_not_opened(open(path, O_RDWR | O_APPEND), &back, EINVAL);
	assert_not_opened(open(path, O_RDWR | O_NONBLOCK), &back, EINVAL);
	assert_not_opened(open("/dev/null", O_RDWR), &back, EINVAL);
	assert_int_equal(truncate(path, 0), 0);
	assert_not_opened(open(path, O_RDWR), &back, EINVAL);
}

#define BOTH(test)                                                                                 \
	{ #test " (io_uring)", test, setup_uring, teardown, NULL },                                \
	{                                                                                          \
#test " (threads)", test, setup_threads, teardown, NULL                            \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(writes_and_reads),
		BOTH(says_what_it_is),
		BOTH(rounds_the_capacity_down),
		BOTH(bounces_buffers_that_do_not_suit_o_direct),
		BOTH(reads_zeroes_behind_a_short_files_end),
		BOTH(memory_may_go_while_it_is_zeroed),
		BOTH(refuses_to_change_a_read_only_image),
		BOTH(continues_short_transfers),
		BOTH(continues_many_at_a_time),
		BOTH(of_a_file_in_memory_data_is_copied_at_once),
		BOTH(flush_makes_writes_durable),
		BOTH(fua_makes_a_write_durable),
		BOTH(writethrough_makes_every_write_durable),
		BOTH(fua_is_a_flag_of_the_write),
		BOTH(errors_keep_their_meaning),
		BOTH(a_failed_flush_is_not_forgotten),
		BOTH(zeroes_by_what_the_file_system_has),
		BOTH(discard_and_zeroes_read_as_zeroes),
		BOTH(a_discard_that_was_not_asked_for_is_not_offered),
		BOTH(a_file_size_limit_is_no_space),
		BOTH(a_full_file_system_is_no_space),
		BOTH(refuses_descriptors_that_cannot_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
