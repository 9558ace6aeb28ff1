// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the storage has failed: told to the guest, or held until it is tried again. */
#include <errno.h>

#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

/* Namespace 1 again, with an error policy. */
static struct machine *with_policy(void **state, enum nvme_error_policy policy)
{
	const struct nvme_namespace_config config = { .nsid = 1, .error_policy = policy };
	struct machine *machine = *state;

	assert_int_equal(nvme_controller_detach(machine->ctrl, 1, NULL, NULL), 0);
	machine_run(machine);
	assert_int_equal(nvme_controller_attach(machine->ctrl, &config,
						(struct block *)machine_disk(machine), NULL),
			 0);
	return machine;
}

static bool answered(struct machine *machine, unsigned id, nvme_status *status)
{
	struct machine_completion completion;

	machine_run(machine);
	if (!machine_take(machine, id, &completion))
		return false;
	*status = completion.status;
	return true;
}

static struct nvme_command write_block(struct machine *machine, uint64_t lba, uint8_t value)
{
	uint64_t page = machine_alloc(machine, 1);

	memset(machine_at(machine, page), value, 4096);
	return machine_rw(NVME_IO_WRITE, lba, 8, page, 0);
}

static void by_default_errors_are_told(void **state)
{
	struct machine *machine = *state;

	machine_disk(machine)->result = -ENOSPC;
	assert_status(machine_execute(machine, 1, write_block(machine, 0, 1)),
		      NVME_CAPACITY_EXCEEDED);
	assert_int_equal(machine->io_errors, 0);
}

static void stop_holds_until_the_retry(void **state)
{
	struct machine *machine = with_policy(state, NVME_ERROR_STOP);
	struct machine_disk *disk = machine_disk(machine);
	struct nvme_namespace_counters counters;
	nvme_status status;

	disk->result = -EIO;
	machine_submit(machine, 1, write_block(machine, 8, 7));
	assert_false(answered(machine, 1, &status));
	assert_int_equal(machine->io_errors, 1);
	assert_int_equal(machine->io_error.nsid, 1);
	assert_int_equal(machine->io_error.op, BLOCK_WRITE);
	assert_int_equal(machine->io_error.code, EIO);

	/* One report is enough for all that is held. */
	machine_submit(machine, 2, (struct nvme_command){ .opcode = NVME_IO_FLUSH, .nsid = 1 });
	assert_false(answered(machine, 2, &status));
	assert_int_equal(machine->io_errors, 1);

	/* Not repaired: held again, and reported again. */
	nvme_controller_retry(machine->ctrl, false);
	assert_false(answered(machine, 1, &status));
	assert_int_equal(machine->io_errors, 2);

	disk->result = 0;
	nvme_controller_retry(machine->ctrl, false);
	nvme_controller_retry(machine->ctrl, false);
	assert_true(answered(machine, 1, &status));
	assert_int_equal(status, 0);
	assert_true(answered(machine, 2, &status));
	assert_int_equal(status, 0);
	assert_int_equal(disk->data[8 * 512], 7);
	assert_int_equal(machine->io_errors, 2);
	assert_int_equal(nvme_controller_counters(machine->ctrl, 1, &counters), 0);
	assert_int_equal(counters.errors, 0);
	nvme_controller_retry(machine->ctrl, false);
	assert_false(answered(machine, 1, &status));
}

/* What the guest did wrong, no repair will mend. */
static void only_faults_of_the_storage_are_held(void **state)
{
	static const struct {
		int error;
		bool stop, enospace;
	} cases[] = {
		{ EIO, true, false },	  { ENOSPC, true, true },    { ETIMEDOUT, true, false },
		{ EINVAL, false, false }, { ENOTSUP, false, false }, { EROFS, false, false },
	};
	struct machine *machine;
	nvme_status status;

	for (unsigned i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		bool stop = i & 1, held = stop ? cases[i / 2].stop : cases[i / 2].enospace;

		machine = with_policy(state, stop ? NVME_ERROR_STOP : NVME_ERROR_ENOSPACE);
		machine_disk(machine)->result = -cases[i / 2].error;
		machine_submit(machine, 1, write_block(machine, 0, 1));
		assert_int_equal(!answered(machine, 1, &status), held);
		machine_disk(machine)->result = 0;
		nvme_controller_retry(machine->ctrl, false);
		assert_int_equal(answered(machine, 1, &status), held);
	}
}

/* Where the guest cannot be paused. */
static void giving_up_tells_the_error(void **state)
{
	struct machine *machine = with_policy(state, NVME_ERROR_STOP);
	struct nvme_namespace_counters counters;
	nvme_status status;

	machine_disk(machine)->result = -ENOSPC;
	machine_submit(machine, 1, write_block(machine, 0, 1));
	assert_false(answered(machine, 1, &status));
	nvme_controller_retry(machine->ctrl, true);
	assert_true(answered(machine, 1, &status));
	assert_int_equal(status, NVME_CAPACITY_EXCEEDED);
	assert_int_equal(nvme_controller_counters(machine->ctrl, 1, &counters), 0);
	assert_int_equal(counters.errors, 1);
	/* Only this time. */
	machine_submit(machine, 1, write_block(machine, 0, 1));
	assert_false(answered(machine, 1, &status));
	assert_int_equal(machine->io_errors, 2);
	nvme_controller_retry(machine->ctrl, true);
	assert_true(answered(machine, 1, &status));
}

