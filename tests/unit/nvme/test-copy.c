// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

#define SECTOR 512
#define BLOCKS (8 * MiB / SECTOR)
#define MOST   2040 /* blocks: MCL */

static uint64_t list;

static int setup(void **state)
{
	int r = machine_setup_pattern(state);

	list = machine_alloc(*state, 1);
	return r;
}

static void set_range(struct machine *machine, unsigned i, uint64_t lba, unsigned blocks)
{
	struct nvme_copy_range *ranges = machine_at(machine, list);

	ranges[i] = (struct nvme_copy_range){ .lba = lba, .blocks = blocks - 1 };
}

static struct nvme_command to(uint64_t lba, unsigned ranges)
{
	return (struct nvme_command){
		.opcode = NVME_IO_COPY,
		.nsid = 1,
		.prp1 = list,
		.cdw10 = lba,
		.cdw11 = lba >> 32,
		.cdw12 = ranges - 1,
	};
}

static struct machine_completion copy(struct machine *machine, uint64_t lba, unsigned ranges)
{
	return machine_execute(machine, 1, to(lba, ranges));
}

static void ranges_come_one_after_another(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	struct nvme_command command = to(10000, 3);
	uint8_t *wanted = malloc(7 * SECTOR);

	set_range(machine, 0, 100, 4);
	set_range(machine, 1, 3, 1);
	set_range(machine, 2, 101, 2); /* sources may overlap */
	memcpy(wanted, disk->data + 100 * SECTOR, 4 * SECTOR);
	memcpy(wanted + 4 * SECTOR, disk->data + 3 * SECTOR, SECTOR);
	memcpy(wanted + 5 * SECTOR, disk->data + 101 * SECTOR, 2 * SECTOR);
	command.cdw12 |= NVME_RW_FUA;
	assert_status(machine_execute(machine, 1, command), 0);
	assert_memory_equal(disk->data + 10000 * SECTOR, wanted, 7 * SECTOR);
	assert_int_equal(disk->last.op, BLOCK_WRITE);
	assert_int_equal(disk->last.flags, BLOCK_FUA);
	assert_int_equal(disk->submitted, 4);
	free(wanted);
}

static void as_much_as_identify_says(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 1);
	struct nvme_identify_controller *controller = machine_at(machine, page);
	struct nvme_identify_namespace *namespace = machine_at(machine, page);
	struct nvme_command identify = { .opcode = NVME_ADMIN_IDENTIFY, .nsid = 1, .prp1 = page };

	assert_status(machine_execute(machine, 0, identify), 0);
	assert_int_equal(namespace->mssrl, MOST);
	assert_int_equal(namespace->mcl, MOST);
	assert_int_equal(namespace->msrc, 63);
	identify.cdw10 = NVME_CNS_CONTROLLER;
	assert_status(machine_execute(machine, 0, identify), 0);
	assert_true(controller->oncs & NVME_ONCS_COPY);
	assert_int_equal(controller->ocfs, 1);

	set_range(machine, 0, 1, MOST);
	assert_status(copy(machine, BLOCKS - MOST, 1), 0);
	assert_memory_equal(disk->data + (BLOCKS - MOST) * SECTOR, disk->data + SECTOR,
			    MOST * SECTOR);
	set_range(machine, 0, 1, MOST + 1);
	assert_status(copy(machine, 5000, 1), NVME_COMMAND_SIZE_LIMIT);
	set_range(machine, 0, 1, MOST);
	set_range(machine, 1, 1, 1);
	assert_status(copy(machine, 5000, 2), NVME_COMMAND_SIZE_LIMIT);
	for (unsigned i = 0; i < 64; i++)
		set_range(machine, i, i, 1);
	assert_status(copy(machine, 5000, 64), 0);
	assert_memory_equal(disk->data + 5000 * SECTOR, disk->data, 64 * SECTOR);
	assert_status(copy(machine, 6000, 65), NVME_COMMAND_SIZE_LIMIT);
}

