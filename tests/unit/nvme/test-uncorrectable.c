// SPDX-License-Identifier: LGPL-2.1-or-later
/* Write Uncorrectable: what is marked, for how long, and that it lasts. */
#include <errno.h>

#include "nvme/marks.h"
#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

#define BLOCK 512

/* The file, and a machine with a namespace that has it. */
struct fixture {
	struct machine *machine;
	struct machine_disk *kept;
	struct nvme_marks_file file;
	uint64_t page;
};

static struct fixture fixture;

static int recall(struct nvme_marks_file *file, struct nvme_marks_slot ret[2])
{
	memcpy(ret, fixture.kept->data, NVME_MARKS_FILE_BYTES);
	return 0;
}

static void attach(bool ready)
{
	const struct nvme_namespace_config config = { .nsid = 1,
						      .marks = &fixture.file,
						      .not_ready = !ready };

	assert_int_equal(nvme_controller_attach(fixture.machine->ctrl, &config,
						(struct block *)machine_disk(fixture.machine),
						NULL),
			 0);
	machine_run(fixture.machine);
}

static int setup(void **state)
{
	machine_setup_two_workers(state);
	fixture = (struct fixture){ .machine = *state,
				    .kept = machine_disk_new(NVME_MARKS_FILE_BYTES) };
	fixture.file =
		(struct nvme_marks_file){ .block = (struct block *)fixture.kept, .recall = recall };
	fixture.page = machine_alloc(fixture.machine, 16);
	assert_int_equal(nvme_controller_detach(fixture.machine->ctrl, 1, NULL, NULL), 0);
	machine_run(fixture.machine);
	attach(true);
	return 0;
}

static int teardown(void **state)
{
	int ret = machine_teardown(state);

	machine_disk_free(fixture.kept);
	return ret;
}

/* By queue 1 or 2, which are different workers'. */
static struct machine_completion send(unsigned queue, uint8_t opcode, uint64_t lba, unsigned blocks)
{
	return machine_execute(fixture.machine, queue,
			       machine_rw(opcode, lba, blocks, fixture.page, fixture.page + 4096));
}

static void mark(uint64_t lba, unsigned blocks)
{
	assert_status(send(1, NVME_IO_WRITE_UNCORRECTABLE, lba, blocks), 0);
}

static bool is_marked(uint64_t lba)
{
	struct machine_completion completion = send(2, NVME_IO_READ, lba, 1);

	if (!completion.status)
		return false;
	assert_status(completion, NVME_UNRECOVERED_READ);
	assert_true(completion.dnr);
	return true;
}

static void assert_marked(uint64_t from, uint64_t lba, unsigned blocks, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
		assert_int_equal(is_marked(i), i >= lba && i < lba + blocks);
}

/* The process dies, and all that is left is the state, the image and the file. */
static void restart(void)
{
	assert_non_null(machine_restart(fixture.machine, NULL));
	attach(true);
}

static void who_reads_is_told(void **state)
{
	struct machine *machine = fixture.machine;
	uint64_t errors;
	struct nvme_namespace_counters counters;
	struct nvme_copy_range *ranges = machine_at(machine, fixture.page);

	mark(8, 8);
	assert_marked(0, 8, 8, 24);
	assert_status(send(1, NVME_IO_READ, 0, 8), 0);
	assert_status(send(1, NVME_IO_READ, 0, 9), NVME_UNRECOVERED_READ);
	assert_status(send(1, NVME_IO_READ, 15, 2), NVME_UNRECOVERED_READ);
	assert_status(send(1, NVME_IO_COMPARE, 10, 1), NVME_UNRECOVERED_READ);
	assert_status(send(1, NVME_IO_VERIFY, 0, 16), NVME_UNRECOVERED_READ);
	assert_status(send(1, NVME_IO_VERIFY, 16, 16), 0);
	memset(ranges, 0, 2 * sizeof(*ranges));
	ranges[1].lba = 12;
	assert_status(machine_execute(machine, 1,
				      (struct nvme_command){ .opcode = NVME_IO_COPY,
							     .nsid = 1,
							     .prp1 = fixture.page,
							     .cdw10 = 100,
							     .cdw12 = 1 }),
		      NVME_UNRECOVERED_READ);
	/* The image is as it was, and counted as an error of what was read. */
	assert_int_equal(nvme_controller_counters(machine->ctrl, 1, &counters), 0);
	errors = counters.errors;
	assert_true(is_marked(9));
	nvme_controller_counters(machine->ctrl, 1, &counters);
	assert_int_equal(counters.errors, errors + 1);
}

