// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/io.h"

#include <errno.h>

#include "base/log.h"
#include "nvme/ana.h"
#include "nvme/compare.h"
#include "nvme/controller-private.h"
#include "nvme/copy.h"
#include "nvme/dataset.h"
#include "nvme/format.h"
#include "nvme/fused.h"
#include "nvme/hold.h"
#include "nvme/reservation.h"
#include "nvme/write-log.h"

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
		return;
	}
	switch (block->op) {
	case BLOCK_READ:
		nvme_count(&counters->read_commands, 1);
		nvme_count(&counters->read_bytes, block->bytes);
		break;
	case BLOCK_WRITE:
		nvme_count(&counters->write_commands, 1);
		nvme_count(&counters->write_bytes, block->bytes);
		break;
	case BLOCK_FLUSH:
		nvme_count(&counters->flush_commands, 1);
		break;
	case BLOCK_WRITE_ZEROES:
	case BLOCK_DISCARD:
		break; /* they move no data: SMART does not count them */
	}
}

static void fail(struct nvme_request *request, int result)
{
	static const char *const names[] = { "read", "write", "flush", "write of zeroes",
					     "discard" };
	const struct block_request *block = &request->block;

	__atomic_fetch_add(&request->worker->ctrl->state->media_errors, 1, __ATOMIC_RELAXED);
	log_guest(LOG_WARNING, "namespace %u: %s of %llu bytes at %llu: %s", request->ns->nsid,
		  names[block->op], (unsigned long long)block->bytes,
		  (unsigned long long)block->offset, strerror(-result));
}

nvme_status nvme_io_result(struct nvme_request *request, int result)
{
	const struct block_request *block = &request->block;

	if (result == -EBADE)
		return NVME_RESERVATION_CONFLICT | NVME_DNR;
	count(request, result);
	/* It was parsed before the namespace became smaller, and did not get to the image. */
	if (result == -EINVAL &&
	    !nvme_io_contains(request->ns, block->offset >> request->ns->block_shift,
			      block->bytes >> request->ns->block_shift))
		return NVME_LBA_OUT_OF_RANGE | NVME_DNR;
	if (result < 0)
		fail(request, result);
	return status_of(block, result);
}

/* Bus mastering may be off: then nothing is written, and the data waits as its completion would. */
static int deliver(struct nvme_request *request)
{
	request->has_written = true;
	if (!READ_ONCE(request->worker->ctrl->bus_master))
		return -EAGAIN;
	return nvme_bounce_deliver(request->worker, request->bounce);
}

void nvme_io_deliver(struct nvme_request *request)
{
	int ret = request->sq->live ? deliver(request) : 0;

	if (ret == -EAGAIN)
		nvme_request_wait(request, &request->worker->delivery_waiters);
	else
		nvme_request_complete(request, ret ? NVME_DATA_TRANSFER_ERROR : NVME_SUCCESS);
}

/* Whatever became of it, it has written there. */
static void log_direct(struct nvme_request *request)
{
	struct nvme_worker *worker = request->worker;

	for (unsigned i = 0; i < request->direct; i++)
		nvme_write_log_add(worker->write_log, request->direct_iova[i],
				   request->iov[i].iov_len);
	request->direct = 0;
	WRITE_ONCE(worker->direct_reads, worker->direct_reads - 1);
}

static void done(struct block_request *block, int result)
{
	struct nvme_request *request = container_of(block, struct nvme_request, block);
	nvme_status status;

	if (request->direct)
		log_direct(request);
	if (result < 0 && nvme_hold(request, result))
		return;
	status = nvme_io_result(request, result);
	if (!status && request->bounce && block->op == BLOCK_READ)
		nvme_io_deliver(request);
	else
		nvme_request_complete(request, status);
}

/* What a command does with its result may be what we die of, as well. */
static void take_result(struct block_request *block, int result)
{
	struct nvme_request *request = container_of(block, struct nvme_request, block);
	struct nvme_worker *worker = request->worker;

	nvme_request_take_in_hand(request);
	request->done(block, result);
	nvme_worker_put_down(worker);
}

void nvme_io_submit(struct nvme_request *request)
{
	/* One that was held comes again as it is. */
	if (request->block.done != take_result) {
		request->done = request->block.done;
		request->block.done = take_result;
	}
	if (nvme_reservation_refuses(request))
		request->block.done(&request->block, -EBADE);
	else
		block_submit(request->ns->block, request->worker->ring, &request->block);
}

