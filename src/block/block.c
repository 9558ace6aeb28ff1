// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/backend.h"

#include <errno.h>

static bool changes_the_image(enum block_op op)
{
	return op == BLOCK_WRITE || op == BLOCK_WRITE_ZEROES || op == BLOCK_DISCARD;
}

static int judge_transfer(const struct block_request *request)
{
	uint64_t sum = 0;
	unsigned i;

	if (request->iovcnt > BLOCK_MAX_IOV)
		return -EINVAL;
	for (i = 0; i < request->iovcnt; i++) {
		if (request->iov[i].iov_len > request->bytes - sum)
			return -EINVAL;
		sum += request->iov[i].iov_len;
	}
	return sum == request->bytes ? 0 : -EINVAL;
}

static int judge(const struct block_info *info, const struct block_request *request)
{
	if (request->op == BLOCK_FLUSH)
		return 0;
	if (info->read_only && changes_the_image(request->op))
		return -EROFS;
	if (request->bytes > info->capacity || request->offset > info->capacity - request->bytes)
		return -EINVAL;
	/* A block size is a power of two. */
	if ((request->offset | request->bytes) & (info->block_size - 1))
		return -EINVAL;
	switch (request->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		return judge_transfer(request);
	case BLOCK_WRITE_ZEROES:
		return info->can_write_zeroes ? 0 : -ENOTSUP;
	case BLOCK_DISCARD:
		return info->can_discard ? 0 : -ENOTSUP;
	case BLOCK_FLUSH:
		break;
	}
	return -EINVAL;
}

void block_submit(struct block *block, struct block_ring *ring, struct block_request *request)
{
	int ret = judge(&block->info, request);

	request->priv.block = block;
	request->priv.ring = ring;
	if (ret < 0 || (request->op != BLOCK_FLUSH && !request->bytes)) {
		block_complete(request, ret);
		return;
	}
	block->ops->submit(block, ring, request);
}

void block_prefetch(const struct block *block, uint64_t offset, uint64_t bytes)
{
	const struct block_info *info = &block->info;

	if (block->ops->prefetch && bytes <= info->capacity && offset <= info->capacity - bytes)
		block->ops->prefetch(block, offset, bytes);
}

void block_complete(struct block_request *request, int result)
{
	request->done(request, result);
}

const struct block_info *block_get_info(const struct block *block)
{
	return &block->info;
}

int block_refresh(struct block *block, uint64_t limit)
{
	uint64_t before = block->info.capacity;
	int ret;

	if (!block->ops->refresh)
		return 0;
	limit = limit ? ROUND_DOWN(limit, block->info.block_size) : UINT64_MAX;
	ret = block->ops->refresh(block);
	if (ret == 0 && !MIN(block->info.capacity, limit))
		ret = -EINVAL;
	block->info.capacity = ret < 0 ? before : MIN(block->info.capacity, limit);
	return ret;
}

void block_close(struct block *block)
{
	if (block)
		block->ops->close(block);
}
