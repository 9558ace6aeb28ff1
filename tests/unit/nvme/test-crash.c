// SPDX-License-Identifier: LGPL-2.1-or-later
#include <malloc.h>

#include "nvme/crash-point.h"
#include "nvme/journal.h"
#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

/*
 * The controller is killed at every crash point that a random load passes, a successor takes over,
 * and a model of the guest says what may be seen: each command is completed exactly once, with the
 * status and the data that it must have; what was written stays written; memory that was given back
 * is not touched; no event is lost. The model lives on, and so does what hardware and kernel keep:
 * guest memory, the state, the disk, requests under way in the kernel, messages under way to QEMU,
 * and the register write that was not handled to its end.
 *
 * VIRTNVME_CRASH_SEEDS=N in the environment runs N loads more.
 */

#define LBAS	 32
#define COMMANDS 32
#define STEPS	 90
#define ENTRIES	 8 /* of the I/O queues: they wrap often */
#define FREE	 0xaa

enum phase {
	OFF,
	TURNING_ON,
	NOTICES,
	CREATING,
	RUNNING,
	TURNING_OFF,
	RESETTING,
	FLR,
};

enum kind {
	NONE,
	READ,
	COMPARE,
	MISCOMPARE,
	VERIFY,
	WRITE,
	ZEROES,
	TRIM,
	COPY,
	FUSED_COMPARE, /* and its write */
	FUSED_WRITE,
	MISFUSED_COMPARE, /* it finds a difference */
	MISFUSED_WRITE,
	FORMAT,
	FLUSH,
	ADMIN, /* no effect that the model follows */
	DOORBELLS,
	EVENT,
	SET_FEATURE,
	GET_FEATURE,
	GET_LOG,
	IDENTIFY,
	CREATE_CQ3,
	CREATE_SQ3,
	DELETE_SQ3,
	DELETE_CQ3,
	WRONG_QUEUE,
};

struct command {
	enum kind kind;
	uint16_t cid, sqid;
	uint64_t iova; /* of its data: in a page of its own */
	unsigned lba, source;
	uint32_t value;
	unsigned resizes, events; /* until then */
};

static struct model {
	struct machine *machine;
	struct machine_disk *disk;
	bool by_message, pairs;
	uint32_t random;
	unsigned steps, turns, flr_turn;

	enum phase phase;
	unsigned created;
	struct command commands[COMMANDS];
	uint64_t pages[COMMANDS];
	uint32_t lbas[LBAS]; /* what is in it; 0: zeroes */
	bool lba_busy[LBAS];
	uint32_t last_value;
	uint64_t rings[4][2];
	bool head_due[4];

	enum {
		Q3_NONE,
		Q3_CQ,
		Q3_BOTH
	} q3;
	uint32_t feature;
	bool notices, must_tell, masked, last_look;
	bool format_due; /* when no I/O is under way */
	unsigned formats, deletions;
	/* What whoever starts the next process knows. */
	uint32_t block_size, next_block_size;
	unsigned sizes;
	unsigned resizes, told, events;

	/* Done again by the keeper when it was not to the end. */
	bool write_due, reset_due, flr_due;
	uint64_t write_offset, write_value;
	size_t write_len;

	bool ghosts, frozen, freezing;
	unsigned submitted_before;

	/* Doorbells in memory: where, and are they in use? */
	uint64_t doorbells, events_at;
	bool shadow;

	/* A worker that sleeps runs only when it is told to. */
	bool asleep[MACHINE_WORKERS];
	unsigned kicks[MACHINE_WORKERS];
} model;

/*
 * Killing
 */
static jmp_buf killed;
static unsigned long passed, kill_at;
static bool with_pairs; /* of Compare and Write */
static bool with_sizes; /* formats to the other block size */

void nvme_crash_point(void)
{
	passed++;
	if (passed == kill_at)
		longjmp(killed, 1);
}

/* What a process had when it was killed is lost: the sanitizer need not say so. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

static unsigned choose(unsigned n)
{
	model.random = model.random * 1664525u + 1013904223u;
	return (model.random >> 8) % n;
}

/*
 * The driver
 */
static void guest_write(uint64_t offset, uint64_t value, size_t len)
{
	model.write_offset = offset;
	model.write_value = value;
	model.write_len = len;
	model.write_due = true;
	nvme_controller_write(model.machine->ctrl, offset, &value, len);
	model.write_due = false;
}

/* As Linux: a register only when the event index is passed. */
static void ring_doorbell(unsigned index, uint32_t value)
{
	uint32_t *doorbells = machine_at(model.machine, model.doorbells);
	const uint32_t *events = machine_at(model.machine, model.events_at);
	uint16_t old = doorbells[index], event;

	if (model.shadow && index >= 2) {
		doorbells[index] = value;
		event = events[index];
		if ((uint16_t)(value - event - 1) >= (uint16_t)(value - old))
			return;
	}
	guest_write(NVME_BAR0_DOORBELLS + index * 4, value, 4);
}