static void writes_unmark(void **state)
{
	struct machine *machine = fixture.machine;
	struct nvme_dataset_range *range = machine_at(machine, fixture.page);
	struct nvme_copy_range *source = machine_at(machine, fixture.page);
	const struct nvme_command deallocate = { .opcode = NVME_IO_DATASET_MANAGEMENT,
						 .nsid = 1,
						 .prp1 = fixture.page,
						 .cdw11 = NVME_DATASET_DEALLOCATE };

	mark(8, 8);
	assert_status(send(2, NVME_IO_WRITE, 10, 2), 0);
	assert_marked(0, 8, 2, 12);
	assert_marked(12, 12, 4, 20);
	assert_status(send(1, NVME_IO_WRITE_ZEROES, 0, 64), 0);
	assert_marked(0, 0, 0, 20);

	/* One of no blocks is about none, wherever it is. */
	mark(8, 8);
	for (unsigned slot = 0; slot < 2; slot++) {
		*range = (struct nvme_dataset_range){ .lba = 10 + slot };
		assert_status(machine_execute(machine, 1, deallocate), 0);
	}
	assert_marked(0, 8, 8, 20);
	restart();
	assert_marked(0, 8, 8, 20);
	*range = (struct nvme_dataset_range){ .lba = 8, .blocks = 8 };
	assert_status(machine_execute(machine, 1, deallocate), 0);
	assert_marked(0, 0, 0, 20);

	mark(8, 8);
	memset(source, 0, sizeof(*source));
	source->blocks = 7;
	assert_status(machine_execute(machine, 2,
				      (struct nvme_command){ .opcode = NVME_IO_COPY,
							     .nsid = 1,
							     .prp1 = fixture.page,
							     .cdw10 = 8 }),
		      0);
	assert_marked(0, 0, 0, 20);

	mark(8, 8);
	assert_status(
		machine_execute(machine, 0,
				(struct nvme_command){ .opcode = NVME_ADMIN_FORMAT, .nsid = 1 }),
		0);
	assert_marked(0, 0, 0, 20);
}

static void a_write_that_fails_unmarks_nothing(void **state)
{
	struct machine_disk *disk = machine_disk(fixture.machine);

	mark(8, 8);
	disk->result = -EIO;
	assert_status(send(1, NVME_IO_WRITE, 8, 8), NVME_WRITE_FAULT);
	disk->result = 0;
	assert_marked(0, 8, 8, 20);
	/* Nor one of which cannot be kept that it was. */
	fixture.kept->result = -EIO;
	assert_status(send(1, NVME_IO_WRITE, 8, 8), NVME_WRITE_FAULT);
	assert_status(send(1, NVME_IO_WRITE_UNCORRECTABLE, 100, 1), NVME_INTERNAL_ERROR);
	/* What is not marked does not care. */
	assert_status(send(1, NVME_IO_WRITE, 16, 8), 0);
	fixture.kept->result = 0;
	assert_marked(0, 8, 8, 20);
	assert_false(is_marked(100));
	assert_status(send(1, NVME_IO_WRITE, 8, 8), 0);
	assert_marked(0, 0, 0, 20);
}

static void it_lasts(void **state)
{
	mark(8, 8);
	restart();
	assert_marked(0, 8, 8, 20);
	assert_status(send(2, NVME_IO_WRITE, 8, 4), 0);
	restart();
	assert_marked(0, 12, 4, 20);
	mark(0, 1);
	mark(1, 11);
	restart();
	assert_marked(0, 0, 16, 20);
	assert_status(send(1, NVME_IO_WRITE_ZEROES, 0, 16), 0);
	restart();
	assert_marked(0, 0, 0, 20);
}

