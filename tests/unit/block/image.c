// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/unit/block/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "tests/unit/test.h"

char *image_make(bool in_build, uint64_t bytes)
{
	const char *tmp = getenv("TMPDIR");
	char *path;
	int fd;

	assert_true(asprintf(&path, "%s/block-test-XXXXXX",
			     in_build ? "."
			     : tmp    ? tmp
				      : "/tmp") > 0);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, bytes), 0);
	close(fd);
	return path;
}

void image_remove(char *path)
{
	unlink(path);
	free(path);
}

int image_open(const char *path, enum block_cache cache)
{
	return open(path, O_RDWR | O_CLOEXEC | (cache == BLOCK_CACHE_NONE ? O_DIRECT : 0));
}

struct block *image_block(const char *path, enum block_cache cache)
{
	const struct block_file_options options = { .cache = cache, .discard = true };
	_cleanup_error_ struct error *err = NULL;
	int fd = image_open(path, cache);
	struct block *block;

	if (fd < 0 && errno == EINVAL)
		return NULL;
	assert_true(fd >= 0);
	block = block_open_file(fd, &options, &err);
	if (!block)
		print_message("%s\n", error_message(err));
	assert_non_null(block);
	return block;
}

struct waiting {
	struct block_request request;
	bool done;
	int result;
};

static void finished(struct block_request *request, int result)
{
	struct waiting *waiting = container_of(request, struct waiting, request);

	assert_false(waiting->done);
	waiting->done = true;
	waiting->result = result;
}

int run(struct block_ring *ring, struct block *block, struct block_request request)
{
	struct waiting waiting = { .request = request };

	waiting.request.done = finished;
	block_submit(block, ring, &waiting.request);
	while (!waiting.done) {
		block_ring_wait(ring, -1);
		block_ring_reap(ring);
	}
	assert_int_equal(block_ring_in_flight(ring), 0);
	return waiting.result;
}

int transfer(struct block_ring *ring, struct block *block, enum block_op op, unsigned flags,
	     uint64_t offset, void *data, size_t bytes)
{
	struct iovec iov = { data, bytes };

	return run(ring, block,
		   (struct block_request){ .op = op,
					   .flags = flags,
					   .offset = offset,
					   .bytes = bytes,
					   .iov = &iov,
					   .iovcnt = 1 });
}

int range(struct block_ring *ring, struct block *block, enum block_op op, unsigned flags,
	  uint64_t offset, uint64_t bytes)
{
	return run(ring, block,
		   (struct block_request){
			   .op = op, .flags = flags, .offset = offset, .bytes = bytes });
}
