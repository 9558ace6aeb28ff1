// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/backend.h"

static void null_submit(struct block *block, struct block_ring *ring, struct block_request *request)
{
	block_complete(request, 0);
}

static void null_close(struct block *block)
{
	free(block);
}

static const struct block_ops null_ops = {
	.submit = null_submit,
	.close = null_close,
};

struct block *block_open_null(uint64_t bytes)
{
	struct block *block = calloc(1, sizeof(*block));

	if (!block)
		return NULL;
	block->ops = &null_ops;
	block->info = (struct block_info){
		.capacity = bytes,
		.block_size = 1,
		.memory_alignment = 1,
		.granularity = 1,
		.can_write_zeroes = true,
		.can_discard = true,
	};
	return block;
}
