// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>

static int make_call(const struct block_call *call)
{
	ssize_t ret = -1;

	switch (call->kind) {
	case BLOCK_CALL_READ:
		ret = preadv2(call->fd, call->iov, call->iovcnt, call->offset, call->flags);
		break;
	case BLOCK_CALL_WRITE:
		ret = pwritev2(call->fd, call->iov, call->iovcnt, call->offset, call->flags);
		break;
	case BLOCK_CALL_SYNC:
		ret = fdatasync(call->fd);
		break;
	case BLOCK_CALL_FALLOCATE:
		ret = fallocate(call->fd, call->flags, call->offset, call->length);
		break;
	case BLOCK_CALL_WAIT:
		ret = nanosleep(&(struct timespec){ .tv_nsec = BLOCK_WAIT_NS }, NULL);
		break;
	}
	return ret < 0 ? -errno : ret;
}

void block_carry_out(struct block_request *request, struct iovec *scratch)
{
	const struct block_ops *ops = request->priv.block->ops;
	int result;

	do {
		struct block_call call = { .scratch = scratch };

		ops->prepare(request, &call);
		result = make_call(&call);
	} while (!ops->advance(request, result));
}
