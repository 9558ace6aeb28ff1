// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/io.h"

#include <errno.h>

#include "base/log.h"
#include "nvme/controller-private.h"

static nvme_status status_of(const struct block_request *block, int result)
{
	switch (-result) {
	case 0:
		return NVME_SUCCESS;
	case ENOSPC:
	case EDQUOT:
		return NVME_CAPACITY_EXCEEDED | NVME_DNR;
	case EROFS:
	case EPERM:
	case EACCES:
		return NVME_WRITE_PROTECTED | NVME_DNR;
	case EIO:
		return block->op == BLOCK_READ ? NVME_UNRECOVERED_READ : NVME_WRITE_FAULT;
	default:
		return NVME_INTERNAL_ERROR;
	}
}

static void count(struct nvme_request *request, int result)
{
	struct nvme_state_counters *counters =
		nvme_namespace_counters(request->ns, request->worker->index);
	const struct block_request *block = &request->block;

	if (result < 0) {
		nvme_count(&counters->errors, 1);
	} else if (block->op == BLOCK_READ) {
		nvme_count(&counters->read_commands, 1);
		nvme_count(&counters->read_bytes, block->bytes);
	} else if (block->op == BLOCK_WRITE) {
		nvme_count(&counters->write_commands, 1);
		nvme_count(&counters->write_bytes, block->bytes);
	} else {
		nvme_count(&counters->flush_commands, 1);
	}
}

static void fail(struct nvme_request *request, int result)
{
	static const char *const names[] = { "read", "write", "flush" };
	const struct block_request *block = &request->block;

	__atomic_fetch_add(&request->worker->ctrl->state->media_errors, 1, __ATOMIC_RELAXED);
	log_guest(LOG_WARNING, "namespace %u: %s of %llu bytes at %llu: %s", request->ns->nsid,
		  names[block->op], (unsigned long long)block->bytes,
		  (unsigned long long)block->offset, strerror(-result));
}

static void done(struct block_request *block, int result)
{
	struct nvme_request *request = container_of(block, struct nvme_request, block);
	struct nvme_bounce *bounce = request->bounce;
	nvme_status status = status_of(block, result);

	count(request, result);
	if (result < 0)
		fail(request, result);
	else if (bounce && block->op == BLOCK_READ && request->sq->live &&
		 nvme_segments_write(request->worker, bounce->segments, bounce->count,
				     bounce->data) < 0)
		status = NVME_DATA_TRANSFER_ERROR;
	nvme_request_complete(request, status);
}

static void submit(struct nvme_request *request)
{
	block_submit(request->ns->block, request->worker->ring, &request->block);
}

static void execute_read_write(struct nvme_request *request)
{
	struct block_request *block = &request->block;
	nvme_result result = nvme_data_pointer_map(request, block->bytes, block->op == BLOCK_WRITE,
						   request->ns->memory_alignment);

	if (!result)
		submit(request);
	else if (result == -EAGAIN)
		nvme_request_list_append(&request->worker->bounce_waiters, request);
	else
		nvme_request_finish(request, result);
}

/* Section 6.1.2: an id that could never exist, and one that only does not now. */
static nvme_status find_namespace(struct nvme_request *request, struct nvme_namespace **ret)
{
	uint32_t nsid = request->command.nsid;

	*ret = nvme_namespace_find(request->worker->ctrl, nsid);
	if (*ret)
		return 0;
	if (nsid && nsid <= NVME_MAX_NAMESPACES)
		return nvme_invalid_field(request, nsid);
	return NVME_INVALID_NAMESPACE | NVME_DNR;
}

static void hold(struct nvme_request *request, struct nvme_namespace *ns)
{
	nvme_namespace_get(ns, request->worker->index);
	request->ns = ns;
}

static nvme_status parse_flush(struct nvme_request *request)
{
	struct nvme_namespace *ns;
	nvme_status status = find_namespace(request, &ns);

	if (status)
		return status;
	hold(request, ns);
	request->block = (struct block_request){ .op = BLOCK_FLUSH, .done = done };
	request->execute = submit;
	return 0;
}

static nvme_status parse_read_write(struct nvme_request *request, enum block_op op)
{
	const struct nvme_command *command = &request->command;
	uint64_t lba = command->cdw10 | (uint64_t)command->cdw11 << 32, blocks, bytes;
	unsigned count_0based = command->cdw12 & 0xffff;
	const struct nvme_controller *ctrl = request->worker->ctrl;
	struct nvme_namespace *ns;
	nvme_status status = find_namespace(request, &ns);

	if (status)
		return status;
	bytes = (uint64_t)(count_0based + 1) << ns->block_shift;
	if (bytes > NVME_MAX_TRANSFER)
		return nvme_invalid_field(request, cdw12);
	/* The sum of the two may be more than 64 bits can hold. */
	blocks = READ_ONCE(ns->blocks);
	if (lba >= blocks || count_0based >= blocks - lba)
		return NVME_LBA_OUT_OF_RANGE | NVME_DNR;
	if (op == BLOCK_WRITE && ns->read_only)
		return NVME_WRITE_PROTECTED | NVME_DNR;
	hold(request, ns);
	request->block = (struct block_request){
		.op = op,
		.offset = lba << ns->block_shift,
		.bytes = bytes,
		.done = done,
	};
	/* With the write cache disabled every write is durable when it is acknowledged. */
	if (op == BLOCK_WRITE &&
	    ((command->cdw12 & NVME_RW_FUA) || !(READ_ONCE(ctrl->state->features.write_cache) & 1)))
		request->block.flags = BLOCK_FUA;
	request->execute = execute_read_write;
	return 0;
}

nvme_status nvme_io_parse(struct nvme_request *request)
{
	if (request->command.flags & (NVME_COMMAND_FUSE | NVME_COMMAND_PSDT))
		return nvme_invalid_field(request, flags);
	switch (request->command.opcode) {
	case NVME_IO_FLUSH:
		return parse_flush(request);
	case NVME_IO_WRITE:
		return parse_read_write(request, BLOCK_WRITE);
	case NVME_IO_READ:
		return parse_read_write(request, BLOCK_READ);
	default:
		return NVME_INVALID_OPCODE | NVME_DNR;
	}
}