static void *data_of(const struct command *command)
{
	return machine_at(model.machine, command->iova);
}

static void *page_of(const struct command *command)
{
	return machine_at(model.machine, model.pages[command - model.commands]);
}

static void fill(uint8_t *block, uint32_t value)
{
	for (unsigned i = 0; i < 512; i += 4)
		memcpy(block + i, &value, 4);
}

static bool holds(const uint8_t *block, uint32_t value)
{
	uint8_t wanted[512];

	fill(wanted, value);
	return memcmp(block, wanted, sizeof(wanted)) == 0;
}

static bool disk_holds(unsigned lba, uint32_t value)
{
	return holds(model.disk->data + lba * 512, value);
}

/* Memory that is the guest's again. */
static void give_back(struct command *command)
{
	memset(page_of(command), FREE, NVME_PAGE_SIZE);
	command->kind = NONE;
}

static bool is_untouched(const struct command *command)
{
	const uint8_t *page = page_of(command);

	return page[0] == FREE && memcmp(page, page + 1, NVME_PAGE_SIZE - 1) == 0;
}

static struct command *new_command(enum kind kind, unsigned sqid)
{
	unsigned count = 0, first = choose(COMMANDS);
	struct command *found = NULL;

	for (unsigned i = 0; i < COMMANDS; i++) {
		struct command *command = &model.commands[(first + i) % COMMANDS];

		count += command->kind && command->sqid == sqid;
		if (!command->kind)
			found = command;
	}
	if (!found || count + 1 >= model.machine->queues[sqid].sq_entries)
		return NULL;
	assert_true(is_untouched(found));
	*found = (struct command){ .kind = kind,
				   .sqid = sqid,
				   .iova = model.pages[found - model.commands] };
	return found;
}

/* A list behind the data. */
static void use_sgl(struct command *command, struct nvme_command *sqe)
{
	uint64_t list = model.pages[command - model.commands] + 2048;
	const struct nvme_sgl_descriptor segment = { list, 32, .id = NVME_SGL_LAST_SEGMENT },
					 blocks[2] = { { command->iova, 100 },
						       { command->iova + 100, 412 } };

	memcpy(machine_at(model.machine, list), blocks, sizeof(blocks));
	memcpy(&sqe->prp1, &segment, sizeof(segment));
	sqe->flags = NVME_PSDT_SGL;
}

static void submit(struct command *command, struct nvme_command sqe)
{
	command->cid = machine_put(model.machine, command->sqid, sqe);
	ring_doorbell(command->sqid * 2, model.machine->queues[command->sqid].tail);
}

/* Nobody writes to the source meanwhile. */
static void copy_from(struct command *command, unsigned source)
{
	const struct nvme_copy_range range = { .lba = source };

	model.lba_busy[source] = true;
	command->source = source;
	command->value = model.lbas[source];
	memcpy(data_of(command), &range, sizeof(range));
	submit(command, (struct nvme_command){ .opcode = NVME_IO_COPY,
					       .nsid = 1,
					       .prp1 = command->iova,
					       .cdw10 = command->lba });
}

static void trim(struct command *command)
{
	const struct nvme_dataset_range range = { .lba = command->lba, .blocks = 1 };

	command->value = 0;
	memcpy(data_of(command), &range, sizeof(range));
	submit(command, (struct nvme_command){ .opcode = NVME_IO_DATASET_MANAGEMENT,
					       .nsid = 1,
					       .prp1 = command->iova,
					       .cdw11 = NVME_DATASET_DEALLOCATE });
}

/* What the guest has for the controller to compare: the same, or not in the last byte. */
static void fill_for_compare(const struct command *command)
{
	fill(data_of(command), command->value);
	if (command->kind == MISCOMPARE)
		((uint8_t *)data_of(command))[511] ^= 1;
}

static uint8_t opcode_of(enum kind kind)
{
	switch (kind) {
	case READ:
		return NVME_IO_READ;
	case COMPARE:
	case MISCOMPARE:
		return NVME_IO_COMPARE;
	case VERIFY:
		return NVME_IO_VERIFY;
	case WRITE:
		return NVME_IO_WRITE;
	default:
		return NVME_IO_WRITE_ZEROES;
	}
}

