// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

#define DISK_BYTES (65 * MiB) /* two pieces */

static struct machine_disk *large;

static int set_up_disks(void **state)
{
	large = machine_disk_new(DISK_BYTES);
	memset(large->data, 0x5a, DISK_BYTES);
	memset(machine_disk(*state)->data, 0x5a, 8 * MiB);
	machine_attach(*state, 2, large);
	return 0;
}

static int setup(void **state)
{
	machine_setup(state);
	return set_up_disks(state);
}

static int setup_two_workers(void **state)
{
	machine_setup_two_workers(state);
	return set_up_disks(state);
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

static struct nvme_command on_large(struct nvme_command command)
{
	command.nsid = 2;
	return command;
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

	for (uint32_t lbaf = 2; lbaf < 16; lbaf++)
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

static void die_while_formatting(struct machine *machine)
{
	large->drop = true;
	machine_submit(machine, 0, format(2, 0));
	machine_run(machine);
	large->drop = false;
	machine_restart(machine, NULL);
	machine_attach(machine, 1, machine_disk(machine));
	machine_attach(machine, 2, large);
}

/* It is run again from the beginning. */
static void a_successor_goes_on(void **state)
{
	struct machine *machine = *state;
	struct machine_completion completion;

	die_while_formatting(machine);
	machine_run(machine);
	assert_true(machine_take(machine, 0, &completion));
	assert_status(completion, 0);
	assert_true(is_all(large, 0));
}

static unsigned progress(struct machine *machine, uint64_t page)
{
	const struct nvme_identify_namespace *namespace = machine_at(machine, page);
	const struct nvme_identify_independent *independent = machine_at(machine, page);
	struct nvme_command identify = {
		.opcode = NVME_ADMIN_IDENTIFY, .nsid = 2, .prp1 = page, .cdw10 = NVME_CNS_NAMESPACE
	};
	unsigned fpi;

	assert_status(machine_execute(machine, 0, identify), 0);
	fpi = namespace->fpi;
	identify.cdw10 = NVME_CNS_INDEPENDENT_NAMESPACE;
	assert_status(machine_execute(machine, 0, identify), 0);
	assert_int_equal(independent->fpi, fpi);
	assert_true(fpi & NVME_FPI_SUPPORTED);
	return fpi & ~NVME_FPI_SUPPORTED;
}

static void expect_refused(struct machine *machine, unsigned queue, struct nvme_command command)
{
	struct machine_completion completion = machine_execute(machine, queue, command);

	assert_status(completion, NVME_FORMAT_IN_PROGRESS);
	assert_false(completion.dnr);
}

/* Every command for the namespace, and none for another. */
static void others_are_refused_meanwhile(void **state)
{
	static const uint8_t opcodes[] = { NVME_IO_FLUSH,	 NVME_IO_WRITE,
					   NVME_IO_READ,	 NVME_IO_COMPARE,
					   NVME_IO_WRITE_ZEROES, NVME_IO_DATASET_MANAGEMENT,
					   NVME_IO_VERIFY,	 NVME_IO_COPY };
	struct machine *machine = *state;
	struct machine_completion completion;
	uint64_t page = machine_alloc(machine, 1);
	struct nvme_command compare = on_large(machine_rw(NVME_IO_COMPARE, 0, 1, page, 0)),
			    write = on_large(machine_rw(NVME_IO_WRITE, 0, 1, page, 0));
	uint16_t cid;

	assert_int_equal(progress(machine, page), 0);
	large->hold = true;
	cid = machine_submit(machine, 0, format(2, 0));
	machine_run(machine);
	assert_int_equal(progress(machine, page), 100);
	for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++)
		expect_refused(machine, 1, on_large(machine_rw(opcodes[i], 0, 1, page, 0)));
	expect_refused(machine, 0, format(2, 0));
	compare.flags = NVME_FUSE_FIRST;
	write.flags = NVME_FUSE_SECOND;
	machine_put(machine, 1, compare);
	machine_submit(machine, 1, write);
	machine_run(machine);
	assert_true(machine_take(machine, 1, &completion));
	assert_status(completion, NVME_FORMAT_IN_PROGRESS);
	assert_true(machine_take(machine, 1, &completion));
	assert_status(completion, NVME_FAILED_FUSED);
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_READ, 0, 1, page, 0)), 0);
	assert_int_equal(large->count, 1);

	machine_release(machine, large);
	machine_run(machine);
	assert_int_equal(progress(machine, page), 2);
	large->hold = false;
	machine_release(machine, large);
	machine_run(machine);
	assert_true(machine_take(machine, 0, &completion));
	assert_int_equal(completion.cid, cid);
	assert_int_equal(progress(machine, page), 0);
	assert_status(
		machine_execute(machine, 1, on_large(machine_rw(NVME_IO_WRITE, 0, 1, page, 0))), 0);
}