static void commands_are_judged(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	struct machine_completion completion;
	struct nvme_command command;

	set_range(machine, 0, 100, 4);
	set_range(machine, 1, BLOCKS - 1, 2);
	completion = copy(machine, 1000, 2);
	assert_status(completion, NVME_LBA_OUT_OF_RANGE);
	assert_int_equal(completion.result, 1);
	set_range(machine, 1, ~0ULL, 2);
	assert_status(copy(machine, 1000, 2), NVME_LBA_OUT_OF_RANGE);
	assert_status(copy(machine, BLOCKS - 3, 1), NVME_LBA_OUT_OF_RANGE);
	assert_status(copy(machine, ~1ULL, 1), NVME_LBA_OUT_OF_RANGE);
	/* The destination must be none of the sources: by one block from either side. */
	assert_status(copy(machine, 103, 1), NVME_OVERLAPPING_RANGE);
	assert_status(copy(machine, 97, 1), NVME_OVERLAPPING_RANGE);
	assert_status(copy(machine, 100, 1), NVME_OVERLAPPING_RANGE);
	set_range(machine, 1, 500, 1);
	assert_status(copy(machine, 499, 2), NVME_OVERLAPPING_RANGE);
	command = to(1000, 1);
	command.cdw12 |= 1 << 8; /* format 1 has protection information */
	assert_status(machine_execute(machine, 1, command), NVME_INVALID_FIELD);
	command = to(1000, 1);
	command.prp1 = 0x1000;
	assert_status(machine_execute(machine, 1, command), NVME_DATA_TRANSFER_ERROR);
	command = to(1000, 1);
	command.nsid = 9;
	assert_status(machine_execute(machine, 1, command), NVME_INVALID_FIELD);
	assert_int_equal(disk->submitted, 0);
	/* Neighbours are no overlap. */
	assert_status(copy(machine, 104, 1), 0);
	assert_status(copy(machine, 96, 1), 0);
}

static void errors_name_the_range(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	struct machine_completion completion;

	set_range(machine, 0, 100, 4);
	set_range(machine, 1, 200, 4);
	disk->hold = true;
	machine_submit(machine, 1, to(1000, 2));
	machine_run(machine);
	machine_release(machine, disk);
	disk->result = -EIO;
	machine_release(machine, disk);
	machine_run(machine);
	assert_true(machine_take(machine, 1, &completion));
	assert_status(completion, NVME_UNRECOVERED_READ);
	assert_int_equal(completion.result, 1);

	disk->result = 0;
	machine_submit(machine, 1, to(1000, 2));
	machine_run(machine);
	machine_release(machine, disk);
	machine_release(machine, disk);
	disk->result = -ENOSPC;
	machine_release(machine, disk);
	machine_run(machine);
	assert_true(machine_take(machine, 1, &completion));
	assert_status(completion, NVME_CAPACITY_EXCEEDED);
	assert_int_equal(completion.result, 0);
	disk->hold = false;
	disk->result = 0;
}

/* What is held has no buffer any more, and begins again: nothing is left of the first time. */
static void held_and_given_up_or_tried_again(void **state)
{
	const struct nvme_namespace_config config = { .nsid = 1, .error_policy = NVME_ERROR_STOP };
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	struct machine_completion completion;

	assert_int_equal(nvme_controller_detach(machine->ctrl, 1, NULL, NULL), 0);
	machine_run(machine);
	assert_int_equal(nvme_controller_attach(machine->ctrl, &config, (struct block *)disk, NULL),
			 0);
	set_range(machine, 0, 100, 4);
	set_range(machine, 1, 200, 4);
	for (unsigned give_up = 0; give_up < 2; give_up++) {
		disk->hold = true;
		machine_submit(machine, 1, to(1000, 2));
		machine_run(machine);
		machine_release(machine, disk);
		disk->result = -EIO;
		machine_release(machine, disk);
		machine_run(machine);
		assert_false(machine_take(machine, 1, &completion));
		disk->hold = false;
		disk->result = 0;
		nvme_controller_retry(machine->ctrl, give_up);
		machine_run(machine);
		assert_true(machine_take(machine, 1, &completion));
		assert_status(completion, give_up ? NVME_UNRECOVERED_READ : 0);
		assert_int_equal(completion.result, give_up);
	}
}

/* Nothing is written when the guest has forgotten the command. */
static void a_reset_ends_it(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);

	set_range(machine, 0, 100, 4);
	disk->hold = true;
	machine_submit(machine, 1, to(1000, 1));
	machine_run(machine);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	machine_release(machine, disk);
	machine_run(machine);
	assert_int_equal(disk->count, 0);
	assert_int_equal(disk->last.op, BLOCK_READ);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
	disk->hold = false;
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, setup, machine_teardown)
	const struct CMUnitTest tests[] = {
		test(ranges_come_one_after_another),
		test(as_much_as_identify_says),
		test(commands_are_judged),
		test(errors_name_the_range),
		test(held_and_given_up_or_tried_again),
		test(a_reset_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