/* Two commands, one doorbell. */
static void submit_pair(unsigned lba, unsigned sqid)
{
	bool differs = choose(3) == 0;
	struct command *compare = new_command(differs ? MISFUSED_COMPARE : FUSED_COMPARE, sqid);
	struct command *write =
		compare ? new_command(differs ? MISFUSED_WRITE : FUSED_WRITE, sqid) : NULL;
	struct nvme_command sqe;

	if (!write) {
		if (compare)
			compare->kind = NONE;
		return;
	}
	model.lba_busy[lba] = true;
	compare->lba = write->lba = lba;
	compare->iova += choose(2) * 4;
	write->iova += choose(2) * 4;
	fill(data_of(compare), model.lbas[lba]);
	if (differs)
		((uint8_t *)data_of(compare))[511] ^= 1;
	write->value = ++model.last_value << 8 | lba;
	fill(data_of(write), write->value);
	sqe = machine_rw(NVME_IO_COMPARE, lba, 1, compare->iova, 0);
	sqe.flags = NVME_FUSE_FIRST;
	compare->cid = machine_put(model.machine, sqid, sqe);
	sqe = machine_rw(NVME_IO_WRITE, lba, 1, write->iova, 0);
	sqe.flags = NVME_FUSE_SECOND;
	submit(write, sqe);
}

static void submit_io(void)
{
	static const enum kind kinds[] = { READ,  READ,	 COMPARE, MISCOMPARE, VERIFY, WRITE,
					   WRITE, WRITE, ZEROES,  TRIM,	      FLUSH };
	enum kind kind = kinds[choose(ARRAY_SIZE(kinds))];
	unsigned lba = choose(LBAS), sqid = 1 + choose(model.q3 == Q3_BOTH ? 3 : 2);
	struct nvme_command sqe;
	struct command *command;

	if (model.lba_busy[lba])
		return;
	if (model.pairs && choose(3) == 0) {
		submit_pair(lba, sqid);
		return;
	}
	if (kind == WRITE && lba % 4 == 1 && !model.lba_busy[(lba + 7) % LBAS])
		kind = COPY;
	command = new_command(kind, sqid);
	if (!command)
		return;
	command->lba = lba;
	command->value = model.lbas[lba];
	/* Some are not aligned as the disk wants, and go through a bounce buffer. */
	command->iova += choose(2) * 4;
	if (kind == FLUSH) {
		submit(command, (struct nvme_command){ .opcode = NVME_IO_FLUSH, .nsid = 1 });
		return;
	}
	model.lba_busy[lba] = true;
	if (kind == COPY) {
		copy_from(command, (lba + 7) % LBAS);
		return;
	}
	if (kind == TRIM) {
		trim(command);
		return;
	}
	if (kind == COMPARE || kind == MISCOMPARE) {
		fill_for_compare(command);
	} else if (kind == WRITE) {
		command->value = ++model.last_value << 8 | lba;
		fill(data_of(command), command->value);
	} else if (kind == ZEROES) {
		command->value = 0;
	}
	sqe = machine_rw(opcode_of(kind), lba, 1, command->iova, 0);
	if (lba % 3 == 0 && kind != VERIFY)
		use_sgl(command, &sqe);
	submit(command, sqe);
}

static bool is_busy(enum kind kind)
{
	for (unsigned i = 0; i < COMMANDS; i++)
		if (model.commands[i].kind == kind)
			return true;
	return false;
}

static void submit_q3(void)
{
	struct machine_queue *queue = &model.machine->queues[3];
	enum kind kind;
	struct command *command;

	if (is_busy(CREATE_CQ3) || is_busy(CREATE_SQ3) || is_busy(DELETE_SQ3) ||
	    is_busy(DELETE_CQ3) || is_busy(WRONG_QUEUE))
		return;
	if (model.q3 == Q3_BOTH)
		for (unsigned i = 0; i < COMMANDS; i++)
			if (model.commands[i].kind && model.commands[i].sqid == 3)
				return;
	kind = choose(4) == 0	     ? WRONG_QUEUE
	       : model.q3 == Q3_NONE ? CREATE_CQ3
	       : model.q3 == Q3_BOTH ? DELETE_SQ3
	       : choose(2)	     ? CREATE_SQ3
				     : DELETE_CQ3;
	command = new_command(kind, 0);
	if (!command)
		return;
	/* By message the controller does not do it: doorbell.c. */
	if (model.by_message && (kind == CREATE_CQ3 || kind == CREATE_SQ3))
		((uint32_t *)machine_at(model.machine,
					model.doorbells))[kind == CREATE_CQ3 ? 7 : 6] = 0;
	switch (kind) {
	case CREATE_CQ3:
		queue->head = 0;
		queue->phase = 1;
		memset(machine_at(model.machine, queue->cq), 0, ENTRIES * 16);
		submit(command, machine_create_cq(3, ENTRIES, queue->cq, 3));
		break;
	case CREATE_SQ3:
		queue->tail = 0;
		submit(command, machine_create_sq(3, ENTRIES, queue->sq, 3));
		break;
	case DELETE_SQ3:
		model.q3 = Q3_CQ; /* nothing more is sent to it */
		submit(command,
		       (struct nvme_command){ .opcode = NVME_ADMIN_DELETE_SQ, .cdw10 = 3 });
		break;
	case DELETE_CQ3:
		submit(command,
		       (struct nvme_command){ .opcode = NVME_ADMIN_DELETE_CQ, .cdw10 = 3 });
		break;
	default: /* it exists, or does not */
		submit(command,
		       model.q3 == Q3_NONE
			       ? (struct nvme_command){ .opcode = NVME_ADMIN_DELETE_CQ, .cdw10 = 3 }
			       : machine_create_cq(3, ENTRIES, queue->cq, 3));
	}
}