/* What it let in now, the format would erase when it begins again. */
static void a_successor_refuses_at_once(void **state)
{
	struct machine *machine = *state;
	struct machine_completion completion;
	uint64_t page = machine_alloc(machine, 1);

	die_while_formatting(machine);
	machine_submit(machine, 2, on_large(machine_rw(NVME_IO_WRITE, 0, 1, page, 0)));
	for (unsigned i = 0; i < 4; i++)
		machine_run_worker(machine, 1);
	machine_run(machine);
	assert_true(machine_take(machine, 2, &completion));
	assert_status(completion, NVME_FORMAT_IN_PROGRESS);
	assert_true(machine_take(machine, 0, &completion));
	assert_status(completion, 0);
	assert_true(is_all(large, 0));
}

static void a_reset_of_a_successor_ends_it(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);

	die_while_formatting(machine);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	machine_enable(machine);
	machine_create_queue(machine, 1, MACHINE_ENTRIES);
	assert_status(
		machine_execute(machine, 1, on_large(machine_rw(NVME_IO_READ, 0, 1, page, 0))), 0);
	assert_int_equal(progress(machine, page), 0);
}

static void submit_pair(struct machine *machine, uint64_t lba, uint64_t old, uint64_t new)
{
	struct nvme_command compare = on_large(machine_rw(NVME_IO_COMPARE, lba, 1, old, 0)),
			    write = on_large(machine_rw(NVME_IO_WRITE, lba, 1, new, 0));

	compare.flags = NVME_FUSE_FIRST;
	write.flags = NVME_FUSE_SECOND;
	machine_put(machine, 2, compare);
	machine_submit(machine, 2, write);
}

/* It was there before, and with it the namespace would wait: it goes between two pieces. */
static void a_pair_does_not_wait_for_the_rest(void **state)
{
	struct machine *machine = *state;
	struct machine_completion completion;
	uint64_t old = machine_alloc(machine, 1), new = machine_alloc(machine, 1);

	memset(machine_at(machine, old), 0x5a, 512);
	memset(machine_at(machine, new), 0x11, 512);
	large->hold = true;
	submit_pair(machine, 0, old, new);
	machine_run(machine);
	submit_pair(machine, 65 * MiB / 512 - 1, old, new);
	machine_submit(machine, 0, format(2, 0));
	machine_run(machine);
	machine_release(machine, large);
	machine_run(machine);
	assert_int_equal(large->count, 1);
	assert_int_equal(large->last.op, BLOCK_WRITE);
	machine_release(machine, large);
	/* The format sees first that the namespace is free. */
	machine_run_worker(machine, 0);
	assert_int_equal(large->last.op, BLOCK_WRITE_ZEROES);
	machine_run(machine);
	assert_int_equal(large->count, 1);
	machine_release(machine, large);
	machine_run(machine);
	assert_int_equal(large->last.op, BLOCK_READ);
	large->hold = false;
	machine_release(machine, large);
	machine_run(machine);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(machine_take(machine, 2, &completion));
		assert_status(completion, 0);
	}
	assert_true(machine_take(machine, 0, &completion));
	assert_status(completion, 0);
	assert_true(is_all(large, 0));
	assert_int_equal(large->last.offset, 64 * MiB);
}

/*
 * Another controller with the same image, in this guest or another one
 */
static uint8_t page_of_both[NVME_SHARE_BYTES] __attribute__((aligned(8)));
static bool dead[3]; /* by key: and nobody comes after it */

static bool lock(struct nvme_share *share)
{
	return true;
}

static void ignore(struct nvme_share *share)
{
}

static bool is_alive(struct nvme_share *share, uint64_t key)
{
	return (key == 1 || key == 2) && !dead[key];
}

static struct nvme_share first_share = { page_of_both, 1, lock, ignore, ignore, is_alive },
			 second_share = { page_of_both, 2, lock, ignore, ignore, is_alive };

static void attach_shared(struct machine *machine, struct nvme_share *share)
{
	const struct nvme_namespace_config config = { .nsid = 3,
						      .shareable = true,
						      .share = share };

	assert_int_equal(
		nvme_controller_attach(machine->ctrl, &config, (struct block *)large, NULL), 0);
}

static struct machine *another(struct machine *machine)
{
	struct machine *other = machine_new(1);

	memset(page_of_both, 0, sizeof(page_of_both));
	dead[1] = dead[2] = false;
	assert_non_null(machine_restart(other, NULL));
	machine_enable(other);
	machine_create_queue(other, 1, MACHINE_ENTRIES);
	assert_int_equal(nvme_controller_detach(machine->ctrl, 2, frozen, &(bool){ false }), 0);
	machine_run(machine);
	attach_shared(machine, &first_share);
	attach_shared(other, &second_share);
	return other;
}

