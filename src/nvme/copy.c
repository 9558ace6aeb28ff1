// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Theory of operation
 *
 * A command names up to 64 source ranges in a list in guest memory, which is copied once, judged
 * and kept in the first page of a bounce buffer. All of them are read into the rest of it, one after
 * another, and written in one piece: request->block is each piece's in turn.
 *
 * It may be run again from the beginning by a successor, because the destination is none of the
 * sources: a command where it is would copy what it has written, and is refused.
 */
#include "nvme/copy.h"

#include <errno.h>

#include "nvme/controller-private.h"
#include "nvme/hold.h"
#include "nvme/io.h"

/* In the first page of the bounce buffer. */
struct work {
	unsigned next, count;
	uint64_t bytes; /* read so far */
	struct nvme_copy_range ranges[NVME_COPY_MAX_RANGES];
};
_Static_assert(sizeof(struct work) <= NVME_PAGE_SIZE, "a page");

static void read_next(struct nvme_request *request);

static uint64_t destination(const struct nvme_request *request)
{
	return request->command.cdw10 | (uint64_t)request->command.cdw11 << 32;
}

static unsigned blocks_of(const struct nvme_copy_range *range)
{
	return range->blocks + 1u;
}

static void submit(struct nvme_request *request, enum block_op op, uint64_t offset, uint64_t bytes,
		   uint64_t at, void (*done)(struct block_request *block, int result))
{
	uint8_t *data = (uint8_t *)request->bounce->data + NVME_PAGE_SIZE;

	request->iov[0] = (struct iovec){ data + at, bytes };
	request->block = (struct block_request){
		.op = op,
		.offset = offset,
		.bytes = bytes,
		.iov = request->iov,
		.iovcnt = 1,
		.done = done,
	};
	if (op == BLOCK_WRITE && nvme_io_is_durable(request))
		request->block.flags = BLOCK_FUA;
	nvme_io_submit(request);
}

/* The result is the number of the first range that was not copied. */
static void written(struct block_request *block, int result)
{
	struct nvme_request *request = container_of(block, struct nvme_request, block);

	if (result < 0 && nvme_hold(request, result))
		return;
	nvme_request_complete(request, nvme_io_result(request, result));
}

static void range_read(struct block_request *block, int result)
{
	struct nvme_request *request = container_of(block, struct nvme_request, block);
	struct work *work;

	/* One that was held, and is given up, has no buffer any more but knows its result. */
	if (result < 0 && request->bounce)
		request->result = ((struct work *)request->bounce->data)->next;
	if (result < 0 && nvme_hold(request, result))
		return;
	if (result < 0 || !request->sq->live) {
		nvme_request_complete(request, result < 0 ? nvme_io_result(request, result) : 0);
		return;
	}
	work = request->bounce->data;
	work->next++;
	work->bytes += block->bytes;
	read_next(request);
}

/* A backend that needs no wait calls back from inside submit: as deep as there are ranges. */
static void read_next(struct nvme_request *request)
{
	const struct work *work = request->bounce->data;
	const struct nvme_copy_range *range = &work->ranges[work->next];
	unsigned shift = request->ns->block_shift;

	if (work->next == work->count)
		submit(request, BLOCK_WRITE, destination(request) << shift, work->bytes, 0,
		       written);
	else
		submit(request, BLOCK_READ, range->lba << shift,
		       (uint64_t)blocks_of(range) << shift, work->bytes, range_read);
}

static nvme_status judge_range(const struct nvme_request *request,
			       const struct nvme_copy_range *range, uint64_t all)
{
	unsigned blocks = blocks_of(range);

	if (!nvme_io_contains(request->ns, range->lba, blocks))
		return NVME_LBA_OUT_OF_RANGE | NVME_DNR;
	if (range->lba < destination(request) + all && destination(request) < range->lba + blocks)
		return NVME_OVERLAPPING_RANGE | NVME_DNR;
	return 0;
}

static nvme_result fetch_ranges(struct nvme_request *request, struct work *work,
				uint64_t *ret_bytes)
{
	uint64_t all = 0;
	nvme_result result;

	request->result = 0;
	work->next = 0;
	work->bytes = 0;
	work->count = NVME_COPY_RANGES(request->command.cdw12);
	result = nvme_data_pointer_fetch(request, work->ranges,
					 work->count * sizeof(work->ranges[0]));
	if (result)
		return result;
	for (unsigned i = 0; i < work->count; i++)
		all += blocks_of(&work->ranges[i]);
	*ret_bytes = all << request->ns->block_shift;
	if (*ret_bytes > NVME_COPY_MAX_BYTES)
		return NVME_COMMAND_SIZE_LIMIT | NVME_DNR;
	if (!nvme_io_contains(request->ns, destination(request), all))
		return NVME_LBA_OUT_OF_RANGE | NVME_DNR;
	for (unsigned i = 0; i < work->count && !result; i++) {
		result = judge_range(request, &work->ranges[i], all);
		if (result)
			request->result = i;
	}
	return result;
}

static void execute(struct nvme_request *request)
{
	nvme_result result;
	uint64_t bytes;

	request->bounce = nvme_bounce_new(&request->worker->bounces);
	if (!request->bounce) {
		nvme_io_wait_for_bounce(request);
		return;
	}
	result = fetch_ranges(request, request->bounce->data, &bytes);
	if (result) {
		nvme_request_finish(request, result);
		return;
	}
	nvme_throttle_spend(&request->ns->throttle, false, bytes);
	nvme_throttle_spend(&request->ns->throttle, true, bytes);
	read_next(request);
}

nvme_status nvme_copy_parse(struct nvme_request *request)
{
	nvme_status status = nvme_io_hold_namespace(request);

	if (status)
		return status;
	if (NVME_COPY_FORMAT(request->command.cdw12))
		return nvme_request_invalid_field(request,
						  offsetof(struct nvme_command, cdw12) + 1);
	if (NVME_COPY_RANGES(request->command.cdw12) > NVME_COPY_MAX_RANGES)
		return NVME_COMMAND_SIZE_LIMIT | NVME_DNR;
	if (request->ns->read_only)
		return NVME_WRITE_PROTECTED | NVME_DNR;
	request->execute = execute;
	return 0;
}
