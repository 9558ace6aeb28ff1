// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

/* Format to the other block size. The image has a part of a large block at its end. */
#define DISK_BYTES (1 * MiB + 3 * KiB)

static struct machine_disk *disk;

static int set_up_disk(void **state)
{
	disk = machine_disk_new(DISK_BYTES);
	memset(disk->data, 0x5a, DISK_BYTES);
	machine_attach(*state, 2, disk);
	return 0;
}

static int setup(void **state)
{
	machine_setup(state);
	return set_up_disk(state);
}

static int setup_two_workers(void **state)
{
	machine_setup_two_workers(state);
	return set_up_disk(state);
}

static int teardown(void **state)
{
	machine_teardown(state);
	machine_disk_free(disk);
	return 0;
}

static struct nvme_command format(unsigned lbaf)
{
	return (struct nvme_command){ .opcode = NVME_ADMIN_FORMAT, .nsid = 2, .cdw10 = lbaf };
}

static struct nvme_command on_disk(struct nvme_command command)
{
	command.nsid = 2;
	return command;
}

static bool is_all_zeroes(void)
{
	return !disk->data[0] && !memcmp(disk->data, disk->data + 1, DISK_BYTES - 1);
}

static struct nvme_identify_namespace identify(struct machine *machine)
{
	struct nvme_command command = { .opcode = NVME_ADMIN_IDENTIFY,
					.nsid = 2,
					.prp1 = machine_alloc(machine, 1),
					.cdw10 = NVME_CNS_NAMESPACE };

	assert_status(machine_execute(machine, 0, command), 0);
	return *(struct nvme_identify_namespace *)machine_at(machine, command.prp1);
}

static void expect_size(struct machine *machine, unsigned shift)
{
	struct nvme_identify_namespace id = identify(machine);
	uint64_t page = machine_alloc(machine, 1), blocks = DISK_BYTES >> shift;

	assert_int_equal(id.nlbaf, 1);
	assert_int_equal(id.lbaf[0].data_shift, 9);
	assert_int_equal(id.lbaf[1].data_shift, 12);
	assert_int_equal(id.flbas, shift == 12);
	assert_int_equal(id.nsze, blocks);
	assert_int_equal(id.ncap, blocks);
	assert_int_equal(id.nuse, blocks);
	assert_status(machine_execute(machine, 1,
				      on_disk(machine_rw(NVME_IO_READ, blocks, 1, page, 0))),
		      NVME_LBA_OUT_OF_RANGE);
	memset(machine_at(machine, page), 0x77, 1u << shift);
	assert_status(machine_execute(machine, 1,
				      on_disk(machine_rw(NVME_IO_WRITE, blocks - 1, 1, page, 0))),
		      0);
	assert_int_equal(disk->last.offset, (blocks - 1) << shift);
	assert_int_equal(disk->last.bytes, 1u << shift);
	memset(disk->data + disk->last.offset, 0, disk->last.bytes);
}

static void expect_refused(struct machine *machine)
{
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion =
		machine_execute(machine, 1, on_disk(machine_rw(NVME_IO_WRITE, 0, 1, page, 0)));

	assert_status(completion, NVME_FORMAT_IN_PROGRESS);
	assert_false(completion.dnr);
}

static void expect_end(struct machine *machine, nvme_status status)
{
	struct machine_completion completion;

	assert_true(machine_take(machine, 0, &completion));
	assert_status(completion, status);
	assert_false(completion.dnr);
}

static void begin(struct machine *machine, unsigned lbaf)
{
	machine->records_later = true;
	machine_submit(machine, 0, format(lbaf));
	machine_run(machine);
}

static void record(struct machine *machine, uint32_t block_size)
{
	assert_int_equal(nvme_controller_set_block_size(machine->ctrl, 2, block_size), 0);
	machine_run(machine);
}

