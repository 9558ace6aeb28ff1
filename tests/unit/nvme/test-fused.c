// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "nvme/host.h"
#include "nvme/journal.h"
#include "nvme/state.h"
#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

/* Block @lba: the guest compares with a page that holds 0x11 in all bytes, and writes one with 0x22. */
static struct fused {
	uint64_t old, new;
	uint16_t first, second;
} fused;

static void prepare(struct machine *machine)
{
	fused.old = machine_alloc(machine, 1);
	fused.new = machine_alloc(machine, 1);
	memset(machine_at(machine, fused.old), 0x11, 4096);
	memset(machine_at(machine, fused.new), 0x22, 4096);
	memset(machine_disk(machine)->data, 0x11, 64 * 512);
}

static struct nvme_command half(uint8_t opcode, uint64_t lba)
{
	struct nvme_command command =
		machine_rw(opcode, lba, 2, opcode == NVME_IO_WRITE ? fused.new : fused.old, 0);

	command.flags = opcode == NVME_IO_WRITE ? NVME_FUSE_SECOND : NVME_FUSE_FIRST;
	return command;
}

static void put_pair(struct machine *machine, unsigned id, uint64_t lba)
{
	fused.first = machine_put(machine, id, half(NVME_IO_COMPARE, lba));
	fused.second = machine_put(machine, id, half(NVME_IO_WRITE, lba));
}

static void submit_pair(struct machine *machine, unsigned id, uint64_t lba)
{
	put_pair(machine, id, lba);
	machine_ring(machine, id);
}

/* A pair of which one half after the other waits at the image for machine_release(): the compare is there. */
static void hold_a_pair(struct machine *machine)
{
	prepare(machine);
	machine_disk(machine)->hold = true;
	submit_pair(machine, 1, 4);
	machine_run(machine);
}

/* And now the write. */
static void hold_its_write(struct machine *machine)
{
	hold_a_pair(machine);
	machine_release(machine, machine_disk(machine));
	machine_run(machine);
}

static void expect(struct machine *machine, unsigned id, uint16_t cid, nvme_status status)
{
	struct machine_completion completion;

	assert_true(machine_take(machine, id, &completion));
	assert_int_equal(completion.cid, cid);
	assert_status(completion, status);
}

static void expect_nothing(struct machine *machine, unsigned id)
{
	struct machine_completion completion;

	assert_false(machine_take(machine, id, &completion));
}

static void expect_pair(struct machine *machine, unsigned id, nvme_status first, nvme_status second)
{
	expect(machine, id, fused.first, first);
	expect(machine, id, fused.second, second);
	expect_nothing(machine, id);
}

static uint8_t byte_of(struct machine *machine, uint64_t lba)
{
	const uint8_t *block = machine_disk(machine)->data + lba * 512;

	assert_memory_equal(block, block + 1, 1023);
	return *block;
}

static void writes_what_it_has_compared(void **state)
{
	struct machine *machine = *state;

	prepare(machine);
	submit_pair(machine, 1, 4);
	machine_run(machine);
	expect_pair(machine, 1, 0, 0);
	assert_int_equal(byte_of(machine, 4), 0x22);
	/* It is not what it was. */
	memset(machine_at(machine, fused.new), 0x33, 4096);
	submit_pair(machine, 1, 4);
	machine_run(machine);
	expect_pair(machine, 1, NVME_COMPARE_FAILURE, NVME_FAILED_FUSED);
	assert_int_equal(byte_of(machine, 4), 0x22);
}

static void both_are_in_the_error_log(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	const struct nvme_error_entry *entries = machine_at(machine, page);

	prepare(machine);
	machine_disk(machine)->data[4 * 512 + 1023] = 0;
	submit_pair(machine, 1, 4);
	machine_run(machine);
	expect_pair(machine, 1, NVME_COMPARE_FAILURE, NVME_FAILED_FUSED);
	assert_status(machine_execute(machine, 0,
				      machine_get_log(NVME_LOG_ERROR, 128, 0, true, page)),
		      0);
	assert_int_equal(entries[0].cid, fused.second);
	assert_int_equal(entries[0].status >> 1 & 0x7ff, NVME_FAILED_FUSED);
	assert_int_equal(entries[1].cid, fused.first);
	assert_int_equal(entries[1].status >> 1 & 0x7ff, NVME_COMPARE_FAILURE);
	assert_int_equal(entries[1].lba, 4);
}