/* The guest has formatted it, and everything else goes by small blocks. */
static bool is_sized(void)
{
	return model.block_size == 512 && !model.machine->block_size[1];
}

static void record_size(void)
{
	uint32_t *next = &model.machine->block_size[1], size = choose(4) ? *next : 0;

	*next = 0;
	if (size) {
		model.block_size = size;
		model.sizes++;
	}
	nvme_controller_set_block_size(model.machine->ctrl, 1, size);
}

/* All of the disk, while nothing else is sent to it; now and then to large blocks and back. */
static void submit_format(void)
{
	struct command *command;

	model.format_due = true;
	for (unsigned i = 0; i < COMMANDS; i++)
		if (model.commands[i].kind == FORMAT ||
		    (model.commands[i].kind && model.commands[i].sqid))
			return;
	command = new_command(FORMAT, 0);
	if (!command)
		return;
	model.format_due = false;
	memset(model.lba_busy, true, sizeof(model.lba_busy));
	submit(command, (struct nvme_command){ .opcode = NVME_ADMIN_FORMAT,
					       .nsid = 1,
					       .cdw10 = with_sizes && is_sized() });
}

static struct nvme_command feature(uint8_t opcode, uint8_t id, uint32_t value)
{
	return (struct nvme_command){ .opcode = opcode, .cdw10 = id, .cdw11 = value };
}

static void submit_admin(void)
{
	static const enum kind kinds[] = { EVENT, SET_FEATURE, GET_FEATURE, GET_LOG, IDENTIFY };
	enum kind kind = kinds[choose(ARRAY_SIZE(kinds))];
	struct command *command;

	if (is_busy(kind) || (kind == GET_FEATURE && is_busy(SET_FEATURE)) ||
	    (kind == SET_FEATURE && is_busy(GET_FEATURE)))
		return;
	command = new_command(kind, 0);
	if (!command)
		return;
	switch (kind) {
	case EVENT:
		submit(command, (struct nvme_command){ .opcode = NVME_ADMIN_ASYNC_EVENT });
		break;
	case SET_FEATURE:
		command->value = choose(0x10000);
		submit(command, feature(NVME_ADMIN_SET_FEATURE, NVME_FEATURE_ERROR_RECOVERY,
					command->value));
		break;
	case GET_FEATURE:
		submit(command, feature(NVME_ADMIN_GET_FEATURE, NVME_FEATURE_ERROR_RECOVERY, 0));
		break;
	case GET_LOG:
		command->resizes = model.resizes;
		command->events = model.events;
		submit(command,
		       machine_get_log(NVME_LOG_CHANGED_NAMESPACES, 4096, 0, false, command->iova));
		break;
	default:
		submit(command, (struct nvme_command){ .opcode = NVME_ADMIN_IDENTIFY,
						       .nsid = 1,
						       .prp1 = command->iova });
	}
}

static void read_log(const struct command *command)
{
	uint32_t nsid;

	/* An event since may have been sent after this was executed. */
	if (command->events == model.events)
		model.masked = false;
	memcpy(&nsid, data_of(command), sizeof(nsid));
	if (!nsid) {
		assert_true(model.told >= command->resizes); /* a change was lost */
		return;
	}
	/* Those that came while it was under way are in the log, or still to come. */
	assert_int_equal(nsid, 1);
	model.told = model.resizes;
	model.must_tell = false;
}

