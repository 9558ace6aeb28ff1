// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

#define BLOCKS (8 * MiB / 512)

static void fill(uint8_t *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = i * 7 + i / 251;
}

static void equal_or_not(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t data = machine_alloc(machine, 256), list = machine_alloc(machine, 1);
	uint64_t *entries = machine_at(machine, list);
	uint8_t *bytes = machine_at(machine, data);
	struct machine_completion completion;
	static const unsigned different[] = { 0, 4095, 4096, 100000, MiB - 1 };

	/* Pages in reverse order, so that each is a segment. */
	for (unsigned i = 0; i < 255; i++)
		entries[i] = data + (254 - i) * 4096;
	fill(disk->data, MiB);
	for (unsigned i = 0; i < 256; i++)
		memcpy(bytes + (255 - i) * 4096, disk->data + i * 4096, 4096);
	assert_status(
		machine_execute(machine, 1,
				machine_rw(NVME_IO_COMPARE, 0, 2048, data + 255 * 4096, list)),
		0);
	for (size_t i = 0; i < ARRAY_SIZE(different); i++) {
		disk->data[different[i]] ^= 1;
		completion = machine_execute(
			machine, 1, machine_rw(NVME_IO_COMPARE, 0, 2048, data + 255 * 4096, list));
		assert_status(completion, NVME_COMPARE_FAILURE);
		disk->data[different[i]] ^= 1;
	}
	/* Neither side is changed. */
	for (unsigned i = 0; i < 256; i++)
		assert_memory_equal(bytes + (255 - i) * 4096, disk->data + i * 4096, 4096);
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_COMPARE, 0, 2049, data, list)),
		      NVME_INVALID_FIELD);
}

static void a_piece_of_a_page(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t data = machine_alloc(machine, 2);

	fill(disk->data, 4096);
	memcpy((uint8_t *)machine_at(machine, data) + 3588, disk->data + 512, 1024);
	assert_status(machine_execute(machine, 1,
				      machine_rw(NVME_IO_COMPARE, 1, 2, data + 3588, data + 4096)),
		      0);
}

static void comparisons_are_judged(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	struct nvme_command command = machine_rw(NVME_IO_COMPARE, 0, 1, page, 0);

	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_COMPARE, BLOCKS, 1, page, 0)),
		      NVME_LBA_OUT_OF_RANGE);
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_COMPARE, 0, 1, page + 2, 0)),
		      NVME_PRP_OFFSET_INVALID);
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_COMPARE, 0, 1, 0x1000, 0)),
		      NVME_DATA_TRANSFER_ERROR);
	command.nsid = 9;
	assert_status(machine_execute(machine, 1, command), NVME_INVALID_FIELD);
	command.nsid = 1;
	machine_disk(machine)->result = -EIO;
	assert_status(machine_execute(machine, 1, command), NVME_UNRECOVERED_READ);
}

static void verify_reads_it_all(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);

	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_VERIFY, 3, 1, 0, 0)), 0);
	assert_int_equal(disk->last.op, BLOCK_READ);
	assert_int_equal(disk->last.offset, 3 * 512);
	assert_int_equal(disk->last.bytes, 512);
	disk->submitted = 0;
	/* More than a buffer; 5 pieces, the last one of a block. */
	assert_status(
		machine_execute(machine, 1, machine_rw(NVME_IO_VERIFY, 7, 4 * 2048 + 1, 0, 0)), 0);
	assert_int_equal(disk->submitted, 5);
	assert_int_equal(disk->last.offset, (7 + 4 * 2048) * 512);
	assert_int_equal(disk->last.bytes, 512);

	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_VERIFY, BLOCKS - 1, 2, 0, 0)),
		      NVME_LBA_OUT_OF_RANGE);
	disk->result = -EIO;
	disk->submitted = 0;
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_VERIFY, 0, 4096, 0, 0)),
		      NVME_UNRECOVERED_READ);
	assert_int_equal(disk->submitted, 1);
}

/* With the image's answers in the hands of the test, a reset comes between. */
static void a_reset_ends_them(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 1);

	disk->hold = true;
	machine_submit(machine, 1, machine_rw(NVME_IO_VERIFY, 0, 8192, 0, 0));
	machine_submit(machine, 1, machine_rw(NVME_IO_COMPARE, 0, 1, page, 0));
	machine_run(machine);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	assert_int_equal(disk->count, 2);
	machine_release(machine, disk);
	machine_release(machine, disk);
	machine_run(machine);
	assert_int_equal(disk->count, 0);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
	disk->hold = false;
}

/* Since it began to wait for a buffer, another process may have got the image. */
static void who_waited_for_a_buffer_waits_for_the_namespace(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	struct machine_completion completion;
	unsigned answers = 0;

	disk->hold = true;
	for (unsigned i = 0; i < 17; i++) /* NVME_BOUNCES, and one */
		machine_submit(machine, 1 + i / 10, machine_rw(NVME_IO_VERIFY, 0, 1, 0, 0));
	machine_run(machine);
	assert_int_equal(disk->submitted, 16);
	nvme_controller_set_ready(machine->ctrl, 1, false);
	machine_release(machine, disk);
	machine_run(machine);
	assert_int_equal(disk->submitted, 16);
	nvme_controller_set_ready(machine->ctrl, 1, true);
	machine_run(machine);
	assert_int_equal(disk->submitted, 17);
	while (disk->count)
		machine_release(machine, disk);
	machine_run(machine);
	while (machine_take(machine, 1, &completion) || machine_take(machine, 2, &completion))
		answers++;
	assert_int_equal(answers, 17);
	disk->hold = false;
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)
	const struct CMUnitTest tests[] = {
		test(equal_or_not),	      test(a_piece_of_a_page),
		test(comparisons_are_judged), test(verify_reads_it_all),
		test(a_reset_ends_them),      test(who_waited_for_a_buffer_waits_for_the_namespace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