static void around_the_end_of_the_queue(void **state)
{
	struct machine *machine = *state;

	prepare(machine);
	for (unsigned i = 0; i < MACHINE_ENTRIES - 1; i++)
		assert_status(machine_execute(machine, 1,
					      machine_rw(NVME_IO_READ, 0, 1, fused.old, 0)),
			      0);
	memset(machine_at(machine, fused.old), 0x11, 4096);
	submit_pair(machine, 1, 4);
	assert_int_equal(machine->queues[1].tail, 1);
	machine_run(machine);
	expect_pair(machine, 1, 0, 0);
	assert_int_equal(byte_of(machine, 4), 0x22);
}

/* More at once than are taken of a queue in one turn. */
static void after_many_others(void **state)
{
	struct machine *machine = *state;
	struct machine_completion completion;

	prepare(machine);
	machine_create_queue(machine, 3, 64);
	for (unsigned before = 29; before < 34; before++) {
		memset(machine_disk(machine)->data, 0x11, 64 * 512);
		for (unsigned i = 0; i < before; i++)
			machine_put(machine, 3, machine_rw(NVME_IO_VERIFY, 0, 1, 0, 0));
		submit_pair(machine, 3, 4);
		machine_run(machine);
		for (unsigned i = 0; i < before + 2; i++) {
			assert_true(machine_take(machine, 3, &completion));
			assert_status(completion, 0);
		}
		expect_nothing(machine, 3);
		assert_int_equal(byte_of(machine, 4), 0x22);
	}
}

static void half_a_pair_is_aborted(void **state)
{
	struct machine *machine = *state;
	uint16_t other;

	prepare(machine);
	assert_status(machine_execute(machine, 1, half(NVME_IO_COMPARE, 4)), NVME_MISSING_FUSED);
	assert_status(machine_execute(machine, 1, half(NVME_IO_WRITE, 4)), NVME_MISSING_FUSED);
	/* Something between them. */
	fused.first = machine_put(machine, 1, half(NVME_IO_COMPARE, 4));
	other = machine_put(machine, 1, machine_rw(NVME_IO_VERIFY, 0, 1, 0, 0));
	fused.second = machine_submit(machine, 1, half(NVME_IO_WRITE, 4));
	machine_run(machine);
	expect(machine, 1, fused.first, NVME_MISSING_FUSED);
	expect(machine, 1, other, 0);
	expect(machine, 1, fused.second, NVME_MISSING_FUSED);
	assert_int_equal(byte_of(machine, 4), 0x11);
	/* The wrong way round, and then a whole one. */
	other = machine_put(machine, 1, half(NVME_IO_WRITE, 4));
	fused.second = machine_put(machine, 1, half(NVME_IO_COMPARE, 4));
	submit_pair(machine, 1, 4);
	machine_run(machine);
	expect(machine, 1, other, NVME_MISSING_FUSED);
	expect(machine, 1, fused.second - 2, NVME_MISSING_FUSED);
	expect_pair(machine, 1, 0, 0);
	/* Not in two queues. */
	fused.first = machine_submit(machine, 1, half(NVME_IO_COMPARE, 8));
	fused.second = machine_submit(machine, 2, half(NVME_IO_WRITE, 8));
	machine_run(machine);
	expect(machine, 1, fused.first, NVME_MISSING_FUSED);
	expect(machine, 2, fused.second, NVME_MISSING_FUSED);
	assert_int_equal(byte_of(machine, 8), 0x11);
}

static void expect_judged(struct machine *machine, struct nvme_command first,
			  struct nvme_command second, nvme_status first_status,
			  nvme_status second_status)
{
	fused.first = machine_put(machine, 1, first);
	fused.second = machine_submit(machine, 1, second);
	machine_run(machine);
	if (first_status == NVME_FAILED_FUSED) {
		expect(machine, 1, fused.second, second_status);
		expect(machine, 1, fused.first, first_status);
	} else {
		expect_pair(machine, 1, first_status, second_status);
	}
	assert_int_equal(byte_of(machine, 4), 0x11);
	assert_int_equal(byte_of(machine, 6), 0x11);
}