static void completed(struct command *command, const struct machine_completion *completion)
{
	uint64_t blocks;

	/* Of one before a reset, whose size is not recorded yet. */
	if (command->kind == FORMAT && completion->status == NVME_FORMAT_IN_PROGRESS) {
		memset(model.lba_busy, 0, sizeof(model.lba_busy));
		give_back(command);
		return;
	}
	if (command->kind == WRONG_QUEUE)
		assert_status(*completion, NVME_INVALID_QUEUE_ID);
	else if (command->kind == MISCOMPARE || command->kind == MISFUSED_COMPARE)
		assert_status(*completion, NVME_COMPARE_FAILURE);
	else if (command->kind == MISFUSED_WRITE)
		assert_status(*completion, NVME_FAILED_FUSED);
	else if (command->kind != FORMAT || completion->status != NVME_INTERNAL_ERROR)
		assert_status(*completion, 0); /* that is a size which could not be recorded */
	switch (command->kind) {
	case READ:
		assert_true(holds(data_of(command), command->value));
		break;
	case COPY:
		model.lba_busy[command->source] = false;
		fallthrough;
	case WRITE:
	case FUSED_WRITE:
	case ZEROES:
	case TRIM:
		model.lbas[command->lba] = command->value;
		assert_true(disk_holds(command->lba, command->value));
		break;
	case MISFUSED_WRITE:
		assert_true(disk_holds(command->lba, model.lbas[command->lba]));
		break;
	case FORMAT:
		model.formats++;
		memset(model.lbas, 0, sizeof(model.lbas));
		memset(model.lba_busy, 0, sizeof(model.lba_busy));
		for (unsigned lba = 0; lba < LBAS; lba++)
			assert_true(disk_holds(lba, 0));
		break;
	case EVENT:
		assert_int_equal(completion->result & 7, NVME_EVENT_TYPE_NOTICE);
		model.must_tell = false;
		model.masked = true;
		model.events++;
		break;
	case SET_FEATURE:
		model.feature = command->value;
		break;
	case GET_FEATURE:
		assert_int_equal(completion->result, model.feature);
		break;
	case GET_LOG:
		read_log(command);
		break;
	case IDENTIFY:
		memcpy(&blocks, data_of(command), sizeof(blocks));
		assert_true(blocks != 0); /* the namespace did not go away */
		break;
	case CREATE_CQ3:
		model.q3 = Q3_CQ;
		break;
	case CREATE_SQ3:
		model.q3 = Q3_BOTH;
		break;
	case DELETE_SQ3:
		model.deletions++;
		break;
	case DELETE_CQ3:
		model.q3 = Q3_NONE;
		break;
	default:
		break;
	}
	if ((command->kind >= READ && command->kind <= COPY) || command->kind == FUSED_WRITE ||
	    command->kind == MISFUSED_WRITE)
		model.lba_busy[command->lba] = false;
	if (command->kind == DOORBELLS)
		model.shadow = true;
	if (model.phase == NOTICES || model.phase == CREATING)
		model.created++;
	give_back(command);
}

static void reap(unsigned cqid)
{
	struct machine_completion completion;
	struct command *command = NULL;

	if (model.phase < NOTICES || model.phase > RUNNING)
		return;
	if (cqid == 3 && model.q3 == Q3_NONE)
		return;
	if (machine_peek(model.machine, cqid, &completion)) {
		for (unsigned i = 0; i < COMMANDS; i++)
			if (model.commands[i].kind && model.commands[i].cid == completion.cid &&
			    model.commands[i].sqid == completion.sqid)
				command = &model.commands[i];
		assert_non_null(command); /* told twice, or never asked */
		completed(command, &completion);
		model.head_due[cqid] = true;
	}
	if (model.head_due[cqid] && choose(3) == 0) {
		model.head_due[cqid] = false;
		ring_doorbell(cqid * 2 + 1, model.machine->queues[cqid].head);
	}
}

/* Of what was in flight when the controller was turned off: it was done, or not. */
static void settle(unsigned lba, uint32_t value)
{
	if (disk_holds(lba, model.lbas[lba]))
		return;
	assert_true(disk_holds(lba, value));
	model.lbas[lba] = value;
}

/* The controller is off: what was in flight is over. */
static void forget_all(void)
{
	for (unsigned i = 0; i < COMMANDS; i++) {
		struct command *command = &model.commands[i];

		if ((command->kind >= WRITE && command->kind <= COPY) ||
		    command->kind == FUSED_WRITE)
			settle(command->lba, command->value);
		for (unsigned lba = 0; command->kind == FORMAT && lba < LBAS; lba++)
			settle(lba, 0);
		if (command->kind)
			give_back(command);
	}
	memset(model.lba_busy, 0, sizeof(model.lba_busy));
	memset(model.head_due, 0, sizeof(model.head_due));
	model.q3 = Q3_NONE;
	model.feature = 0;
	model.shadow = false;
	model.notices = model.must_tell = model.masked = model.format_due = false;
	model.told = model.resizes;
	model.phase = OFF;
}