/* Guest memory that the disk cannot use in place: no buffer is kept meanwhile. */
static void a_held_command_keeps_no_buffer(void **state)
{
	struct machine *machine = with_policy(state, NVME_ERROR_STOP);
	struct machine_disk *disk = machine_disk(machine);
	struct nvme_command command = write_block(machine, 0, 5);
	nvme_status status;

	machine->message_reads = true;
	disk->result = -EIO;
	for (unsigned i = 0; i < MACHINE_ENTRIES - 1; i++) {
		machine_submit(machine, 1, command);
		machine_submit(machine, 2, command);
	}
	assert_false(answered(machine, 1, &status));
	disk->result = 0;
	assert_int_equal(machine->io_errors, 1);
	nvme_controller_retry(machine->ctrl, false);
	for (unsigned i = 0; i < MACHINE_ENTRIES - 1; i++) {
		assert_true(answered(machine, 1, &status));
		assert_int_equal(status, 0);
		assert_true(answered(machine, 2, &status));
		assert_int_equal(status, 0);
	}
	assert_int_equal(disk->data[0], 5);
}

static void a_reset_drops_what_is_held(void **state)
{
	struct machine *machine = with_policy(state, NVME_ERROR_STOP);
	nvme_status status;

	machine_disk(machine)->result = -EIO;
	machine_submit(machine, 1, write_block(machine, 0, 1));
	assert_false(answered(machine, 1, &status));
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS) & NVME_CSTS_RDY, 0);
	machine_enable(machine);
	machine_create_queue(machine, 1, MACHINE_ENTRIES);
	nvme_controller_retry(machine->ctrl, false);
	assert_false(answered(machine, 1, &status));
	/* And the next error is reported. */
	machine_submit(machine, 1, write_block(machine, 0, 1));
	assert_false(answered(machine, 1, &status));
	assert_int_equal(machine->io_errors, 2);
	nvme_controller_retry(machine->ctrl, true);
	assert_true(answered(machine, 1, &status));
}

static void count_call(void *opaque)
{
	(*(unsigned *)opaque)++;
}

static void leave(void **state, bool fast_control)
{
	struct machine *machine = with_policy(state, NVME_ERROR_STOP);
	nvme_status status;
	unsigned done = 0;

	machine->fast_control = fast_control;
	machine_disk(machine)->result = -EIO;
	machine_submit(machine, 1, write_block(machine, 0, 1));
	assert_false(answered(machine, 1, &status));
	assert_int_equal(nvme_controller_detach(machine->ctrl, 1, count_call, &done), 0);
	assert_true(answered(machine, 1, &status));
	assert_int_equal(status, NVME_WRITE_FAULT);
	assert_int_equal(done, 1);
}

static void a_namespace_can_leave(void **state)
{
	leave(state, false);
}

/* With the end of what was held it is freed at once. */
static void a_namespace_is_not_used_after_it_left(void **state)
{
	leave(state, true);
}

static void a_freeze_does_not_wait_for_it(void **state)
{
	struct machine *machine = with_policy(state, NVME_ERROR_STOP);
	unsigned frozen = 0;
	nvme_status status;

	machine_disk(machine)->result = -EIO;
	machine_submit(machine, 1, write_block(machine, 0, 3));
	assert_false(answered(machine, 1, &status));
	nvme_controller_freeze(machine->ctrl, count_call, &frozen);
	machine_run(machine);
	assert_int_equal(frozen, 1);
	/* What is tried again meanwhile is tried after the thaw. */
	machine_disk(machine)->result = 0;
	nvme_controller_retry(machine->ctrl, false);
	assert_false(answered(machine, 1, &status));
	assert_int_equal(machine_disk(machine)->data[0], 0);
	nvme_controller_thaw(machine->ctrl);
	assert_true(answered(machine, 1, &status));
	assert_int_equal(status, 0);
	assert_int_equal(machine_disk(machine)->data[0], 3);
}

static void a_successor_executes_it(void **state)
{
	struct machine *machine = with_policy(state, NVME_ERROR_STOP);
	nvme_status status;

	machine_disk(machine)->result = -EIO;
	machine_submit(machine, 1, write_block(machine, 0, 3));
	assert_false(answered(machine, 1, &status));
	assert_non_null(machine_restart(machine, NULL));
	machine_disk(machine)->result = 0;
	machine_attach(machine, 1, machine_disk(machine));
	assert_true(answered(machine, 1, &status));
	assert_int_equal(status, 0);
	assert_int_equal(machine_disk(machine)->data[0], 3);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, machine_setup, machine_teardown)
#define TEST_TWO_WORKERS(test)                                                                     \
	cmocka_unit_test_setup_teardown(test, machine_setup_two_workers, machine_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(by_default_errors_are_told),
		TEST(stop_holds_until_the_retry),
		TEST(only_faults_of_the_storage_are_held),
		TEST(giving_up_tells_the_error),
		TEST(a_held_command_keeps_no_buffer),
		TEST(a_reset_drops_what_is_held),
		TEST_TWO_WORKERS(a_reset_drops_what_is_held),
		TEST(a_namespace_can_leave),
		TEST(a_namespace_is_not_used_after_it_left),
		TEST(a_freeze_does_not_wait_for_it),
		TEST(a_successor_executes_it),
		TEST_TWO_WORKERS(a_namespace_can_leave),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