static void both_are_judged(void **state)
{
	struct machine *machine = *state;
	struct nvme_command compare, write, other;

	prepare(machine);
	compare = half(NVME_IO_COMPARE, 4);
	write = half(NVME_IO_WRITE, 4);
	expect_judged(machine, compare, half(NVME_IO_WRITE, 5), NVME_INVALID_FIELD,
		      NVME_INVALID_FIELD);
	other = write;
	other.cdw12 = 0;
	expect_judged(machine, compare, other, NVME_INVALID_FIELD, NVME_INVALID_FIELD);
	other = write;
	other.cdw11 = 1;
	expect_judged(machine, compare, other, NVME_FAILED_FUSED, NVME_LBA_OUT_OF_RANGE);
	other = compare;
	other.nsid = 9;
	expect_judged(machine, other, write, NVME_INVALID_FIELD, NVME_FAILED_FUSED);
	other = write;
	other.opcode = NVME_IO_WRITE_ZEROES;
	expect_judged(machine, compare, other, NVME_FAILED_FUSED, NVME_INVALID_FIELD);
	other = compare;
	other.opcode = NVME_IO_READ;
	expect_judged(machine, other, write, NVME_INVALID_FIELD, NVME_FAILED_FUSED);
	other = write;
	other.prp1 |= 1;
	fused.first = machine_put(machine, 1, compare);
	fused.second = machine_submit(machine, 1, other);
	machine_run(machine);
	/* The compare is complete before anybody looks there. */
	expect_pair(machine, 1, 0, NVME_PRP_OFFSET_INVALID);
	other = compare;
	other.flags |= NVME_FUSE_SECOND;
	assert_status(machine_execute(machine, 1, other), NVME_INVALID_FIELD);
	other = (struct nvme_command){ .opcode = NVME_ADMIN_IDENTIFY, .flags = NVME_FUSE_FIRST };
	assert_status(machine_execute(machine, 0, other), NVME_INVALID_FIELD);
	/* Nobody has the namespace for himself. */
	submit_pair(machine, 2, 4);
	machine_run(machine);
	expect_pair(machine, 2, 0, 0);
}

/* Whoever has it from elsewhere may come between. */
static void not_of_a_shared_image(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk_new(MiB);
	const struct nvme_namespace_config config = { .nsid = 2, .shareable = true };
	struct nvme_command compare, write;

	prepare(machine);
	compare = half(NVME_IO_COMPARE, 4);
	write = half(NVME_IO_WRITE, 4);
	compare.nsid = write.nsid = 2;
	assert_int_equal(nvme_controller_attach(machine->ctrl, &config, (struct block *)disk, NULL),
			 0);
	expect_judged(machine, compare, write, NVME_INVALID_FIELD, NVME_INVALID_FIELD);
	nvme_controller_detach(machine->ctrl, 2, NULL, NULL);
	machine_run(machine);
	machine_disk_free(disk);
}

static void a_write_that_fails_is_the_writes_failure(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);

	hold_a_pair(machine);
	assert_int_equal(disk->count, 1);
	machine_release(machine, disk);
	machine_run(machine);
	expect(machine, 1, fused.first, 0);
	assert_int_equal(disk->count, 1);
	disk->result = -EIO;
	machine_release(machine, disk);
	machine_run(machine);
	expect(machine, 1, fused.second, NVME_WRITE_FAULT);
	/* And a compare that fails is both's. */
	submit_pair(machine, 1, 4);
	machine_run(machine);
	machine_release(machine, disk);
	machine_run(machine);
	expect_pair(machine, 1, NVME_UNRECOVERED_READ, NVME_FAILED_FUSED);
	disk->result = 0;
	disk->hold = false;
}