static void turn_on(void)
{
	for (unsigned id = 0; id < 4; id++) {
		unsigned entries = id ? ENTRIES : MACHINE_ENTRIES;

		model.machine->queues[id] = (struct machine_queue){ .sq = model.rings[id][0],
								    .cq = model.rings[id][1],
								    .sq_entries = entries,
								    .cq_entries = entries,
								    .phase = 1 };
		memset(machine_at(model.machine, model.rings[id][1]), 0, entries * 16);
	}
	memset(machine_at(model.machine, model.doorbells), 0, NVME_PAGE_SIZE);
	memset(machine_at(model.machine, model.events_at), 0, NVME_PAGE_SIZE);
	model.phase = TURNING_ON;
	guest_write(NVME_REG_AQA, (MACHINE_ENTRIES - 1) << 16 | (MACHINE_ENTRIES - 1), 4);
	guest_write(NVME_REG_ASQ, model.rings[0][0], 8);
	guest_write(NVME_REG_ACQ, model.rings[0][1], 8);
	guest_write(NVME_REG_CC, 4 << 20 | 6 << 16 | NVME_CC_EN, 4);
}

/* One after the other: the queues, of which 2 posts to the completion queue of 1. */
static void create_next(void)
{
	const struct nvme_command sqes[] = {
		feature(NVME_ADMIN_SET_FEATURE, NVME_FEATURE_ASYNC_EVENT,
			NVME_EVENT_NAMESPACE_MASK),
		{ .opcode = NVME_ADMIN_DOORBELL_BUFFER,
		  .prp1 = model.doorbells,
		  .prp2 = model.events_at },
		machine_create_cq(1, ENTRIES, model.rings[1][1], 1),
		machine_create_sq(1, ENTRIES, model.rings[1][0], 1),
		machine_create_sq(2, ENTRIES, model.rings[2][0], 1),
	};
	struct command *command;

	if (is_busy(ADMIN) || is_busy(DOORBELLS))
		return;
	if (model.created == ARRAY_SIZE(sqes)) {
		model.notices = true;
		model.phase = RUNNING;
		return;
	}
	model.phase = CREATING;
	command = new_command(model.created == 1 ? DOORBELLS : ADMIN, 0);
	assert_non_null(command);
	submit(command, sqes[model.created]);
}

static void frozen(void *opaque)
{
	assert_int_equal(model.disk->count, 0);
	model.freezing = false;
	model.frozen = true;
}

static void reset_over(void *opaque)
{
	model.reset_due = false;
	machine_drop_messages(model.machine); /* bus mastering is off */
	assert_int_equal(machine_read32(model.machine, NVME_REG_CC), 0);
	forget_all();
}

static void reset(void)
{
	model.phase = RESETTING;
	model.reset_due = true;
	nvme_controller_reset(model.machine->ctrl, reset_over, NULL);
}

static void nobody_waits(void *opaque)
{
}

/* The write to the configuration space is handled when it returns, and does not come again. */
static void function_level_reset(void)
{
	model.phase = FLR;
	model.flr_due = true;
	model.flr_turn = model.turns;
	nvme_controller_reset(model.machine->ctrl, nobody_waits, NULL);
	model.flr_due = false;
}

static void act_running(void)
{
	unsigned action = choose(100);

	if (!is_sized()) {
		submit_format();
		model.format_due = false;
		return;
	}
	if (model.steps == STEPS)
		return;
	if (model.format_due) {
		submit_format();
		return;
	}
	model.steps++;
	if (action < 60) {
		submit_io();
	} else if (action < 75) {
		submit_admin();
	} else if (action < 85) {
		submit_q3();
	} else if (action < 90) {
		model.disk->info.capacity += with_sizes ? 4096 : 512;
		model.resizes++;
		model.must_tell = true;
		nvme_controller_resized(model.machine->ctrl, 1);
	} else if (action < 94 && !model.freezing && !model.frozen) {
		model.freezing = true;
		nvme_controller_freeze(model.machine->ctrl, frozen, NULL);
	} else if (action == 95 || action == 96) {
		submit_format();
	} else if (action == 97) {
		function_level_reset();
	} else if (action == 98) {
		model.phase = TURNING_OFF;
		guest_write(NVME_REG_CC, 4 << 20 | 6 << 16, 4);
	} else if (action == 99) {
		reset();
	}
}

static void act(void)
{
	switch (model.phase) {
	case OFF:
		model.created = 0;
		turn_on();
		break;
	case TURNING_ON:
		if (machine_read32(model.machine, NVME_REG_CSTS) & NVME_CSTS_RDY)
			model.phase = NOTICES;
		break;
	case NOTICES:
	case CREATING:
		create_next();
		break;
	case RUNNING:
		act_running();
		break;
	case TURNING_OFF:
		if (machine_read32(model.machine, NVME_REG_CSTS) & NVME_CSTS_RDY)
			break;
		/* The answer came after these. */
		while (model.machine->messages && model.machine->messages->old)
			machine_execute_one(model.machine);
		forget_all();
		break;
	case RESETTING:
		break;
	case FLR:
		/* A guest leaves it alone for 100 ms. */
		if (model.turns - model.flr_turn < 100)
			break;
		if (machine_read32(model.machine, NVME_REG_CC) ||
		    machine_read32(model.machine, NVME_REG_CSTS))
			break;
		machine_drop_messages(model.machine);
		forget_all();
		break;
	}
}

