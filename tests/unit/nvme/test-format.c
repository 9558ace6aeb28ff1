// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

#define DISK_BYTES (65 * MiB) /* two pieces */

static struct machine_disk *large;

static int setup(void **state)
{
	machine_setup(state);
	large = machine_disk_new(DISK_BYTES);
	memset(large->data, 0x5a, DISK_BYTES);
	memset(machine_disk(*state)->data, 0x5a, 8 * MiB);
	machine_attach(*state, 2, large);
	return 0;
}

static int teardown(void **state)
{
	machine_teardown(state);
	machine_disk_free(large);
	return 0;
}

static struct nvme_command format(uint32_t nsid, uint32_t cdw10)
{
	return (struct nvme_command){ .opcode = NVME_ADMIN_FORMAT, .nsid = nsid, .cdw10 = cdw10 };
}

static bool is_all(const struct machine_disk *disk, uint8_t byte)
{
	return disk->data[0] == byte &&
	       memcmp(disk->data, disk->data + 1, disk->info.capacity - 1) == 0;
}

static void one_namespace_is_zeroes(void **state)
{
	struct machine *machine = *state;

	assert_status(machine_execute(machine, 0, format(2, 1 << 9)), 0);
	assert_true(is_all(large, 0));
	assert_int_equal(large->last.op, BLOCK_WRITE_ZEROES);
	assert_int_equal(large->last.flags, BLOCK_FUA);
	assert_int_equal(large->submitted, 2);
	assert_true(is_all(machine_disk(machine), 0x5a));
	assert_status(machine_execute(machine, 0, format(1, 0)), 0);
	assert_true(is_all(machine_disk(machine), 0));
}

static void identify_says_so(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	const struct nvme_identify_controller *controller = machine_at(machine, page);

	assert_status(machine_execute(machine, 0,
				      (struct nvme_command){ .opcode = NVME_ADMIN_IDENTIFY,
							     .prp1 = page,
							     .cdw10 = NVME_CNS_CONTROLLER }),
		      0);
	assert_true(controller->oacs & NVME_OACS_FORMAT);
	assert_int_equal(controller->fna, NVME_FNA_NOT_ALL);
}

static void formats_are_judged(void **state)
{
	struct machine *machine = *state;

	for (uint32_t lbaf = 1; lbaf < 16; lbaf++)
		assert_status(machine_execute(machine, 0, format(2, lbaf)), NVME_INVALID_FORMAT);
	assert_status(machine_execute(machine, 0, format(2, 1 << 12)), NVME_INVALID_FORMAT);
	assert_status(machine_execute(machine, 0, format(2, 1 << 5)), NVME_INVALID_FORMAT);
	for (uint32_t erase = 2; erase < 8; erase++) /* with keys, and unknown */
		assert_status(machine_execute(machine, 0, format(2, erase << 9)),
			      NVME_INVALID_FIELD);
	assert_status(machine_execute(machine, 0, format(3, 0)), NVME_INVALID_FIELD);
	assert_status(machine_execute(machine, 0, format(NVME_NSID_ALL, 0)), NVME_INVALID_FIELD);
	assert_status(machine_execute(machine, 0, format(0, 0)), NVME_INVALID_NAMESPACE);
	assert_int_equal(large->submitted, 0);
	large->result = -EIO;
	assert_status(machine_execute(machine, 0, format(2, 0)), NVME_WRITE_FAULT);
	assert_int_equal(large->submitted, 1);
}

static void frozen(void *opaque)
{
	*(bool *)opaque = true;
}

/* A freeze waits for the piece in hand, and the rest for its end. */
static void a_freeze_comes_between(void **state)
{
	struct machine *machine = *state;
	struct machine_completion completion;
	bool done = false;

	large->hold = true;
	machine_submit(machine, 0, format(2, 0));
	machine_run(machine);
	nvme_controller_freeze(machine->ctrl, frozen, &done);
	machine_run(machine);
	assert_false(done);
	machine_release(machine, large);
	machine_run(machine);
	assert_true(done);
	assert_int_equal(large->count, 0);
	large->hold = false;
	nvme_controller_thaw(machine->ctrl);
	machine_run(machine);
	assert_true(machine_take(machine, 0, &completion));
	assert_status(completion, 0);
	assert_true(is_all(large, 0));
}

/* Nor does who detaches wait for the rest of it, which may be hours. */
static void a_detached_namespace_ends_it(void **state)
{
	struct machine *machine = *state;
	struct machine_completion completion;
	bool left = false;

	large->hold = true;
	machine_submit(machine, 0, format(2, 0));
	machine_run(machine);
	assert_int_equal(nvme_controller_detach(machine->ctrl, 2, frozen, &left), 0);
	machine_run(machine);
	assert_false(left);
	machine_release(machine, large);
	machine_run(machine);
	assert_true(left);
	assert_int_equal(large->count, 0);
	assert_true(machine_take(machine, 0, &completion));
	assert_status(completion, NVME_INVALID_NAMESPACE);
	large->hold = false;
}

static void a_reset_ends_it(void **state)
{
	struct machine *machine = *state;

	large->hold = true;
	machine_submit(machine, 0, format(2, 0));
	machine_run(machine);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	assert_int_not_equal(machine_read32(machine, NVME_REG_CSTS), 0);
	machine_release(machine, large);
	machine_run(machine);
	assert_int_equal(large->count, 0);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
	large->hold = false;
}

/* It is run again from the beginning. */
static void a_successor_goes_on(void **state)
{
	struct machine *machine = *state;
	struct machine_completion completion;

	large->drop = true;
	machine_submit(machine, 0, format(2, 0));
	machine_run(machine);
	large->drop = false;
	machine_restart(machine, NULL);
	machine_attach(machine, 1, machine_disk(machine));
	machine_attach(machine, 2, large);
	machine_run(machine);
	assert_true(machine_take(machine, 0, &completion));
	assert_status(completion, 0);
	assert_true(is_all(large, 0));
}

/* However large it is: this backend ends each piece inside submit, as one in memory does. */
static void any_number_of_pieces(void **state)
{
	struct machine *machine = *state;
	struct machine_completion completion;

	free(large->data);
	large->data = NULL;
	large->info.capacity = 4 * GiB * KiB;
	assert_int_equal(nvme_controller_resized(machine->ctrl, 2), 0);
	machine_submit(machine, 0, format(2, 0));
	machine_run_worker(machine, 0);
	machine_run_worker(machine, 0);
	machine_submit(machine, 0, format(3, 0));
	machine_run(machine);
	/* Who comes later does not wait for the rest of it. */
	assert_true(machine_take(machine, 0, &completion));
	assert_status(completion, NVME_INVALID_FIELD);
	assert_true(machine_take(machine, 0, &completion));
	assert_status(completion, 0);
	assert_int_equal(large->submitted, large->info.capacity / (64 * MiB));
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		test(one_namespace_is_zeroes),
		test(identify_says_so),
		test(formats_are_judged),
		test(a_freeze_comes_between),
		test(a_reset_ends_it),
		test(a_successor_goes_on),
		test(a_detached_namespace_ends_it),
		test(any_number_of_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