/* Of all queues and workers. */
static void nothing_comes_between(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	struct machine_completion completion;
	uint64_t page;
	uint16_t late;

	prepare(machine);
	page = machine_alloc(machine, 1);
	disk->hold = true;
	machine_submit(machine, 2, machine_rw(NVME_IO_WRITE, 40, 1, page, 0));
	machine_run(machine);
	submit_pair(machine, 1, 4);
	machine_run(machine);
	/* Not before what is under way has ended. */
	assert_int_equal(disk->submitted, 1);
	late = machine_submit(machine, 2, machine_rw(NVME_IO_WRITE, 4, 1, page, 0));
	machine_submit(machine, 1, machine_rw(NVME_IO_READ, 4, 1, page, 0));
	machine_run(machine);
	assert_int_equal(disk->submitted, 1);
	machine_release(machine, disk);
	machine_run(machine);
	assert_true(machine_take(machine, 2, &completion));
	/* Now it compares, and then it writes. */
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(disk->submitted, 2 + i);
		assert_int_equal(disk->last.offset, 4 * 512);
		assert_int_equal(disk->last.op, i ? BLOCK_WRITE : BLOCK_READ);
		expect_nothing(machine, 2);
		machine_release(machine, disk);
		machine_run(machine);
	}
	expect_pair(machine, 1, 0, 0);
	assert_int_equal(byte_of(machine, 4), 0x22);
	assert_int_equal(disk->submitted, 5);
	machine_release(machine, disk);
	machine_release(machine, disk);
	machine_run(machine);
	expect(machine, 2, late, 0);
	disk->hold = false;
}

/* Who waited for one pair does not wait for the next. */
static void pairs_let_others_go(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page;
	uint16_t other;

	prepare(machine);
	page = machine_alloc(machine, 1);
	disk->hold = true;
	submit_pair(machine, 1, 4);
	machine_run(machine);
	submit_pair(machine, 1, 8);
	other = machine_submit(machine, 2, machine_rw(NVME_IO_READ, 60, 1, page, 0));
	machine_run(machine);
	machine_release(machine, disk);
	machine_run(machine);
	/* The worker of queue 1 is the first to see that it may. */
	machine_release(machine, disk);
	machine_run_worker(machine, 0);
	machine_run(machine);
	assert_int_equal(disk->count, 1);
	assert_int_equal(disk->last.offset, 60 * 512);
	disk->hold = false;
	machine_release(machine, disk);
	machine_run(machine);
	expect(machine, 2, other, 0);
	assert_int_equal(byte_of(machine, 8), 0x22);
}

static struct nvme_command abort_of(unsigned sqid, uint16_t cid)
{
	return (struct nvme_command){ .opcode = NVME_ADMIN_ABORT,
				      .cdw10 = sqid | (uint32_t)cid << 16 };
}

static void abort_of_one_ends_both(void **state)
{
	struct machine *machine = *state;

	prepare(machine);
	nvme_controller_set_ready(machine->ctrl, 1, false);
	submit_pair(machine, 1, 4);
	machine_run(machine);
	assert_int_equal(machine_execute(machine, 0, abort_of(1, fused.first)).result, 0);
	expect_pair(machine, 1, NVME_ABORT_REQUESTED, NVME_FAILED_FUSED);
	submit_pair(machine, 1, 4);
	machine_run(machine);
	assert_int_equal(machine_execute(machine, 0, abort_of(1, fused.second)).result, 0);
	expect(machine, 1, fused.second, NVME_ABORT_REQUESTED);
	expect(machine, 1, fused.first, NVME_FAILED_FUSED);
	nvme_controller_set_ready(machine->ctrl, 1, true);
	machine_run(machine);
	expect_nothing(machine, 1);
	assert_int_equal(byte_of(machine, 4), 0x11);
}

/* At each step of the pair. */
static void a_reset_ends_both(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page, allocated;

	prepare(machine);
	page = machine_alloc(machine, 1);
	allocated = machine->allocated;
	for (unsigned step = 0; step < 4; step++) {
		memset(disk->data, 0x11, 64 * 512);
		disk->hold = true;
		if (step == 0) /* it waits for another worker's read */
			machine_submit(machine, 2, machine_rw(NVME_IO_READ, 60, 1, page, 0));
		machine_run(machine);
		if (step == 3)
			nvme_controller_set_ready(machine->ctrl, 1, false);
		submit_pair(machine, 1, 4);
		machine_run(machine);
		if (step == 2)
			machine_release(machine, disk);
		machine_write32(machine, NVME_REG_CC, 0);
		machine_run(machine);
		while (disk->count)
			machine_release(machine, disk);
		machine_run(machine);
		assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
		assert_int_equal(byte_of(machine, 4), step == 2 ? 0x22 : 0x11);
		disk->hold = false;
		nvme_controller_set_ready(machine->ctrl, 1, true);
		machine->allocated = allocated;
		machine_enable(machine);
		machine_create_queue(machine, 1, MACHINE_ENTRIES);
		machine_create_queue(machine, 2, MACHINE_ENTRIES);
		assert_status(machine_execute(machine, 2, machine_rw(NVME_IO_READ, 0, 1, page, 0)),
			      0);
	}
}