void nvme_io_wait_for_bounce(struct nvme_request *request)
{
	nvme_request_wait(request, &request->worker->bounce_waiters);
}

static void execute_read_write(struct nvme_request *request)
{
	struct block_request *block = &request->block;
	nvme_result result = nvme_data_pointer_map(request, block->bytes, block->op == BLOCK_WRITE,
						   request->ns->memory_alignment);

	if (!result)
		nvme_io_submit(request);
	else if (result == -EAGAIN)
		nvme_io_wait_for_bounce(request);
	else
		nvme_request_finish(request, result);
}

/* Section 6.1.2: an id that could never exist, and one that only does not now. */
nvme_status nvme_io_hold_namespace(struct nvme_request *request)
{
	uint32_t nsid = request->command.nsid;
	struct nvme_namespace *ns = nvme_namespace_find(request->worker->ctrl, nsid);

	if (ns) {
		nvme_namespace_get(ns, request->worker->index);
		request->ns = ns;
		return nvme_format_admits(request) ? 0 : NVME_FORMAT_IN_PROGRESS;
	}
	if (!nsid || nsid > NVME_MAX_NAMESPACES)
		return NVME_INVALID_NAMESPACE | NVME_DNR;
	if (nvme_ana_is_taken(request->worker->ctrl, nsid))
		return NVME_ANA_PERSISTENT_LOSS;
	return nvme_invalid_field(request, nsid);
}

bool nvme_io_contains(const struct nvme_namespace *ns, uint64_t lba, uint64_t blocks)
{
	uint64_t all = READ_ONCE(ns->blocks);

	return lba <= all && blocks <= all - lba;
}

/* With the write cache disabled everything is durable when it is acknowledged. */
bool nvme_io_is_durable(const struct nvme_request *request)
{
	return (request->command.cdw12 & NVME_RW_FUA) ||
	       !(READ_ONCE(request->worker->ctrl->state->features.write_cache) & 1);
}

void nvme_io_prefetch(struct nvme_controller *ctrl, const struct nvme_command *command)
{
	uint64_t lba = command->cdw10 | (uint64_t)command->cdw11 << 32;
	uint64_t blocks = (command->cdw12 & 0xffff) + 1;
	const struct nvme_namespace *ns;

	if (command->opcode != NVME_IO_READ)
		return;
	ns = nvme_namespace_find(ctrl, command->nsid);
	if (ns && nvme_io_contains(ns, lba, blocks))
		block_prefetch(ns->block, lba << ns->block_shift, blocks << ns->block_shift);
}

static nvme_status parse_flush(struct nvme_request *request)
{
	nvme_status status = nvme_io_hold_namespace(request);

	if (status)
		return status;
	request->block = (struct block_request){ .op = BLOCK_FLUSH, .done = done };
	request->execute = nvme_io_submit;
	return 0;
}

static void set_blocks(struct nvme_request *request, enum block_op op)
{
	const struct nvme_command *command = &request->command;
	unsigned shift = request->ns->block_shift;

	request->block = (struct block_request){
		.op = op,
		.offset = (command->cdw10 | (uint64_t)command->cdw11 << 32) << shift,
		.bytes = (uint64_t)((command->cdw12 & 0xffff) + 1) << shift,
		.done = done,
	};
}

static void flushed(struct block_request *block, int result)
{
	struct nvme_request *request = container_of(block, struct nvme_request, block);

	if (result < 0 && nvme_hold(request, result))
		return;
	if (result < 0 || !request->sq->live) {
		nvme_request_complete(request, result < 0 ? nvme_io_result(request, result) : 0);
		return;
	}
	set_blocks(request, BLOCK_READ);
	request->step(request);
}

static void flush_first(struct nvme_request *request)
{
	request->block = (struct block_request){ .op = BLOCK_FLUSH, .done = flushed };
	nvme_io_submit(request);
}

/* FUA of what only reads: it shall see what is on the media, so what is not there yet goes there. */
static void set_read(struct nvme_request *request, void (*execute)(struct nvme_request *request))
{
	bool flush = (request->command.cdw12 & NVME_RW_FUA) && request->ns->volatile_cache;

	request->step = execute;
	request->execute = flush ? flush_first : execute;
}

/* What commands about one range of blocks have in common. Where no data goes between us and the
 * guest, MDTS sets no limit. */
