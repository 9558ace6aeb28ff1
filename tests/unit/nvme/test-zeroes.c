// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

#define BLOCKS (8 * MiB / 512)

static struct nvme_command zeroes(uint64_t lba, unsigned blocks, uint32_t flags)
{
	struct nvme_command command = machine_rw(NVME_IO_WRITE_ZEROES, lba, blocks, 0, 0);

	command.cdw12 |= flags;
	return command;
}

static struct nvme_command deallocate(unsigned ranges, uint64_t prp1)
{
	return (struct nvme_command){
		.opcode = NVME_IO_DATASET_MANAGEMENT,
		.nsid = 1,
		.prp1 = prp1,
		.cdw10 = ranges - 1,
		.cdw11 = NVME_DATASET_DEALLOCATE,
	};
}

static void assert_bytes(const uint8_t *at, uint8_t value, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		assert_int_equal(at[i], value);
}

static void zeroes_are_written(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);

	memset(disk->data, 0xa5, 8 * MiB);
	assert_status(machine_execute(machine, 1, zeroes(3, 2, 0)), 0);
	assert_int_equal(disk->last.op, BLOCK_WRITE_ZEROES);
	assert_int_equal(disk->last.flags, BLOCK_NO_HOLE);
	assert_bytes(disk->data, 0xa5, 3 * 512);
	assert_bytes(disk->data + 3 * 512, 0, 2 * 512);
	assert_bytes(disk->data + 5 * 512, 0xa5, 512);

	assert_status(machine_execute(machine, 1, zeroes(3, 2, NVME_ZEROES_DEALLOCATE)), 0);
	assert_int_equal(disk->last.flags, 0);
	assert_status(
		machine_execute(machine, 1, zeroes(3, 2, NVME_ZEROES_DEALLOCATE | NVME_RW_FUA)), 0);
	assert_int_equal(disk->last.flags, BLOCK_FUA);
	/* MDTS is about data. */
	assert_status(machine_execute(machine, 1, zeroes(0, BLOCKS, 0)), 0);
	assert_bytes(disk->data, 0, 8 * MiB);
}

static void zeroes_are_durable_without_a_cache(void **state)
{
	struct machine *machine = *state;
	const struct nvme_command no_cache = { .opcode = NVME_ADMIN_SET_FEATURE,
					       .cdw10 = NVME_FEATURE_WRITE_CACHE };

	assert_status(machine_execute(machine, 0, no_cache), 0);
	assert_status(machine_execute(machine, 1, zeroes(0, 1, 0)), 0);
	assert_int_equal(machine_disk(machine)->last.flags, BLOCK_FUA | BLOCK_NO_HOLE);
}