static void its_queue_is_deleted(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	const struct nvme_command delete = { .opcode = NVME_ADMIN_DELETE_SQ, .cdw10 = 1 };
	uint16_t cid;

	hold_a_pair(machine);
	cid = machine_submit(machine, 0, delete);
	machine_run(machine);
	expect_nothing(machine, 0);
	machine_release(machine, disk);
	machine_run(machine);
	machine_release(machine, disk);
	machine_run(machine);
	expect(machine, 0, cid, 0);
	expect_pair(machine, 1, 0, 0);
	assert_int_equal(byte_of(machine, 4), 0x22);
	disk->hold = false;
	submit_pair(machine, 2, 8);
	machine_run(machine);
	expect_pair(machine, 2, 0, 0);
}

static void is_over(void *opaque)
{
	*(bool *)opaque = true;
}

/* The compare is at the image: the freeze waits for the write as well. */
static void a_freeze_does_not_come_between(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	bool frozen = false;

	hold_a_pair(machine);
	nvme_controller_freeze(machine->ctrl, is_over, &frozen);
	machine_run(machine);
	machine_release(machine, disk);
	for (unsigned i = 0; i < 3; i++) {
		machine_run_worker(machine, 0);
		machine_run_worker(machine, 1);
		machine_run_control(machine);
	}
	assert_int_equal(disk->count, 1);
	assert_false(frozen);
	machine_release(machine, disk);
	machine_run(machine);
	assert_true(frozen);
	nvme_controller_thaw(machine->ctrl);
	machine_run(machine);
	expect_pair(machine, 1, 0, 0);
	disk->hold = false;
}

/* It has the namespace, or will have it, when everything stands still. */
static void a_freeze_comes_before(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page;
	bool frozen = false;

	prepare(machine);
	page = machine_alloc(machine, 1);
	disk->hold = true;
	machine_submit(machine, 2, machine_rw(NVME_IO_READ, 60, 1, page, 0));
	machine_run(machine);
	submit_pair(machine, 1, 4);
	machine_run(machine);
	nvme_controller_freeze(machine->ctrl, is_over, &frozen);
	machine_run(machine);
	machine_release(machine, disk);
	machine_run(machine);
	assert_true(frozen);
	assert_int_equal(disk->submitted, 1);
	disk->hold = false;
	nvme_controller_thaw(machine->ctrl);
	machine_run(machine);
	expect_pair(machine, 1, 0, 0);
	assert_int_equal(byte_of(machine, 4), 0x22);
}

static unsigned all(unsigned n)
{
	return n - 1;
}

static void attach_again(struct machine *machine)
{
	machine_attach(machine, 1, machine_disk(machine));
}

/* Dead with the write under way, which still arrives: a compare would not find what it found. */
static void a_successor_does_not_compare_again(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	const struct nvme_namespace_config config = { .nsid = 1, .not_ready = true };
	uint16_t late;

	hold_its_write(machine);
	expect(machine, 1, fused.first, 0);
	assert_int_equal(disk->last.op, BLOCK_WRITE);
	machine_die(machine, disk);
	machine_haunt(machine, disk, all);
	assert_int_equal(byte_of(machine, 4), 0x22);
	assert_non_null(machine_adopt(machine, NULL));
	assert_int_equal(nvme_controller_attach(machine->ctrl, &config, (struct block *)disk, NULL),
			 0);
	/* Another queue's is not let in between. */
	late = machine_submit(machine, 2, machine_rw(NVME_IO_WRITE, 4, 2, fused.old, 0));
	machine_run(machine);
	nvme_controller_set_ready(machine->ctrl, 1, true);
	machine_run_worker(machine, 1);
	machine_run(machine);
	assert_int_equal(disk->count, 1);
	assert_int_equal(disk->last.op, BLOCK_WRITE);
	machine_release(machine, disk);
	machine_run(machine);
	expect(machine, 1, fused.second, 0);
	expect_nothing(machine, 2);
	machine_release(machine, disk);
	machine_run(machine);
	expect(machine, 2, late, 0);
	assert_int_equal(byte_of(machine, 4), 0x11);
	disk->hold = false;
}