static nvme_status parse_blocks(struct nvme_request *request, enum block_op op, bool has_data)
{
	const struct nvme_command *command = &request->command;
	uint64_t lba = command->cdw10 | (uint64_t)command->cdw11 << 32;
	unsigned blocks = (command->cdw12 & 0xffff) + 1;
	nvme_status status = nvme_io_hold_namespace(request);
	const struct nvme_namespace *ns = request->ns;

	if (status)
		return status;
	if (has_data && (uint64_t)blocks << ns->block_shift > NVME_MAX_TRANSFER)
		return nvme_invalid_field(request, cdw12);
	if (!nvme_io_contains(ns, lba, blocks))
		return NVME_LBA_OUT_OF_RANGE | NVME_DNR;
	if (op != BLOCK_READ && ns->read_only)
		return NVME_WRITE_PROTECTED | NVME_DNR;
	set_blocks(request, op);
	if (op != BLOCK_READ && nvme_io_is_durable(request))
		request->block.flags = BLOCK_FUA;
	request->execute = execute_read_write;
	return 0;
}

static nvme_status parse_write_zeroes(struct nvme_request *request)
{
	nvme_status status = parse_blocks(request, BLOCK_WRITE_ZEROES, false);

	if (status)
		return status;
	if (!(request->command.cdw12 & NVME_ZEROES_DEALLOCATE))
		request->block.flags |= BLOCK_NO_HOLE;
	request->execute = nvme_io_submit;
	return 0;
}

static nvme_status parse_read(struct nvme_request *request)
{
	nvme_status status = parse_blocks(request, BLOCK_READ, true);

	if (!status)
		set_read(request, execute_read_write);
	return status;
}

static nvme_status parse_write(struct nvme_request *request)
{
	return parse_blocks(request, BLOCK_WRITE, true);
}

static nvme_status parse_compare(struct nvme_request *request)
{
	nvme_status status = parse_blocks(request, BLOCK_READ, true);

	if (!status)
		set_read(request, nvme_compare);
	return status;
}

static nvme_status parse_verify(struct nvme_request *request)
{
	nvme_status status = parse_blocks(request, BLOCK_READ, false);

	if (!status)
		set_read(request, nvme_verify);
	return status;
}

static const struct {
	uint8_t opcode;
	uint8_t effects;
	nvme_status (*parse)(struct nvme_request *request);
} commands[] = {
	{ NVME_IO_FLUSH, NVME_SUPPORTED, parse_flush },
	{ NVME_IO_WRITE, NVME_SUPPORTED | NVME_EFFECT_CONTENT, parse_write },
	{ NVME_IO_READ, NVME_SUPPORTED, parse_read },
	{ NVME_IO_COMPARE, NVME_SUPPORTED, parse_compare },
	{ NVME_IO_WRITE_ZEROES, NVME_SUPPORTED | NVME_EFFECT_CONTENT, parse_write_zeroes },
	{ NVME_IO_DATASET_MANAGEMENT, NVME_SUPPORTED | NVME_EFFECT_CONTENT, nvme_dataset_parse },
	{ NVME_IO_VERIFY, NVME_SUPPORTED, parse_verify },
	{ NVME_IO_RESERVATION_REGISTER, NVME_SUPPORTED, nvme_reservation_parse },
	{ NVME_IO_RESERVATION_REPORT, NVME_SUPPORTED, nvme_reservation_parse },
	{ NVME_IO_RESERVATION_ACQUIRE, NVME_SUPPORTED, nvme_reservation_parse },
	{ NVME_IO_RESERVATION_RELEASE, NVME_SUPPORTED, nvme_reservation_parse },
	{ NVME_IO_COPY, NVME_SUPPORTED | NVME_EFFECT_CONTENT, nvme_copy_parse },
};

nvme_status nvme_io_parse(struct nvme_request *request)
{
	uint8_t psdt = request->command.flags & NVME_COMMAND_PSDT;

	nvme_status status = nvme_fused_judge(request);

	if (status)
		return status;
	if (psdt != NVME_PSDT_PRP && psdt != NVME_PSDT_SGL)
		return nvme_invalid_field(request, flags);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (commands[i].opcode == request->command.opcode)
			return commands[i].parse(request);
	return NVME_INVALID_OPCODE | NVME_DNR;
}

void nvme_io_effects(struct nvme_controller *ctrl, uint32_t *effects)
{
	bool reservations = nvme_reservation_is_offered(ctrl);

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (reservations || commands[i].parse != nvme_reservation_parse)
			effects[commands[i].opcode] = commands[i].effects;
}