/*
 * The machine
 */
static void attach(bool not_ready)
{
	const struct nvme_namespace_config config = {
		.nsid = 1,
		.not_ready = not_ready,
		.block_size = model.block_size,
		.next_block_size = model.machine->block_size[1],
	};

	assert_int_equal(nvme_controller_attach(model.machine->ctrl, &config,
						(struct block *)model.disk, NULL),
			 0);
}

static void run_worker(unsigned i)
{
	struct machine *machine = model.machine;

	if (model.asleep[i] && machine->kicks[i] == model.kicks[i] && !machine->calls[i].first)
		return;
	model.kicks[i] = machine->kicks[i];
	model.asleep[i] = !machine_run_worker(machine, i) && nvme_worker_arm(machine->workers[i]);
}

static void run_something(void)
{
	unsigned what = choose(10);

	if (what < 5) {
		run_worker(choose(model.machine->host.workers));
	} else if (what < 7) {
		machine_run_control(model.machine);
	} else if (what < 9 && model.disk->count) {
		/* Whose ring it completes in wakes up. */
		memset(model.asleep, 0, sizeof(model.asleep));
		machine_release(model.machine, model.disk);
	} else {
		machine_execute_one(model.machine);
	}
	/* Nothing reaches the disk while a dead process may still be at it. */
	if (model.ghosts)
		assert_int_equal(model.disk->submitted, model.submitted_before);
	if (model.ghosts && choose(12) == 0) {
		machine_haunt(model.machine, model.disk, choose);
		model.ghosts = false;
		nvme_controller_set_ready(model.machine->ctrl, 1, true);
	}
	if (model.machine->block_size[1] && choose(6) == 0)
		record_size();
	if (model.frozen && choose(8) == 0) {
		model.frozen = false;
		nvme_controller_thaw(model.machine->ctrl);
	}
}

static void recover(void)
{
	struct machine *machine = model.machine;

	machine->host.workers = 1 + choose(3);
	machine->config.frozen = choose(4) == 0;
	model.frozen = machine->config.frozen;
	model.freezing = false;
	memset(model.asleep, 0, sizeof(model.asleep));
	model.ghosts = true;
	model.submitted_before = model.disk->submitted;
	assert_non_null(machine_adopt(machine, NULL));
	for (unsigned i = choose(4); i > 0; i--)
		run_something();
	/* A thaw said that no more namespaces come, or the ghosts were laid before it was there. */
	attach(model.ghosts);
	if (model.write_due)
		guest_write(model.write_offset, model.write_value, model.write_len);
	if (model.reset_due)
		reset();
	if (model.flr_due)
		function_level_reset();
}

static bool is_quiet(void)
{
	if (!is_sized() || model.steps < STEPS || model.phase != RUNNING || model.ghosts ||
	    model.frozen || model.freezing || model.machine->messages)
		return false;
	for (unsigned i = 0; i < COMMANDS; i++)
		if (model.commands[i].kind && model.commands[i].kind != EVENT)
			return false;
	return !(model.must_tell && !model.masked && is_busy(EVENT));
}

/* What changed must be in the log, if it was not read before. */
static void look_at_the_log(void)
{
	struct command *command = new_command(GET_LOG, 0);

	model.last_look = true;
	assert_non_null(command);
	command->resizes = model.resizes;
	command->events = model.events;
	submit(command,
	       machine_get_log(NVME_LOG_CHANGED_NAMESPACES, 4096, 0, false, command->iova));
}

static void workload(void)
{
	for (; !is_quiet() || !model.last_look; model.turns++) {
		if (is_quiet())
			look_at_the_log();
		assert_true(model.turns < 10000); /* something is lost */
		if (choose(3) == 0)
			act();
		run_something();
		reap(choose(2) * (choose(2) ? 1 : 3));
		if (choose(4) == 0)
			reap(0);
	}
}

static void model_new(unsigned seed, bool by_message)
{
	model = (struct model){ .random = seed, .by_message = by_message, .pairs = with_pairs };
	passed = 0;
	kill_at = 0;
	model.machine = machine_new(2);
	model.machine->records_later = true;
	model.block_size = 512;
	model.machine->message_writes = model.machine->queue_writes = by_message;
	model.disk = machine_disk_new(LBAS * 512 + 512);
	model.disk->hold = true;
	model.disk->info.can_write_zeroes = true;
	model.disk->info.memory_alignment = 512;
	/* Room to grow. */
	free(model.disk->data);
	model.disk->data = calloc(1, MiB);
	for (unsigned i = 0; i < COMMANDS; i++) {
		model.pages[i] = machine_alloc(model.machine, 1);
		memset(machine_at(model.machine, model.pages[i]), FREE, NVME_PAGE_SIZE);
	}
	for (unsigned id = 0; id < 4; id++)
		for (unsigned i = 0; i < 2; i++)
			model.rings[id][i] = machine_alloc(model.machine, 1);
	model.doorbells = machine_alloc(model.machine, 1);
	model.events_at = machine_alloc(model.machine, 1);
	attach(false);
}