/* A reset of the successor's forgets the write, and what was kept for it. */
static void a_successor_is_reset(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t allocated = machine->allocated;

	hold_its_write(machine);
	machine_die(machine, disk);
	machine_haunt(machine, disk, all);
	disk->hold = false;
	assert_non_null(machine_adopt(machine, NULL));
	machine_write32(machine, NVME_REG_CC, 0);
	attach_again(machine);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
	machine->allocated = allocated;
	machine_enable(machine);
	machine_create_queue(machine, 1, MACHINE_ENTRIES);
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_VERIFY, 0, 1, 0, 0)), 0);
}

/* The write was in hand: it is failed, and others are not kept waiting. */
static void a_poisonous_write_is_not_repeated(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);

	hold_its_write(machine);
	expect(machine, 1, fused.first, 0);
	/* As if it had died in nvme_request_execute(). */
	((struct nvme_state *)machine->state)->hands[0].command = NVME_HAND(1, 1);
	machine_die(machine, disk);
	machine_haunt(machine, disk, all);
	disk->hold = false;
	machine->config.poison = true;
	assert_non_null(machine_adopt(machine, NULL));
	attach_again(machine);
	machine_run(machine);
	expect(machine, 1, fused.second, NVME_INTERNAL_ERROR);
	assert_status(machine_execute(machine, 2, machine_rw(NVME_IO_VERIFY, 0, 1, 0, 0)), 0);
}

static struct machine *watched;
static unsigned opened;

/* The others are told that they may: here is where they would come. */
static void look_at_the_journal(struct nvme_host *host, unsigned worker)
{
	const struct nvme_state *state = watched->state;

	for (unsigned slot = 0; slot < state->sqs[1].slots; slot++)
		assert_int_not_equal(nvme_journal_stage(state->journals[1].slots[slot].word),
				     NVME_JOURNAL_STARTED);
	watched->kicks[worker]++;
	opened++;
}

/* Else a successor would write it again, over what others have compared and written since. */
static void others_come_when_the_journal_says_that_it_is_written(void **state)
{
	struct machine *machine = *state;
	const struct nvme_host_ops *ops = machine->host.ops;
	struct nvme_host_ops watching = *ops;

	prepare(machine);
	watched = machine;
	opened = 0;
	watching.kick = look_at_the_journal;
	machine->host.ops = &watching;
	submit_pair(machine, 1, 4);
	machine_run(machine);
	machine->host.ops = ops;
	assert_true(opened);
	expect_pair(machine, 1, 0, 0);
}

/* Before the write that it is kept for has been taken over: it will not find it any more. */
static void a_successor_loses_the_namespace(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint16_t late;
	bool detached = false;

	hold_its_write(machine);
	expect(machine, 1, fused.first, 0);
	machine_die(machine, disk);
	machine_haunt(machine, disk, all);
	disk->hold = false;
	assert_non_null(machine_adopt(machine, NULL));
	attach_again(machine);
	late = machine_submit(machine, 2, machine_rw(NVME_IO_VERIFY, 0, 1, 0, 0));
	while (machine_run_worker(machine, 1))
		;
	assert_int_equal(nvme_controller_detach(machine->ctrl, 1, is_over, &detached), 0);
	machine_run(machine);
	expect(machine, 1, fused.second, NVME_INVALID_FIELD);
	expect(machine, 2, late, 0);
	assert_true(detached);
}

int main(void)
{
#define test(name)                                                                                 \
	cmocka_unit_test_setup_teardown(name, machine_setup_two_workers, machine_teardown)
	const struct CMUnitTest tests[] = {
		test(writes_what_it_has_compared),
		test(both_are_in_the_error_log),
		test(around_the_end_of_the_queue),
		test(after_many_others),
		test(half_a_pair_is_aborted),
		test(both_are_judged),
		test(not_of_a_shared_image),
		test(a_write_that_fails_is_the_writes_failure),
		test(nothing_comes_between),
		test(pairs_let_others_go),
		test(abort_of_one_ends_both),
		test(a_reset_ends_both),
		test(its_queue_is_deleted),
		test(a_freeze_does_not_come_between),
		test(a_freeze_comes_before),
		test(a_successor_does_not_compare_again),
		test(a_successor_is_reset),
		test(a_poisonous_write_is_not_repeated),
		test(others_come_when_the_journal_says_that_it_is_written),
		test(a_successor_loses_the_namespace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