/* To the end of the image too, which the larger blocks do not show. */
static void there_and_back(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	uint32_t *changed = machine_at(machine, page);

	expect_size(machine, 9);
	assert_status(
		machine_execute(machine, 0,
				machine_get_log(NVME_LOG_CHANGED_NAMESPACES, 4096, 0, false, page)),
		0);
	assert_status(machine_execute(machine, 0, format(1)), 0);
	assert_int_equal(machine->block_sizes, 1);
	assert_int_equal(machine->block_size[0], 2);
	assert_int_equal(machine->block_size[1], 4096);
	assert_true(is_all_zeroes());
	assert_status(
		machine_execute(machine, 0,
				machine_get_log(NVME_LOG_CHANGED_NAMESPACES, 4096, 0, false, page)),
		0);
	assert_int_equal(changed[0], 2);
	expect_size(machine, 12);
	memset(disk->data, 0x5a, DISK_BYTES);
	assert_status(machine_execute(machine, 0, format(1)), 0);
	assert_int_equal(machine->block_sizes, 1);
	assert_false(is_all_zeroes()); /* to the end of what the guest sees */
	assert_status(machine_execute(machine, 0, format(0)), 0);
	assert_int_equal(machine->block_sizes, 2);
	assert_true(is_all_zeroes());
	expect_size(machine, 9);
}

/* Until then the namespace is closed, and not longer. */
static void it_ends_when_the_size_is_recorded(void **state)
{
	struct machine *machine = *state;
	struct machine_completion completion;

	begin(machine, 1);
	assert_int_equal(machine->block_sizes, 1);
	assert_true(is_all_zeroes());
	assert_false(machine_take(machine, 0, &completion));
	expect_refused(machine);
	completion = machine_execute(machine, 0, format(1));
	assert_status(completion, NVME_FORMAT_IN_PROGRESS);
	assert_int_equal(identify(machine).fpi, NVME_FPI_SUPPORTED | 1);
	assert_int_equal(identify(machine).flbas, 0);
	record(machine, 4096);
	expect_end(machine, 0);
	assert_int_equal(machine->block_sizes, 1);
	expect_size(machine, 12);
}

static void what_cannot_be_recorded_now_changes_nothing(void **state)
{
	struct machine *machine = *state;

	begin(machine, 1);
	record(machine, 0);
	expect_end(machine, NVME_INTERNAL_ERROR);
	expect_size(machine, 9);
	assert_int_equal(nvme_controller_set_block_size(machine->ctrl, 2, 1024), -EINVAL);
	assert_int_equal(nvme_controller_set_block_size(machine->ctrl, 3, 512), -ENOENT);
}

/* Who knows which size the next start finds? */
static void a_reset_does_not_open_it(void **state)
{
	struct machine *machine = *state;

	begin(machine, 1);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
	machine_enable(machine);
	machine_create_queue(machine, 1, MACHINE_ENTRIES);
	expect_refused(machine);
	assert_status(machine_execute(machine, 0, format(0)), NVME_FORMAT_IN_PROGRESS);
	record(machine, 4096);
	expect_size(machine, 12);
}

/* What was parsed with one size must not be executed with the other. */
static void nothing_else_is_in_flight(void **state)
{
	struct machine *machine = *state;
	struct machine_completion completion;
	uint64_t page = machine_alloc(machine, 1);

	for (unsigned queue = 1; queue <= machine->host.workers; queue++) {
		disk->hold = true;
		machine_submit(machine, queue, on_disk(machine_rw(NVME_IO_READ, 0, 1, page, 0)));
		machine_run(machine);
		machine_submit(machine, 0, format(1));
		machine_run(machine);
		expect_end(machine, NVME_COMMAND_SEQUENCE_ERROR);
		assert_false(is_all_zeroes());
		disk->hold = false;
		machine_release(machine, disk);
		machine_run(machine);
		assert_true(machine_take(machine, queue, &completion));
		assert_status(completion, 0);
	}
	assert_status(machine_execute(machine, 0, format(1)), 0);
	expect_size(machine, 12);
}

static void attach(struct machine *machine, uint32_t block_size, uint32_t next)
{
	const struct nvme_namespace_config config = { .nsid = 2,
						      .block_size = block_size,
						      .next_block_size = next };

	machine_attach(machine, 1, machine_disk(machine));
	assert_int_equal(nvme_controller_attach(machine->ctrl, &config, (struct block *)disk, NULL),
			 0);
	machine_run(machine);
}

/* Wherever the predecessor had got to. */
static void a_successor_goes_on(void **state)
{
	struct machine *machine = *state;
	struct machine_completion completion;

	begin(machine, 1);
	machine_restart(machine, NULL);
	memset(disk->data, 0x5a, DISK_BYTES);
	attach(machine, 512, 0); /* its word was lost */
	assert_int_equal(machine->block_sizes, 2);
	assert_true(is_all_zeroes());
	assert_false(machine_take(machine, 0, &completion));
	expect_refused(machine);

	machine_restart(machine, NULL);
	attach(machine, 512, 4096);
	assert_int_equal(machine->block_sizes, 2);
	assert_false(machine_take(machine, 0, &completion));
	expect_refused(machine);

	machine_restart(machine, NULL);
	attach(machine, 4096, 0);
	expect_end(machine, 0);
	assert_int_equal(machine->block_sizes, 2);
	expect_size(machine, 12);
}