static void model_free(void)
{
	for (unsigned lba = 0; lba < LBAS; lba++)
		assert_true(disk_holds(lba, model.lbas[lba]));
	for (unsigned i = 0; i < COMMANDS; i++)
		assert_true(model.commands[i].kind || is_untouched(&model.commands[i]));
	machine_free(model.machine);
	machine_disk_free(model.disk);
}

/* Killed at the @first point, and again @second points after that (0: not). Return: points passed.
 */
static unsigned long run(unsigned seed, bool by_message, unsigned long first, unsigned second)
{
	static volatile bool dead;
	static volatile unsigned then;

	dead = false;
	then = second;
	model_new(seed, by_message);
	kill_at = first;
	if (setjmp(killed)) {
		dead = true;
		kill_at = then ? passed + then : 0;
		then = 0;
	}
	if (dead) {
		machine_die(model.machine, model.disk);
		machine_lose_messages(model.machine, choose);
		recover();
	}
	workload();
	kill_at = 0;
	model_free();
	return passed;
}

/* Loads that have something of everything together, in few points. */
static const unsigned seeds[][2] = { [false] = { 103, 300 }, [true] = { 43, 282 } };
#define PAIRS_SEED 7
#define SIZES_SEED 598
static const unsigned seeds_again[] = { [false] = 195, [true] = 43 };

static unsigned more_seeds(void)
{
	const char *wanted = getenv("VIRTNVME_CRASH_SEEDS");

	return wanted ? atoi(wanted) : 0;
}

static void at_every_point(unsigned seed, bool by_message)
{
	unsigned long points = run(seed, by_message, 0, 0);

	assert_true(points > 500);
	for (unsigned long point = 1; point <= points; point++)
		run(seed, by_message, point, 0);
}

static void once(bool by_message)
{
	unsigned formats = 0, deletions = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(seeds[by_message]); i++) {
		at_every_point(seeds[by_message][i], by_message);
		formats += model.formats;
		deletions += model.deletions;
	}
	assert_true(formats > 0 && deletions > 0);
	for (unsigned seed = 1; seed <= more_seeds(); seed++)
		at_every_point(seed, by_message);
}

static void killed_at_every_point(void **state)
{
	once(false);
}

static void killed_at_every_point_in_message_mode(void **state)
{
	once(true);
}

static void again(unsigned seed, bool by_message)
{
	unsigned long points = run(seed, by_message, 0, 0);

	for (unsigned long point = seed % 2; point <= points; point += 2)
		run(seed, by_message, point, 1 + point * 7 % 61);
}

/* The second comes while the successor recovers, each time a little later. */
static void killed_again_in_the_recovery(void **state)
{
	for (unsigned mode = 0; mode < 2; mode++) {
		again(seeds_again[mode], mode);
		for (unsigned seed = 1; seed <= more_seeds(); seed++)
			again(seed, mode);
	}
}

/* One load more, so that the others stay as they are. */
static void killed_between_compare_and_write(void **state)
{
	with_pairs = true;
	at_every_point(PAIRS_SEED, false);
	again(PAIRS_SEED, true);
	for (unsigned seed = 1; seed <= more_seeds(); seed++)
		for (unsigned mode = 0; mode < 2; mode++) {
			at_every_point(seed, mode);
			again(seed, mode);
		}
	with_pairs = false;
}

/* The same for formats to the other block size and back. */
static void killed_while_the_size_changes(void **state)
{
	with_sizes = true;
	at_every_point(SIZES_SEED, false);
	assert_true(model.sizes > 1);
	again(SIZES_SEED, true);
	for (unsigned seed = 1; seed <= more_seeds(); seed++)
		for (unsigned mode = 0; mode < 2; mode++) {
			at_every_point(seed, mode);
			again(seed, mode);
		}
	with_sizes = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_every_point),
		cmocka_unit_test(killed_at_every_point_in_message_mode),
		cmocka_unit_test(killed_again_in_the_recovery),
		cmocka_unit_test(killed_between_compare_and_write),
		cmocka_unit_test(killed_while_the_size_changes),
	};

	/* Large blocks come zeroed from the kernel, and most of their pages are never touched. */
	mallopt(M_MMAP_THRESHOLD, 128 * KiB);
	/* With MALLOC_PERTURB_, as `make check` sets it, calloc() would write each of them. */
	mallopt(M_PERTURB, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
