// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

/* How many commands of a worker can have a bounce buffer. */
#define BOUNCES 16

static struct nvme_command abort_of(unsigned sqid, uint16_t cid)
{
	return (struct nvme_command){ .opcode = NVME_ADMIN_ABORT,
				      .cdw10 = sqid | (uint32_t)cid << 16 };
}

static void event_requests_are_aborted(void **state)
{
	struct machine *machine = *state;
	struct nvme_command event = { .opcode = NVME_ADMIN_ASYNC_EVENT };
	struct machine_completion completion;
	uint16_t first = machine_submit(machine, 0, event), second, abort;

	second = machine_submit(machine, 0, event);
	machine_run(machine);
	abort = machine_submit(machine, 0, abort_of(0, second));
	machine_run(machine);
	assert_true(machine_take(machine, 0, &completion));
	assert_int_equal(completion.cid, second);
	assert_status(completion, NVME_ABORT_REQUESTED);
	assert_true(machine_take(machine, 0, &completion));
	assert_int_equal(completion.cid, abort);
	assert_status(completion, 0);
	assert_int_equal(completion.result, 0);

	/* Once; and the other is still there. */
	assert_int_equal(machine_execute(machine, 0, abort_of(0, second)).result, 1);
	machine_write32(machine, NVME_BAR0_DOORBELLS + 8, MACHINE_ENTRIES);
	machine_run(machine);
	assert_true(machine_take(machine, 0, &completion));
	assert_int_equal(completion.cid, first);
	assert_status(completion, 0);
}

/* Queue 2 and 4 have the same worker, whether there are two or one. */
static void what_waits_is_aborted_and_nothing_else(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion;
	uint16_t running[BOUNCES], waiting[2];
	unsigned done = 0;

	machine_create_queue(machine, 4, MACHINE_ENTRIES);
	disk->hold = true;
	for (unsigned i = 0; i < BOUNCES; i++)
		running[i] = machine_submit(machine, i < 8 ? 2 : 4,
					    machine_rw(NVME_IO_VERIFY, i, 1, page, 0));
	for (unsigned i = 0; i < 2; i++)
		waiting[i] = machine_submit(machine, 4, machine_rw(NVME_IO_VERIFY, 99, 1, page, 0));
	machine_run(machine);
	assert_int_equal(disk->count, BOUNCES);

	assert_int_equal(machine_execute(machine, 0, abort_of(4, running[10])).result, 1);
	assert_int_equal(machine_execute(machine, 0, abort_of(2, waiting[1])).result, 1);
	assert_int_equal(machine_execute(machine, 0, abort_of(3, waiting[1])).result, 1);
	assert_int_equal(machine_execute(machine, 0, abort_of(0xffff, waiting[1])).result, 1);
	assert_false(machine_take(machine, 4, &completion));
	assert_int_equal(machine_execute(machine, 0, abort_of(4, waiting[1])).result, 0);
	machine_run(machine);
	assert_true(machine_take(machine, 4, &completion));
	assert_int_equal(completion.cid, waiting[1]);
	assert_status(completion, NVME_ABORT_REQUESTED);

	while (disk->count) {
		machine_release(machine, disk);
		machine_run(machine);
	}
	for (unsigned id = 2; id <= 4; id += 2) {
		while (machine_take(machine, id, &completion)) {
			assert_status(completion, 0);
			done++;
		}
	}
	assert_int_equal(done, BOUNCES + 1);
	assert_int_equal(disk->submitted, BOUNCES + 1);
	disk->hold = false;
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)
#define test_two(name)                                                                             \
	{                                                                                          \
#name " (two workers)", name, machine_setup_two_workers, machine_teardown, NULL    \
	}
	const struct CMUnitTest tests[] = {
		test(event_requests_are_aborted),
		test(what_waits_is_aborted_and_nothing_else),
		test_two(what_waits_is_aborted_and_nothing_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