/* No answer before it is durable, and nothing is seen of it: in both directions. */
static void it_is_durable_first(void **state)
{
	struct machine *machine = fixture.machine;
	struct machine_completion completion;

	fixture.kept->hold = true;
	machine_submit(machine, 1, machine_rw(NVME_IO_WRITE_UNCORRECTABLE, 8, 8, 0, 0));
	machine_run(machine);
	assert_false(machine_take(machine, 1, &completion));
	assert_true(fixture.kept->last.flags & BLOCK_FUA);
	assert_false(is_marked(8));
	/* Others wait for their turn. */
	machine_submit(machine, 2, machine_rw(NVME_IO_WRITE_UNCORRECTABLE, 30, 1, 0, 0));
	machine_run(machine);
	assert_int_equal(fixture.kept->count, 1);
	machine_release(machine, fixture.kept);
	machine_run(machine);
	assert_true(machine_take(machine, 1, &completion));
	assert_status(completion, 0);
	assert_false(machine_take(machine, 2, &completion));
	machine_release(machine, fixture.kept);
	machine_run(machine);
	assert_true(machine_take(machine, 2, &completion));
	assert_true(is_marked(8) && is_marked(30));

	machine_submit(machine, 2, machine_rw(NVME_IO_WRITE, 8, 8, fixture.page, 0));
	machine_run(machine);
	assert_false(machine_take(machine, 2, &completion));
	machine_submit(machine, 1, machine_rw(NVME_IO_READ, 8, 1, fixture.page, 0));
	machine_run(machine);
	assert_true(machine_take(machine, 1, &completion));
	assert_status(completion, NVME_UNRECOVERED_READ);
	machine_release(machine, fixture.kept);
	machine_run(machine);
	assert_true(machine_take(machine, 2, &completion));
	assert_status(completion, 0);
	fixture.kept->hold = false;
	assert_marked(0, 0, 0, 20);
}

/* The data is there, and nobody was told so: the successor executes it again. */
static void who_dies_in_between_has_not_written(void **state)
{
	struct machine *machine = fixture.machine;
	struct machine_completion completion;

	mark(8, 8);
	fixture.kept->drop = true;
	machine_submit(machine, 1, machine_rw(NVME_IO_WRITE, 8, 4, fixture.page, 0));
	machine_submit(machine, 2, machine_rw(NVME_IO_WRITE_UNCORRECTABLE, 30, 2, 0, 0));
	machine_run(machine);
	fixture.kept->drop = false;
	restart();
	assert_true(machine_take(machine, 1, &completion));
	assert_status(completion, 0);
	assert_true(machine_take(machine, 2, &completion));
	assert_status(completion, 0);
	assert_marked(0, 12, 4, 20);
	assert_marked(20, 30, 2, 40);
}

/* One that a successor finds is of before or of after, wherever the file's write was cut short. */
static void a_slot_that_was_cut_short_is_not_there(void **state)
{
	uint8_t before[NVME_MARKS_FILE_BYTES], after[NVME_MARKS_FILE_BYTES];

	mark(8, 1);
	mark(10, 1);
	memcpy(before, fixture.kept->data, sizeof(before));
	assert_status(send(1, NVME_IO_WRITE, 8, 1), 0);
	memcpy(after, fixture.kept->data, sizeof(after));
	for (size_t cut = 0; cut <= sizeof(after); cut += 64) {
		bool first;

		memcpy(fixture.kept->data, before, sizeof(before));
		memcpy(fixture.kept->data, after, cut);
		restart();
		first = is_marked(8);
		assert_true(is_marked(10));
		assert_true(cut || first);
		assert_false(cut == sizeof(after) && first);
	}
}

static void what_makes_no_sense_marks_nothing(void **state)
{
	mark(8, 8);
	mark(20, 8);
	memset(fixture.kept->data, 0x5a, NVME_MARKS_FILE_BYTES);
	restart();
	assert_marked(0, 0, 0, 24);
	assert_status(send(1, NVME_IO_WRITE, 8, 8), 0);
	assert_status(send(1, NVME_IO_WRITE_UNCORRECTABLE, 8, 8), NVME_INTERNAL_ERROR);
	/* Nothing was made of it. */
	assert_int_equal(fixture.kept->data[0], 0x5a);
}