static struct nvme_command write_of(struct machine *machine, uint64_t page)
{
	struct nvme_command command = machine_rw(NVME_IO_WRITE, 0, 1, page, 0);

	memset(machine_at(machine, page), 0x77, 512);
	command.nsid = 3;
	return command;
}

static unsigned progress_of_shared(struct machine *machine, uint64_t page)
{
	const struct nvme_identify_namespace *namespace = machine_at(machine, page);
	const struct nvme_command identify = {
		.opcode = NVME_ADMIN_IDENTIFY, .nsid = 3, .prp1 = page, .cdw10 = NVME_CNS_NAMESPACE
	};

	assert_status(machine_execute(machine, 0, identify), 0);
	return namespace->fpi & ~NVME_FPI_SUPPORTED;
}

static void the_other_path_is_refused_too(void **state)
{
	struct machine *machine = *state, *other = another(machine);
	struct machine_completion completion;
	uint64_t page = machine_alloc(other, 1);
	struct nvme_command write = write_of(other, page);

	assert_status(machine_execute(other, 1, write), 0);
	large->hold = true;
	machine_submit(machine, 0, format(3, 0));
	machine_run(machine);
	expect_refused(other, 1, write);
	expect_refused(other, 0, format(3, 0));
	assert_int_equal(progress_of_shared(other, page), 100);
	machine_release(machine, large);
	machine_run(machine);
	assert_int_equal(progress_of_shared(other, page), 2);
	expect_refused(other, 1, write);
	large->hold = false;
	machine_release(machine, large);
	machine_run(machine);
	assert_true(machine_take(machine, 0, &completion));
	assert_status(completion, 0);
	assert_int_equal(progress_of_shared(other, page), 0);
	assert_status(machine_execute(other, 1, write_of(other, page)), 0);
	assert_status(machine_execute(other, 0, format(3, 0)), 0);
	assert_true(is_all(large, 0));
	machine_free(other);
}

static void start_and_die(struct machine *machine)
{
	large->drop = true;
	machine_submit(machine, 0, format(3, 0));
	machine_run(machine);
	large->drop = false;
}

static void come_back(struct machine *machine)
{
	machine_restart(machine, NULL);
	dead[1] = false;
	machine_attach(machine, 1, machine_disk(machine));
	attach_shared(machine, &first_share);
	machine_run(machine);
}

/* Who comes after it formats on, and nobody writes between. Who has let somebody in does not. */
static void the_other_path_waits_for_a_successor(void **state)
{
	struct machine *machine = *state, *other = another(machine);
	struct machine_completion completion;
	uint64_t page = machine_alloc(other, 1);

	start_and_die(machine);
	expect_refused(other, 1, write_of(other, page));
	come_back(machine);
	assert_true(machine_take(machine, 0, &completion));
	assert_status(completion, 0);
	assert_true(is_all(large, 0));

	start_and_die(machine);
	dead[1] = true;
	assert_int_equal(progress_of_shared(other, page), 0);
	assert_status(machine_execute(other, 1, write_of(other, page)), 0);
	come_back(machine);
	assert_true(machine_take(machine, 0, &completion));
	assert_status(completion, NVME_INTERNAL_ERROR);
	assert_int_equal(large->data[0], 0x77);
	machine_free(other);
}

/* Nor does a reset, or a guest that is there no more, leave it closed. */
static void a_format_that_ends_lets_others_in(void **state)
{
	struct machine *machine = *state, *other = another(machine);
	uint64_t page = machine_alloc(other, 1);

	large->hold = true;
	machine_submit(machine, 0, format(3, 0));
	machine_run(machine);
	expect_refused(other, 1, write_of(other, page));
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	large->hold = false;
	machine_release(machine, large);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
	assert_status(machine_execute(other, 1, write_of(other, page)), 0);

	machine_enable(machine);
	start_and_die(machine);
	dead[1] = true;
	assert_status(machine_execute(other, 0, format(3, 0)), 0);
	machine_free(other);
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
		test(others_are_refused_meanwhile),
		cmocka_unit_test_setup_teardown(a_successor_refuses_at_once, setup_two_workers,
						teardown),
		cmocka_unit_test_setup_teardown(a_pair_does_not_wait_for_the_rest,
						setup_two_workers, teardown),
		test(a_reset_of_a_successor_ends_it),
		test(any_number_of_pieces),
		test(the_other_path_is_refused_too),
		test(the_other_path_waits_for_a_successor),
		test(a_format_that_ends_lets_others_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