static void zeroes_stay_inside(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	struct nvme_command command;
	static const struct {
		uint64_t lba;
		unsigned blocks;
		nvme_status status;
	} cases[] = {
		{ BLOCKS - 1, 1, 0 },
		{ BLOCKS - 1, 2, NVME_LBA_OUT_OF_RANGE },
		{ BLOCKS, 1, NVME_LBA_OUT_OF_RANGE },
		{ UINT64_MAX, 2, NVME_LBA_OUT_OF_RANGE },
		{ 0, BLOCKS + 1, NVME_LBA_OUT_OF_RANGE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_status(machine_execute(machine, 1, zeroes(cases[i].lba, cases[i].blocks, 0)),
			      cases[i].status);
	assert_int_equal(disk->submitted, 1);

	command = zeroes(0, 1, 0);
	command.nsid = 2;
	assert_status(machine_execute(machine, 1, command), NVME_INVALID_FIELD);
	command.nsid = NVME_NSID_ALL;
	assert_status(machine_execute(machine, 1, command), NVME_INVALID_NAMESPACE);
	assert_int_equal(disk->submitted, 1);
}

static void ranges_are_deallocated(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t list = machine_alloc(machine, 1);
	struct nvme_dataset_range *ranges = machine_at(machine, list);
	struct nvme_namespace_counters counters;

	memset(disk->data, 0xa5, 8 * MiB);
	ranges[0] = (struct nvme_dataset_range){ .lba = 8, .blocks = 4, .attributes = 0xffff };
	ranges[1] = (struct nvme_dataset_range){ .lba = BLOCKS, .blocks = 0 };
	ranges[2] = (struct nvme_dataset_range){ .lba = BLOCKS - 1, .blocks = 1 };
	assert_status(machine_execute(machine, 1, deallocate(3, list)), 0);
	assert_int_equal(disk->submitted, 3);
	assert_int_equal(disk->last.op, BLOCK_DISCARD);
	assert_bytes(disk->data, 0xa5, 8 * 512);
	assert_bytes(disk->data + 8 * 512, 0, 4 * 512);
	assert_bytes(disk->data + 12 * 512, 0xa5, 8 * MiB - 13 * 512);
	assert_bytes(disk->data + 8 * MiB - 512, 0, 512);
	nvme_controller_counters(machine->ctrl, 1, &counters);
	assert_int_equal(counters.write_commands + counters.flush_commands, 0);

	/* As many as there can be, in a list over two pages. */
	list = machine_alloc(machine, 2) + 2048;
	ranges = machine_at(machine, list);
	for (unsigned i = 0; i < 256; i++)
		ranges[i] = (struct nvme_dataset_range){ .lba = 1000 + 2 * i, .blocks = 1 };
	{
		struct nvme_command command = deallocate(256, list);

		command.prp2 = list - 2048 + 4096;
		assert_status(machine_execute(machine, 1, command), 0);
	}
	for (unsigned i = 0; i < 256; i++) {
		assert_bytes(disk->data + (1000 + 2 * i) * 512, 0, 512);
		assert_bytes(disk->data + (1001 + 2 * i) * 512, 0xa5, 512);
	}
}

static void all_ranges_are_judged_before_the_first(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t list = machine_alloc(machine, 1);
	struct nvme_dataset_range *ranges = machine_at(machine, list);
	static const struct nvme_dataset_range outside[] = {
		{ .lba = BLOCKS, .blocks = 1 },	    { .lba = BLOCKS - 1, .blocks = 2 },
		{ .lba = UINT64_MAX, .blocks = 2 }, { .lba = BLOCKS + 1, .blocks = 0 },
		{ .lba = 1, .blocks = UINT32_MAX },
	};

	memset(disk->data, 0xa5, 512);
	ranges[0] = (struct nvme_dataset_range){ .lba = 0, .blocks = 1 };
	for (size_t i = 0; i < ARRAY_SIZE(outside); i++) {
		ranges[1] = outside[i];
		assert_status(machine_execute(machine, 1, deallocate(2, list)),
			      NVME_LBA_OUT_OF_RANGE);
	}
	assert_int_equal(disk->submitted, 0);
	assert_bytes(disk->data, 0xa5, 512);
}

static void bad_deallocations_are_refused(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk_new(MiB);
	uint64_t list = machine_alloc(machine, 1);
	struct nvme_dataset_range *ranges = machine_at(machine, list);
	struct nvme_command command = deallocate(1, list);

	ranges[0].blocks = 1;
	command.nsid = 2;
	assert_status(machine_execute(machine, 1, command), NVME_INVALID_FIELD);
	command.nsid = 0;
	assert_status(machine_execute(machine, 1, command), NVME_INVALID_NAMESPACE);
	assert_status(machine_execute(machine, 1, deallocate(1, list + 2)),
		      NVME_PRP_OFFSET_INVALID);
	assert_status(machine_execute(machine, 1, deallocate(1, 0x1000)), NVME_DATA_TRANSFER_ERROR);

	disk->info.read_only = true;
	machine_attach(machine, 2, disk);
	command.nsid = 2;
	assert_status(machine_execute(machine, 1, command), NVME_WRITE_PROTECTED);
	command = zeroes(0, 1, 0);
	command.nsid = 2;
	assert_status(machine_execute(machine, 1, command), NVME_WRITE_PROTECTED);
	machine_disk_free(disk);
	assert_int_equal(machine_disk(machine)->submitted, 0);
}

static void hints_are_hints(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t list = machine_alloc(machine, 1);
	struct nvme_dataset_range *ranges = machine_at(machine, list);
	struct nvme_command command = deallocate(1, list);

	ranges[0].blocks = 1;
	command.cdw11 = 3; /* will be read, will be written */
	assert_status(machine_execute(machine, 1, command), 0);
	disk->info.can_discard = false;
	assert_status(machine_execute(machine, 1, deallocate(1, list)), 0);
	ranges[0].lba = BLOCKS;
	assert_status(machine_execute(machine, 1, deallocate(1, list)), NVME_LBA_OUT_OF_RANGE);
	assert_int_equal(disk->submitted, 0);
}

/* The guest rewrites the list as soon as we look at it. */
static uint64_t rewritten;
static unsigned looks;

static void rewrite(struct machine *machine)
{
	struct nvme_dataset_range *ranges = machine_at(machine, rewritten);

	if (looks++ > 2)
		ranges[0].lba = BLOCKS - 1, ranges[0].blocks = UINT32_MAX;
}

static void the_list_is_read_once(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	struct nvme_dataset_range *ranges;

	rewritten = machine_alloc(machine, 1);
	ranges = machine_at(machine, rewritten);
	for (unsigned from = 0; from < 8; from++) {
		ranges[0] = (struct nvme_dataset_range){ .lba = 5, .blocks = 1 };
		disk->submitted = 0;
		disk->hold = true;
		looks = from;
		machine_submit(machine, 1, deallocate(1, rewritten));
		machine->meanwhile = rewrite;
		machine_run(machine);
		ranges[0].blocks = UINT32_MAX;
		while (disk->count) /* in its bounds: the disk says so */
			machine_release(machine, disk);
		machine_run(machine);
		machine->meanwhile = NULL;
		assert_true(disk->submitted <= 1);
	}
	disk->hold = false;
}

static void an_error_ends_it(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t list = machine_alloc(machine, 1);
	struct nvme_dataset_range *ranges = machine_at(machine, list);

	ranges[0].blocks = ranges[1].blocks = 1;
	disk->result = -EIO;
	assert_status(machine_execute(machine, 1, deallocate(2, list)), NVME_WRITE_FAULT);
	assert_int_equal(disk->submitted, 1);
	disk->result = -ENOSPC;
	assert_status(machine_execute(machine, 1, zeroes(0, 1, 0)), NVME_CAPACITY_EXCEEDED);
}

static void more_deallocations_than_buffers_take_turns(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t list = machine_alloc(machine, 1);
	struct nvme_dataset_range *ranges = machine_at(machine, list);
	struct machine_completion completion;
	unsigned done = 0;

	ranges[0].blocks = ranges[1].blocks = 1;
	disk->hold = true;
	for (unsigned i = 0; i < MACHINE_ENTRIES - 1; i++) {
		machine_put(machine, 1, deallocate(2, list));
		machine_put(machine, 2, deallocate(2, list));
	}
	machine_ring(machine, 1);
	machine_ring(machine, 2);
	machine_run(machine);
	assert_int_equal(disk->count, 16); /* NVME_BOUNCES */
	while (disk->count) {
		machine_release(machine, disk);
		machine_run(machine);
		while (machine_take(machine, 1, &completion) ||
		       machine_take(machine, 2, &completion)) {
			assert_status(completion, 0);
			done++;
		}
		machine_run(machine);
	}
	assert_int_equal(done, 2 * (MACHINE_ENTRIES - 1));
	disk->hold = false;
}

static void a_reset_ends_it_between_two_ranges(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t list = machine_alloc(machine, 1);
	struct nvme_dataset_range *ranges = machine_at(machine, list);

	ranges[0].blocks = ranges[1].blocks = 1;
	disk->hold = true;
	machine_submit(machine, 1, deallocate(2, list));
	machine_run(machine);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	assert_int_equal(disk->count, 1);
	machine_release(machine, disk);
	machine_run(machine);
	assert_int_equal(disk->submitted, 1);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
	disk->hold = false;
}

static struct nvme_identify_namespace *identify(struct machine *machine, uint32_t nsid,
						uint64_t page)
{
	const struct nvme_command command = { .opcode = NVME_ADMIN_IDENTIFY,
					      .nsid = nsid,
					      .prp1 = page };

	assert_status(machine_execute(machine, 0, command), 0);
	return machine_at(machine, page);
}

static void identify_says_what_the_image_does(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk_new(MiB);
	uint64_t page = machine_alloc(machine, 1);
	const struct nvme_identify_namespace *id;
	const struct nvme_identify_controller *controller = machine_at(machine, page);
	const struct nvme_command command = { .opcode = NVME_ADMIN_IDENTIFY,
					      .prp1 = page,
					      .cdw10 = NVME_CNS_CONTROLLER };

	id = identify(machine, 1, page);
	assert_int_equal(id->dlfeat, 9);
	assert_int_equal(id->nsfeat, 0); /* any block is as good as any other */

	disk->info.can_discard = false;
	disk->info.granularity = 4096;
	machine_attach(machine, 2, disk);
	id = identify(machine, 2, page);
	assert_int_equal(id->dlfeat, 0);
	assert_int_equal(id->nsfeat, 1 << 4);
	assert_int_equal(id->npwg, 7);
	assert_int_equal(id->npdg, 7);
	assert_int_equal(id->nows, 7);
	machine_disk_free(disk);

	assert_status(machine_execute(machine, 0, command), 0);
	assert_int_equal(controller->oncs & 0xc, 0xc);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)
	const struct CMUnitTest tests[] = {
		test(zeroes_are_written),
		test(zeroes_are_durable_without_a_cache),
		test(zeroes_stay_inside),
		test(ranges_are_deallocated),
		test(all_ranges_are_judged_before_the_first),
		test(bad_deallocations_are_refused),
		test(hints_are_hints),
		test(the_list_is_read_once),
		test(an_error_ends_it),
		test(more_deallocations_than_buffers_take_turns),
		test(a_reset_ends_it_between_two_ranges),
		test(identify_says_what_the_image_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