/* Read when the predecessor is over, and again after somebody else may have been at work. */
static void it_is_read_when_the_namespace_is_ready(void **state)
{
	uint8_t after[NVME_MARKS_FILE_BYTES];

	mark(8, 8);
	memcpy(after, fixture.kept->data, sizeof(after));
	memset(fixture.kept->data, 0, sizeof(after));
	assert_non_null(machine_restart(fixture.machine, NULL));
	attach(false);
	memcpy(fixture.kept->data, after, sizeof(after));
	nvme_controller_set_ready(fixture.machine->ctrl, 1, true);
	machine_run(fixture.machine);
	assert_marked(0, 8, 8, 20);
}

static void there_are_so_many_ranges(void **state)
{
	for (unsigned i = 0; i < NVME_MARKS_MAX; i++)
		mark(3 * i, 2);
	assert_status(send(1, NVME_IO_WRITE_UNCORRECTABLE, 3 * NVME_MARKS_MAX, 2),
		      NVME_INTERNAL_ERROR);
	assert_false(is_marked(3 * NVME_MARKS_MAX));
	/* What makes none more is allowed. */
	mark(2, 1);
	mark(3 * NVME_MARKS_MAX, 2);
	/* One that would be two: the write is refused, and the block stays what it was. */
	assert_status(send(1, NVME_IO_WRITE, 1, 1), NVME_WRITE_FAULT);
	assert_marked(0, 0, 5, 6);
	assert_status(send(1, NVME_IO_WRITE, 0, 5), 0);
	assert_false(is_marked(1));
	restart();
	assert_marked(0, 6, 2, 9);
}

static void what_was_behind_the_end_is_gone(void **state)
{
	struct machine_disk *disk = machine_disk(fixture.machine);
	uint64_t capacity = disk->info.capacity, last = capacity / BLOCK - 4;

	mark(last - 2, 6);
	disk->info.capacity = last * BLOCK;
	assert_int_equal(nvme_controller_resized(fixture.machine->ctrl, 1), 0);
	disk->info.capacity = capacity;
	assert_int_equal(nvme_controller_resized(fixture.machine->ctrl, 1), 0);
	assert_marked(last - 4, last - 2, 2, last + 4);
}

static void it_is_said_who_has_it(void **state)
{
	struct machine *machine = fixture.machine;
	const struct nvme_identify_controller *id = machine_at(machine, fixture.page);
	struct nvme_command identify = { .opcode = NVME_ADMIN_IDENTIFY,
					 .cdw10 = NVME_CNS_CONTROLLER,
					 .prp1 = fixture.page };
	struct machine_disk *other = machine_disk_new(64 * KiB);
	struct nvme_command command = machine_rw(NVME_IO_WRITE_UNCORRECTABLE, 0, 1, 0, 0);

	assert_status(machine_execute(machine, 0, identify), 0);
	assert_true(id->oncs & NVME_ONCS_UNCORRECTABLE);
	machine_attach(machine, 2, other);
	command.nsid = 2;
	assert_status(machine_execute(machine, 1, command), NVME_INVALID_OPCODE);
	command.nsid = 1;
	command.cdw10 = machine_disk(machine)->info.capacity / BLOCK;
	assert_status(machine_execute(machine, 1, command), NVME_LBA_OUT_OF_RANGE);
	assert_int_equal(nvme_controller_detach(machine->ctrl, 1, NULL, NULL), 0);
	machine_run(machine);
	assert_status(machine_execute(machine, 0, identify), 0);
	assert_false(id->oncs & NVME_ONCS_UNCORRECTABLE);
	command.cdw10 = 0;
	command.nsid = 2;
	assert_status(machine_execute(machine, 1, command), NVME_INVALID_OPCODE);
	assert_int_equal(nvme_controller_detach(machine->ctrl, 2, NULL, NULL), 0);
	machine_run(machine);
	machine_disk_free(other);
	attach(true);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		test(who_reads_is_told),
		test(writes_unmark),
		test(a_write_that_fails_unmarks_nothing),
		test(it_lasts),
		test(it_is_durable_first),
		test(who_dies_in_between_has_not_written),
		test(a_slot_that_was_cut_short_is_not_there),
		test(what_makes_no_sense_marks_nothing),
		test(it_is_read_when_the_namespace_is_ready),
		test(there_are_so_many_ranges),
		test(what_was_behind_the_end_is_gone),
		test(it_is_said_who_has_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
