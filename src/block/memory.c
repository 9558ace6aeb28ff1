// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/backend.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/i18n.h"
#include "block/ring.h"
#include "block/stream.h"

#define CACHE_LINE     64u
#define PREFETCH_BYTES UINT64_C(4096)

struct memory {
	struct block block;
	uint8_t *bytes;
	uint64_t page_size;
};

static void memory_read(const struct memory *memory, const struct block_request *request)
{
	const uint8_t *from = memory->bytes + request->offset;
	unsigned i;

	for (i = 0; i < request->iovcnt; i++) {
		memcpy(request->iov[i].iov_base, from, request->iov[i].iov_len);
		from += request->iov[i].iov_len;
	}
}

static void memory_write(const struct memory *memory, const struct block_request *request)
{
	uint8_t *to = memory->bytes + request->offset;
	unsigned i;

	for (i = 0; i < request->iovcnt; i++) {
		block_stream_copy(to, request->iov[i].iov_base, request->iov[i].iov_len);
		to += request->iov[i].iov_len;
	}
}

/* Whole pages go back to the host and read as zeroes afterwards; the ends are written. */
static void memory_punch(const struct memory *memory, uint64_t offset, uint64_t bytes)
{
	uint64_t end = offset + bytes;
	uint64_t first = ROUND_UP(offset, memory->page_size);
	uint64_t last = ROUND_DOWN(end, memory->page_size);

	if (first >= last || madvise(memory->bytes + first, last - first, MADV_DONTNEED) < 0) {
		memset(memory->bytes + offset, 0, bytes);
		return;
	}
	memset(memory->bytes + offset, 0, first - offset);
	memset(memory->bytes + last, 0, end - last);
}

/*
 * For reads. Into the second level of the cache: the first does not keep it while another page is copied, and
 * has too few misses open at a time. What follows the beginning of a large block the processor
 * fetches by itself.
 */
static void memory_prefetch(const struct block *block, uint64_t offset, uint64_t bytes)
{
	const struct memory *memory = container_of(block, struct memory, block);
	const uint8_t *from = memory->bytes + offset, *end = from + MIN(bytes, PREFETCH_BYTES);

	for (; from < end; from += CACHE_LINE)
		__builtin_prefetch(from, 0, 2);
}

static void memory_submit(struct block *block, struct block_ring *ring,
			  struct block_request *request)
{
	const struct memory *memory = container_of(block, struct memory, block);

	switch (request->op) {
	case BLOCK_READ:
		memory_read(memory, request);
		break;
	case BLOCK_WRITE:
		memory_write(memory, request);
		block_ring_streamed(ring, request);
		return;
	case BLOCK_WRITE_ZEROES:
		if (request->flags & BLOCK_NO_HOLE)
			memset(memory->bytes + request->offset, 0, request->bytes);
		else
			memory_punch(memory, request->offset, request->bytes);
		break;
	case BLOCK_DISCARD:
		memory_punch(memory, request->offset, request->bytes);
		break;
	case BLOCK_FLUSH:
		break;
	}
	block_complete(request, 0);
}

static void memory_close(struct block *block)
{
	struct memory *memory = container_of(block, struct memory, block);

	munmap(memory->bytes, block->info.capacity);
	free(memory);
}

static const struct block_ops memory_ops = {
	.prefetch = memory_prefetch,
	.submit = memory_submit,
	.close = memory_close,
};

struct block *block_open_memory(uint64_t bytes, struct error **errp)
{
	struct memory *memory;
	void *map;

	if (!bytes || bytes > SIZE_MAX / 2) {
		error_set(errp, EINVAL, _("a memory disk cannot have %ju bytes"), (uintmax_t)bytes);
		return NULL;
	}
	memory = calloc(1, sizeof(*memory));
	if (!memory) {
		error_set_errno(errp, ENOMEM, _("cannot make a memory disk"));
		return NULL;
	}
	/* NORESERVE: a disk is rarely full, and a host that does not overcommit would refuse it. */
	map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		   -1, 0);
	if (map == MAP_FAILED) {
		error_set_errno(errp, errno, _("cannot get %ju bytes for a memory disk"),
				(uintmax_t)bytes);
		free(memory);
		return NULL;
	}
	/* Random blocks of it are copied: with small pages most of the time goes to finding them. */
	madvise(map, bytes, MADV_HUGEPAGE);
	memory->bytes = map;
	memory->page_size = sysconf(_SC_PAGESIZE);
	memory->block.ops = &memory_ops;
	memory->block.info = (struct block_info){
		.capacity = bytes,
		.block_size = 1,
		.memory_alignment = 1,
		.granularity = memory->page_size,
		.can_write_zeroes = true,
		.can_discard = true,
	};
	return &memory->block;
}
