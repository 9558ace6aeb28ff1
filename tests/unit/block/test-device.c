// SPDX-License-Identifier: LGPL-2.1-or-later
/* Block devices: a loop device with 4096-byte blocks, where there is one to be had. */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "block/open.h"
#include "tests/unit/block/image.h"
#include "tests/unit/test.h"

#define IMAGE_BYTES (4 * MiB)

static struct block_ring *ring;
static char *path;
static uint8_t *buffer;
static char device[32];
static int loop; /* the last descriptor: closing it takes the loop device away */

static int setup_kind(enum block_ring_kind kind)
{
	ring = block_ring_new(kind, 16, NULL);
	path = image_make(true, IMAGE_BYTES);
	buffer = aligned_alloc(4096, 65536);
	loop = -1;
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
	if (loop >= 0)
		close(loop);
	block_ring_free(ring);
	image_remove(path);
	free(buffer);
	return 0;
}

static void make_device(bool read_only)
{
	_cleanup_close_ int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
	struct loop_config config = { .fd = fd,
				      .block_size = 4096,
				      .info.lo_flags = LO_FLAGS_AUTOCLEAR |
						       (read_only ? LO_FLAGS_READ_ONLY : 0) };
	unsigned attempt;

	/* Others look for a free one at the same time. */
	for (attempt = 0; control >= 0 && attempt < 20; attempt++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE);

		if (number < 0)
			break;
		snprintf(device, sizeof(device), "/dev/loop%d", number);
		loop = open(device, O_RDWR | O_CLOEXEC);
		if (loop < 0)
			break;
		if (ioctl(loop, LOOP_CONFIGURE, &config) == 0)
			return;
		close(loop);
		loop = -1;
		if (errno != EBUSY)
			break;
	}
	SKIP("no loop devices here: they need root");
}

static struct block *open_device(enum block_cache cache, bool discard)
{
	const struct block_path_options where = { .expect = BLOCK_PATH_DEVICE, .cache = cache };
	const struct block_file_options options = { .cache = cache, .discard = discard };
	_cleanup_error_ struct error *err = NULL;
	struct block *block = NULL;
	int fd;

	if (block_open_path(device, &where, &fd, &err) == 0)
		block = block_open_file(fd, &options, &err);
	if (!block)
		fail_msg("%s", error_message(err));
	return block;
}

static void is_read_and_written_in_its_blocks(void **state)
{
	static uint8_t got[8192];
	enum block_cache cache;
	size_t i;

	make_device(false);
	for (cache = BLOCK_CACHE_NONE; cache <= BLOCK_CACHE_WRITETHROUGH; cache++) {
		struct block *block = open_device(cache, true);
		const struct block_info *info = block_get_info(block);
		_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

		assert_int_equal(info->capacity, IMAGE_BYTES);
		assert_int_equal(info->block_size, 4096);
		assert_int_equal(transfer(ring, block, BLOCK_READ, 0, 512, buffer, 4096), -EINVAL);
		assert_int_equal(transfer(ring, block, BLOCK_READ, 0, 0, buffer, 512), -EINVAL);
		for (i = 0; i < 8192; i++)
			buffer[i] = i * 13 + cache + (i >> 8);
		assert_int_equal(transfer(ring, block, BLOCK_WRITE, BLOCK_FUA, 4096, buffer, 8192),
				 0);
		assert_int_equal(range(ring, block, BLOCK_FLUSH, 0, 0, 0), 0);
		assert_int_equal(pread(fd, got, 8192, 4096), 8192);
		assert_memory_equal(got, buffer, 8192);
		memset(buffer, 0, 8192);
		assert_int_equal(transfer(ring, block, BLOCK_READ, 0, 4096, buffer, 8192), 0);
		assert_memory_equal(got, buffer, 8192);
		/* An address in the middle of a block. */
		memset(buffer, 0, 8192);
		assert_int_equal(transfer(ring, block, BLOCK_READ, 0, 4096, buffer + 4, 8192), 0);
		assert_memory_equal(got, buffer + 4, 8192);
		block_close(block);
	}
}

static void gives_space_back(void **state)
{
	struct block *block;
	struct stat full, holes;
	size_t i;

	make_device(false);
	block = open_device(BLOCK_CACHE_NONE, true);
	assert_true(block_get_info(block)->can_discard);
	assert_true(block_get_info(block)->can_write_zeroes);
	memset(buffer, 0xa5, 65536);
	assert_int_equal(transfer(ring, block, BLOCK_WRITE, BLOCK_FUA, 0, buffer, 65536), 0);
	assert_int_equal(range(ring, block, BLOCK_WRITE_ZEROES, BLOCK_NO_HOLE, 0, 8192), 0);
	assert_int_equal(range(ring, block, BLOCK_FLUSH, 0, 0, 0), 0);
	stat(path, &full);
	assert_int_equal(range(ring, block, BLOCK_WRITE_ZEROES, 0, 16384, 8192), 0);
	assert_int_equal(range(ring, block, BLOCK_DISCARD, 0, 32768, 8192), 0);
	assert_int_equal(range(ring, block, BLOCK_FLUSH, 0, 0, 0), 0);
	stat(path, &holes);
	assert_true(holes.st_blocks < full.st_blocks);
	assert_int_equal(transfer(ring, block, BLOCK_READ, 0, 0, buffer, 65536), 0);
	for (i = 0; i < 65536; i++)
		assert_int_equal(buffer[i],
				 i < 8192 || (i >= 16384 && i < 24576) || (i >= 32768 && i < 40960)
					 ? 0
					 : 0xa5);
	block_close(block);

	block = open_device(BLOCK_CACHE_NONE, false);
	assert_false(block_get_info(block)->can_discard);
	block_close(block);
}

static void grows(void **state)
{
	struct block *block;

	make_device(false);
	block = open_device(BLOCK_CACHE_NONE, false);
	assert_int_equal(truncate(path, 2 * IMAGE_BYTES), 0);
	assert_int_equal(ioctl(loop, LOOP_SET_CAPACITY), 0);
	assert_int_equal(block_get_info(block)->capacity, IMAGE_BYTES);
	assert_int_equal(block_refresh(block, 0), 0);
	assert_int_equal(block_get_info(block)->capacity, 2 * IMAGE_BYTES);
	assert_int_equal(transfer(ring, block, BLOCK_WRITE, 0, IMAGE_BYTES, buffer, 4096), 0);
	block_close(block);
}

static void is_refused_for_writing_when_it_is_protected(void **state)
{
	struct block_path_options options = { .expect = BLOCK_PATH_DEVICE };
	_cleanup_error_ struct error *err = NULL, *kind = NULL;
	int fd;

	make_device(true);
	assert_int_equal(block_open_path(device, &options, &fd, &err), -EROFS);
	assert_non_null(strstr(err->message, "<readonly/>"));
	options.read_only = true;
	assert_int_equal(block_open_path(device, &options, &fd, NULL), 0);
	close(fd);
	options.expect = BLOCK_PATH_FILE;
	assert_int_equal(block_open_path(device, &options, &fd, &kind), -EINVAL);
	assert_non_null(strstr(kind->message, "type=\"block\""));
}

#define BOTH(test)                                                                                 \
	{ #test " (io_uring)", test, setup_uring, teardown, NULL },                                \
	{                                                                                          \
#test " (threads)", test, setup_threads, teardown, NULL                            \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(is_read_and_written_in_its_blocks),
		BOTH(gives_space_back),
		BOTH(grows),
		BOTH(is_refused_for_writing_when_it_is_protected),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
