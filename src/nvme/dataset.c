// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Theory of operation
 *
 * A command names up to 256 ranges in a list in guest memory. The list is copied once, to a bounce
 * buffer that the request holds, and all of it is judged before anything is done. Then the ranges
 * are discarded one after another: request->block is each range's in turn. It may be done again
 * from the beginning, as nothing else of the guest's may touch these blocks meanwhile.
 */
#include "nvme/dataset.h"

#include <errno.h>

#include "nvme/controller-private.h"
#include "nvme/hold.h"
#include "nvme/io.h"
#include "nvme/reservation.h"

/* In the bounce buffer. */
struct work {
	unsigned next, count;
	struct nvme_dataset_range ranges[NVME_DATASET_MAX_RANGES];
};
_Static_assert(sizeof(struct work) <= NVME_MAX_TRANSFER, "a bounce buffer");

static void discard_next(struct nvme_request *request);

static void discarded(struct block_request *block, int result)
{
	struct nvme_request *request = container_of(block, struct nvme_request, block);
	nvme_status status;

	if (result < 0 && nvme_hold(request, result))
		return;
	status = nvme_io_result(request, result);
	if (status)
		nvme_request_complete(request, status);
	else
		discard_next(request);
}

/* A backend that needs no wait calls back from inside submit: as deep as there are ranges. */
static void discard_next(struct nvme_request *request)
{
	struct work *work = request->bounce->data;
	const struct nvme_dataset_range *range = &work->ranges[work->next];

	/* After a reset nobody waits for the rest. */
	if (work->next == work->count || !request->sq->live) {
		nvme_request_complete(request, NVME_SUCCESS);
		return;
	}
	work->next++;
	request->block = (struct block_request){
		.op = BLOCK_DISCARD,
		.offset = range->lba << request->ns->block_shift,
		.bytes = (uint64_t)range->blocks << request->ns->block_shift,
		.done = discarded,
	};
	nvme_io_submit(request);
}

static nvme_result fetch_ranges(struct nvme_request *request, struct work *work)
{
	nvme_result result;

	work->next = 0;
	work->count = NVME_DATASET_RANGES(request->command.cdw10);
	result = nvme_data_pointer_fetch(request, work->ranges,
					 work->count * sizeof(work->ranges[0]));
	for (unsigned i = 0; !result && i < work->count; i++)
		if (!nvme_io_contains(request->ns, work->ranges[i].lba, work->ranges[i].blocks))
			result = NVME_LBA_OUT_OF_RANGE | NVME_DNR;
	return result;
}

/* It is a hint: nothing of it gets to the image. */
static void ignore(struct nvme_request *request)
{
	request->block = (struct block_request){ .op = BLOCK_DISCARD };
	nvme_request_complete(request, nvme_reservation_refuses(request)
					       ? NVME_RESERVATION_CONFLICT | NVME_DNR
					       : NVME_SUCCESS);
}

static void execute(struct nvme_request *request)
{
	nvme_result result;

	request->bounce = nvme_bounce_new(&request->worker->bounces);
	if (!request->bounce) {
		nvme_io_wait_for_bounce(request);
		return;
	}
	result = fetch_ranges(request, request->bounce->data);
	if (result)
		nvme_request_finish(request, result);
	else if (block_get_info(request->ns->block)->can_discard)
		discard_next(request);
	else
		ignore(request);
}

nvme_status nvme_dataset_parse(struct nvme_request *request)
{
	nvme_status status = nvme_io_hold_namespace(request);

	if (status)
		return status;
	if (!(request->command.cdw11 & NVME_DATASET_DEALLOCATE)) {
		request->execute = ignore; /* hints about access patterns */
		return 0;
	}
	if (request->ns->read_only)
		return NVME_WRITE_PROTECTED | NVME_DNR;
	request->execute = execute;
	return 0;
}
