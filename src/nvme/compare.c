// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Theory of operation
 *
 * Both read the blocks into a bounce buffer of ours. Compare then copies the guest's data, a page at
 * a time, and compares; the first difference ends it. Verify, which may be about more blocks than the
 * buffer holds, reads one piece after another: request->block is each piece's in turn.
 *
 * Both may be run again by a successor: they change nothing, and what a guest writes to these blocks
 * meanwhile may or may not be seen by them in any case.
 */
#include "nvme/compare.h"

#include <errno.h>

#include "nvme/controller-private.h"
#include "nvme/hold.h"
#include "nvme/io.h"

static uint64_t first_block(const struct nvme_request *request)
{
	return request->command.cdw10 | (uint64_t)request->command.cdw11 << 32;
}

static uint64_t all_bytes(const struct nvme_request *request)
{
	return (uint64_t)((request->command.cdw12 & 0xffff) + 1) << request->ns->block_shift;
}

static bool take_bounce(struct nvme_request *request)
{
	request->bounce = nvme_bounce_new(&request->worker->bounces);
	if (!request->bounce)
		nvme_io_wait_for_bounce(request);
	return request->bounce;
}

static void read_piece(struct nvme_request *request, uint64_t offset, uint64_t bytes,
		       void (*done)(struct block_request *block, int result))
{
	request->iov[0] = (struct iovec){ request->bounce->data, bytes };
	request->block = (struct block_request){
		.op = BLOCK_READ,
		.offset = offset,
		.bytes = bytes,
		.iov = request->iov,
		.iovcnt = 1,
		.done = done,
	};
	nvme_io_submit(request);
}

static nvme_result compare_segment(struct nvme_worker *worker, const struct nvme_segment *segment,
				   const uint8_t *expected)
{
	uint8_t page[NVME_PAGE_SIZE];

	for (uint32_t done = 0; done < segment->len;) {
		const struct nvme_segment piece = {
			.iova = segment->iova + done,
			.len = MIN(segment->len - done, (uint32_t)sizeof(page)),
		};
		int err = nvme_segments_read(worker, &piece, 1, page);

		if (err)
			return err == -ECANCELED ? err : NVME_DATA_TRANSFER_ERROR;
		if (memcmp(page, expected + done, piece.len) != 0)
			return NVME_COMPARE_FAILURE;
		done += piece.len;
	}
	return 0;
}

static nvme_result compare_data(struct nvme_request *request)
{
	const struct nvme_bounce *bounce = request->bounce;
	const uint8_t *expected = bounce->data;
	nvme_result result = 0;

	for (unsigned i = 0; i < bounce->count && !result; i++) {
		result = compare_segment(request->worker, &bounce->segments[i], expected);
		expected += bounce->segments[i].len;
	}
	return result;
}

static void compare_read(struct block_request *block, int result)
{
	struct nvme_request *request = container_of(block, struct nvme_request, block);
	nvme_result end;

	if (result < 0 && nvme_hold(request, result))
		return;
	end = nvme_io_result(request, result);
	if (!end && request->sq->live)
		end = compare_data(request);
	nvme_request_finish(request, end);
}

void nvme_compare(struct nvme_request *request)
{
	struct nvme_bounce *bounce;
	nvme_result result;

	if (!take_bounce(request))
		return;
	bounce = request->bounce;
	result = nvme_data_pointer_walk(request, all_bytes(request), NVME_HOST_READ,
					bounce->segments, &bounce->count);
	if (result)
		nvme_request_finish(request, result);
	else
		read_piece(request, first_block(request) << request->ns->block_shift,
			   all_bytes(request), compare_read);
}

static void piece_verified(struct block_request *block, int result)
{
	struct nvme_request *request = container_of(block, struct nvme_request, block);
	uint64_t next = block->offset + block->bytes;
	uint64_t end = (first_block(request) << request->ns->block_shift) + all_bytes(request);

	if (result < 0 && nvme_hold(request, result))
		return;
	if (result < 0 || next == end || !request->sq->live)
		nvme_request_complete(request, nvme_io_result(request, result));
	else
		read_piece(request, next, MIN(end - next, (uint64_t)NVME_MAX_TRANSFER),
			   piece_verified);
}

void nvme_verify(struct nvme_request *request)
{
	if (take_bounce(request))
		read_piece(request, first_block(request) << request->ns->block_shift,
			   MIN(all_bytes(request), (uint64_t)NVME_MAX_TRANSFER), piece_verified);
}