/* The command is gone, its size is on its way. */
static void a_successor_of_a_reset_waits(void **state)
{
	struct machine *machine = *state;

	begin(machine, 1);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	machine_restart(machine, NULL);
	attach(machine, 512, 4096);
	machine_enable(machine);
	machine_create_queue(machine, 1, MACHINE_ENTRIES);
	expect_refused(machine);
	record(machine, 4096);
	assert_int_equal(machine->block_sizes, 1);
	expect_size(machine, 12);
}

static void done(void *opaque)
{
	*(bool *)opaque = true;
}

static void a_freeze_and_a_detach_do_not_wait(void **state)
{
	struct machine *machine = *state;
	struct machine_completion completion;
	bool frozen = false, left = false;

	begin(machine, 1);
	nvme_controller_freeze(machine->ctrl, done, &frozen);
	machine_run(machine);
	assert_true(frozen);
	record(machine, 4096);
	assert_false(machine_take(machine, 0, &completion));
	nvme_controller_thaw(machine->ctrl);
	machine_run(machine);
	expect_end(machine, 0);

	begin(machine, 0);
	assert_int_equal(nvme_controller_detach(machine->ctrl, 2, done, &left), 0);
	machine_run(machine);
	assert_true(left);
	assert_true(machine_take(machine, 0, &completion));
	assert_status(completion, NVME_INVALID_NAMESPACE);
}

/* The whole disk is one piece: it is erased, and there is nobody to be told of its size any more. */
static void a_detach_in_the_last_piece_is_the_end(void **state)
{
	struct machine *machine = *state;
	struct machine_completion completion;
	bool left = false;

	disk->hold = true;
	machine_submit(machine, 0, format(1));
	machine_run(machine);
	assert_int_equal(disk->count, 1);
	assert_int_equal(nvme_controller_detach(machine->ctrl, 2, done, &left), 0);
	machine_run(machine);
	assert_false(left);
	disk->hold = false;
	machine_release(machine, disk);
	machine_run(machine);
	assert_true(left);
	assert_true(machine_take(machine, 0, &completion));
	assert_status(completion, NVME_INVALID_NAMESPACE);
	assert_int_equal(machine->block_sizes, 0);
}

static void expect_one_format(struct machine *machine, struct nvme_namespace_config config)
{
	struct nvme_identify_namespace id;
	bool left = false;

	assert_int_equal(nvme_controller_detach(machine->ctrl, 2, done, &left), 0);
	machine_run(machine);
	assert_true(left);
	config.nsid = 2;
	assert_int_equal(nvme_controller_attach(machine->ctrl, &config, (struct block *)disk, NULL),
			 0);
	id = identify(machine);
	assert_int_equal(id.nlbaf, 0);
	assert_int_equal(id.flbas, 0);
	assert_int_equal(id.lbaf[0].data_shift, 12);
	assert_status(machine_execute(machine, 0, format(1)), NVME_INVALID_FORMAT);
	assert_int_equal(machine->block_sizes, 0);
	assert_status(machine_execute(machine, 0, format(0)), 0);
}

/* Where others have the image open, or it can be nothing else. */
static void some_have_one_size(void **state)
{
	expect_one_format(*state,
			  (struct nvme_namespace_config){ .block_size = 4096, .shareable = true });
	disk->info.block_size = 4096;
	disk->info.capacity = 1 * MiB;
	expect_one_format(*state, (struct nvme_namespace_config){});
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		test(there_and_back),
		test(it_ends_when_the_size_is_recorded),
		test(what_cannot_be_recorded_now_changes_nothing),
		test(a_reset_does_not_open_it),
		cmocka_unit_test_setup_teardown(nothing_else_is_in_flight, setup_two_workers,
						teardown),
		test(a_successor_goes_on),
		test(a_successor_of_a_reset_waits),
		test(a_freeze_and_a_detach_do_not_wait),
		test(a_detach_in_the_last_piece_is_the_end),
		test(some_have_one_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
