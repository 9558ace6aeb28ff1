// SPDX-License-Identifier: LGPL-2.1-or-later
#include <sys/syscall.h>
#include <time.h>

#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

#define MS 1000000ULL

static uint64_t now_ns;

/* The C library's, for the controller: time passes when a test says so. */
int clock_gettime(clockid_t clock, struct timespec *ret)
{
	if (clock != CLOCK_MONOTONIC)
		return syscall(SYS_clock_gettime, clock, ret);
	ret->tv_sec = now_ns / 1000000000;
	ret->tv_nsec = now_ns % 1000000000;
	return 0;
}

static uint64_t page;

static int setup(void **state)
{
	now_ns = 5000 * MS;
	machine_setup(state);
	page = machine_alloc(*state, 1);
	return 0;
}

static void set_feature(struct machine *machine, uint8_t id, uint32_t value)
{
	assert_status(machine_execute(machine, 0,
				      (struct nvme_command){ .opcode = NVME_ADMIN_SET_FEATURE,
							     .cdw10 = id,
							     .cdw11 = value }),
		      0);
}

/* So many, and so many units of 100 microseconds. */
static void coalesce(struct machine *machine, unsigned completions, unsigned time)
{
	set_feature(machine, NVME_FEATURE_COALESCING, (completions - 1) | time << 8);
}

static void read_blocks(struct machine *machine, unsigned queue, unsigned count)
{
	struct machine_completion completion;

	for (unsigned i = 0; i < count; i++) {
		machine_submit(machine, queue, machine_rw(NVME_IO_READ, 0, 1, page, 0));
		machine_run(machine);
		assert_true(machine_take(machine, queue, &completion));
	}
}

static void off_at_first(void **state)
{
	struct machine *machine = *state;

	read_blocks(machine, 1, 3);
	assert_int_equal(machine->interrupts[1], 3);
	/* A threshold without a time is none. */
	coalesce(machine, 10, 0);
	read_blocks(machine, 1, 3);
	assert_int_equal(machine->interrupts[1], 6);
	assert_int_equal(nvme_worker_wait(machine->workers[0]), -1);
}

static void until_there_are_enough(void **state)
{
	struct machine *machine = *state;

	coalesce(machine, 4, 255);
	for (unsigned i = 1; i <= 3; i++) {
		read_blocks(machine, 1, 3);
		assert_int_equal(machine->interrupts[1], i - 1);
		read_blocks(machine, 1, 1);
		assert_int_equal(machine->interrupts[1], i);
		assert_int_equal(nvme_worker_wait(machine->workers[0]), -1);
	}
}

static void until_the_time_is_over(void **state)
{
	struct machine *machine = *state;

	coalesce(machine, 256, 20);
	for (unsigned i = 1; i <= 3; i++) {
		read_blocks(machine, 1, 1);
		now_ns += MS;
		read_blocks(machine, 1, 1); /* the first counts */
		assert_int_equal(nvme_worker_wait(machine->workers[0]), MS);
		now_ns += MS - 1;
		machine_run(machine);
		assert_int_equal(machine->interrupts[1], i - 1);
		now_ns++;
		assert_int_equal(nvme_worker_wait(machine->workers[0]), 0);
		machine_run(machine);
		assert_int_equal(machine->interrupts[1], i);
		assert_int_equal(nvme_worker_wait(machine->workers[0]), -1);
	}
}

static void each_queue_for_itself(void **state)
{
	struct machine *machine = *state;
	unsigned admin;

	coalesce(machine, 2, 20);
	read_blocks(machine, 1, 1);
	now_ns += MS;
	read_blocks(machine, 2, 1);
	assert_int_equal(machine->interrupts[1] + machine->interrupts[2], 0);
	assert_int_equal(nvme_worker_wait(machine->workers[0]), MS);
	read_blocks(machine, 2, 1);
	assert_int_equal(machine->interrupts[1], 0);
	assert_int_equal(machine->interrupts[2], 1);
	/* The admin queue's are not put off, nor those of a vector that is left out. */
	admin = machine->interrupts[0];
	set_feature(machine, NVME_FEATURE_VECTOR, 2 | 1 << 16);
	assert_int_equal(machine->interrupts[0], admin + 1);
	read_blocks(machine, 2, 2);
	assert_int_equal(machine->interrupts[2], 3);
	assert_int_equal(machine->interrupts[1], 0);
	/* What waits is told when it need not wait any more. */
	coalesce(machine, 1, 0);
	assert_int_equal(machine->interrupts[1], 1);
}

static void frozen(void *opaque)
{
	*(bool *)opaque = true;
}

/* A machine at rest is not woken up; then everything is told at once. */
static void not_at_rest(void **state)
{
	struct machine *machine = *state;
	bool done = false;

	coalesce(machine, 100, 255);
	read_blocks(machine, 1, 1);
	nvme_controller_freeze(machine->ctrl, frozen, &done);
	machine_run(machine);
	assert_true(done);
	now_ns += 1000 * MS;
	assert_int_equal(nvme_worker_wait(machine->workers[0]), -1);
	assert_int_equal(machine->interrupts[1], 0);
	nvme_controller_thaw(machine->ctrl);
	machine_run(machine);
	assert_int_equal(machine->interrupts[1], 1);
	assert_int_equal(machine->interrupts[2], 1);
	read_blocks(machine, 1, 1);
	assert_int_equal(machine->interrupts[1], 1);
}

static void a_successor_tells_at_once(void **state)
{
	struct machine *machine = *state;

	coalesce(machine, 100, 255);
	read_blocks(machine, 1, 1);
	machine_restart(machine, NULL);
	machine_attach(machine, 1, machine_disk(machine));
	machine_run(machine);
	assert_int_equal(machine->interrupts[1], 1);
	read_blocks(machine, 1, 99);
	assert_int_equal(machine->interrupts[1], 1);
	read_blocks(machine, 1, 1);
	assert_int_equal(machine->interrupts[1], 2);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, setup, machine_teardown)
	const struct CMUnitTest tests[] = {
		test(off_at_first),
		test(until_there_are_enough),
		test(until_the_time_is_over),
		test(each_queue_for_itself),
		test(not_at_rest),
		test(a_successor_tells_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
