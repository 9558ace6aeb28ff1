// SPDX-License-Identifier: LGPL-2.1-or-later
/* The Keep Alive timer: who is given up when, and whose silence is excused. */
#include <time.h>

#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

#define MS     1000000ULL
#define SECOND (1000 * MS)

/* Time stands still but for us. */
static uint64_t now;
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
	*ret = (struct timespec){ .tv_sec = now / SECOND, .tv_nsec = now % SECOND };
	return 0;
}

static int setup(void **state)
{
	now = 1000 * SECOND;
	return machine_setup_two_workers(state);
}

static struct nvme_command set_timeout(uint32_t ms)
{
	return (struct nvme_command){ .opcode = NVME_ADMIN_SET_FEATURE,
				      .cdw10 = NVME_FEATURE_KEEP_ALIVE,
				      .cdw11 = ms };
}

static struct nvme_command get_timeout(unsigned select)
{
	return (struct nvme_command){ .opcode = NVME_ADMIN_GET_FEATURE,
				      .cdw10 = NVME_FEATURE_KEEP_ALIVE | select << 8 };
}

static const struct nvme_command keep_alive = { .opcode = NVME_ADMIN_KEEP_ALIVE };

/* With a timer of 2 s that has just begun. */
static struct machine *with_timer(void **state)
{
	struct machine *machine = *state;

	assert_status(machine_execute(machine, 0, set_timeout(2000)), 0);
	return machine;
}

static void pass(struct machine *machine, uint64_t ns)
{
	now += ns;
	machine_run(machine);
}

static uint32_t csts(struct machine *machine)
{
	return machine_read32(machine, NVME_REG_CSTS);
}

static bool failed(struct machine *machine)
{
	return csts(machine) & NVME_CSTS_CFS;
}

static int64_t wait(struct machine *machine)
{
	return nvme_worker_wait(machine->workers[0]);
}

/* Silent for so long that the question comes, and the machine's answer. */
static void be_silent(struct machine *machine, uint64_t ran_ms)
{
	unsigned silences = machine->silences;

	pass(machine, 2 * SECOND);
	assert_int_equal(machine->silences, silences + 1);
	assert_false(failed(machine));
	nvme_controller_guest_ran(machine->ctrl, ran_ms);
	machine_run(machine);
}

static void nobody_counts_by_default(void **state)
{
	struct machine *machine = *state;

	assert_int_equal(wait(machine), -1);
	pass(machine, 1000000 * SECOND);
	assert_int_equal(machine->silences, 0);
	/* The command is no offence, and no beginning. */
	assert_status(machine_execute(machine, 0, keep_alive), 0);
	assert_int_equal(wait(machine), -1);
	with_timer(state);
	assert_int_equal(wait(machine), 2 * SECOND);
	assert_int_equal(nvme_worker_wait(machine->workers[1]), -1);
	assert_status(machine_execute(machine, 0, set_timeout(0)), 0);
	assert_int_equal(wait(machine), -1);
	pass(machine, 1000000 * SECOND);
	assert_int_equal(machine->silences, 0);
}

static void the_timeout_is_rounded_up(void **state)
{
	static const struct {
		uint32_t set, get;
		nvme_status status;
	} cases[] = {
		{ 1, 1000, 0 },
		{ 1000, 1000, 0 },
		{ 1001, 2000, 0 },
		{ 4294967000, 4294967000, 0 },
		{ 4294967001, 4294967000, NVME_KEEP_ALIVE_INVALID },
		{ UINT32_MAX, 4294967000, NVME_KEEP_ALIVE_INVALID },
		{ 0, 0, 0 },
	};
	struct machine *machine = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_status(machine_execute(machine, 0, set_timeout(cases[i].set)),
			      cases[i].status);
		assert_int_equal(machine_execute(machine, 0, get_timeout(0)).result, cases[i].get);
		assert_int_equal(machine_execute(machine, 0, get_timeout(1)).result, 0);
	}
}

static void who_is_silent_is_given_up(void **state)
{
	struct machine *machine = with_timer(state);
	uint64_t page = machine_alloc(machine, 1);
	struct nvme_error_entry *entry = machine_at(machine, page);
	struct machine_completion completion;

	pass(machine, 2 * SECOND - 1);
	assert_int_equal(machine->silences, 0);
	pass(machine, 1);
	assert_int_equal(machine->silences, 1);
	/* Nobody looks while the answer is waited for. */
	assert_int_equal(wait(machine), -1);
	assert_false(failed(machine));
	nvme_controller_guest_ran(machine->ctrl, 2000);
	machine_run(machine);
	assert_int_equal(csts(machine), NVME_CSTS_RDY | NVME_CSTS_CFS);
	assert_int_equal(wait(machine), -1);

	/* Nothing is processed any more. */
	machine_submit(machine, 1, machine_rw(NVME_IO_READ, 0, 8, page, 0));
	machine_submit(machine, 0, keep_alive);
	machine_run(machine);
	assert_false(machine_take(machine, 1, &completion));
	assert_false(machine_take(machine, 0, &completion));
	assert_int_equal(machine_disk(machine)->submitted, 0);

	/* But for a reset, after which nobody counts. */
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	assert_int_equal(csts(machine), 0);
	machine_enable(machine);
	assert_int_equal(machine_execute(machine, 0, get_timeout(0)).result, 0);
	assert_status(machine_execute(machine, 0,
				      machine_get_log(NVME_LOG_ERROR, 64, 0, false, page)),
		      0);
	assert_int_equal(entry->status, NVME_KEEP_ALIVE_EXPIRED << 1);
	assert_int_equal(entry->sqid, NVME_ERROR_NO_COMMAND);
	assert_int_equal(entry->cid, NVME_ERROR_NO_COMMAND);
	pass(machine, 1000000 * SECOND);
	assert_int_equal(machine->silences, 1);
}

/* What is under way when that happens ends, and is not told. */
static void nothing_is_posted_any_more(void **state)
{
	struct machine *machine = with_timer(state);
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion;

	disk->hold = true;
	machine_submit(machine, 1, machine_rw(NVME_IO_READ, 0, 8, page, 0));
	machine_run(machine);
	pass(machine, 2 * SECOND);
	be_silent(machine, 2000);
	assert_true(failed(machine));
	machine_release(machine, disk);
	machine_run(machine);
	assert_false(machine_take(machine, 1, &completion));
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	assert_int_equal(csts(machine), 0);
}

static void any_command_is_enough(void **state)
{
	struct machine *machine = with_timer(state);
	uint64_t page = machine_alloc(machine, 1);

	for (unsigned i = 0; i < 10; i++) {
		now += SECOND;
		if (i % 2)
			assert_status(machine_execute(machine, 0, keep_alive), 0);
		else /* of the other worker's queue */
			assert_status(machine_execute(machine, 2,
						      machine_rw(NVME_IO_READ, 0, 8, page, 0)),
				      0);
		pass(machine, SECOND);
	}
	assert_int_equal(machine->silences, 0);
	/* What a queue had goes with it. */
	assert_status(machine_execute(machine, 0,
				      (struct nvme_command){ .opcode = NVME_ADMIN_DELETE_SQ,
							     .cdw10 = 2 }),
		      0);
	pass(machine, 2 * SECOND);
	assert_int_equal(machine->silences, 0);
	be_silent(machine, 2000);
	assert_true(failed(machine));
}

static void who_was_stopped_is_excused(void **state)
{
	struct machine *machine = with_timer(state);

	for (unsigned i = 0; i < 5; i++)
		be_silent(machine, i % 2 ? 1999 : 0);
	assert_false(failed(machine));
	/* What the guest says before the last look counts. */
	pass(machine, 2 * SECOND);
	machine_submit(machine, 0, keep_alive);
	nvme_controller_guest_ran(machine->ctrl, 2000);
	machine_run(machine);
	assert_false(failed(machine));
	/* Nobody has asked. */
	nvme_controller_guest_ran(machine->ctrl, UINT64_MAX);
	machine_run(machine);
	assert_false(failed(machine));
	be_silent(machine, 2000);
	assert_true(failed(machine));
}

static void who_cannot_speak_is_excused(void **state)
{
	struct machine *machine = with_timer(state);

	/* Nothing is fetched for want of room. */
	machine->no_room = true;
	for (unsigned i = 0; i < 10; i++)
		pass(machine, 2 * SECOND);
	machine->no_room = false;
	nvme_controller_set_bus_master(machine->ctrl, false);
	for (unsigned i = 0; i < 10; i++)
		pass(machine, 2 * SECOND);
	assert_int_equal(wait(machine), -1);
	nvme_controller_set_bus_master(machine->ctrl, true);
	pass(machine, 0);
	pass(machine, 2 * SECOND - 1);
	assert_int_equal(machine->silences, 0);
	/* Who shuts down has said goodbye. */
	machine_write32(machine, NVME_REG_CC, machine_read32(machine, NVME_REG_CC) | 1 << 14);
	pass(machine, 20 * SECOND);
	assert_int_equal(machine->silences, 0);
	assert_int_equal(wait(machine), -1);
}

static void count_call(void *opaque)
{
	(*(unsigned *)opaque)++;
}

static void frozen_time_does_not_count(void **state)
{
	struct machine *machine = with_timer(state);
	unsigned frozen = 0;

	/* Also when the question was under way. */
	pass(machine, 2 * SECOND);
	assert_int_equal(machine->silences, 1);
	nvme_controller_freeze(machine->ctrl, count_call, &frozen);
	machine_run(machine);
	assert_int_equal(frozen, 1);
	nvme_controller_guest_ran(machine->ctrl, UINT64_MAX);
	pass(machine, 1000 * SECOND);
	assert_int_equal(wait(machine), -1);
	nvme_controller_thaw(machine->ctrl);
	machine_run(machine);
	assert_int_equal(wait(machine), 2 * SECOND);
	pass(machine, 2 * SECOND - 1);
	assert_int_equal(machine->silences, 1);
	assert_false(failed(machine));
	pass(machine, 1);
	assert_int_equal(machine->silences, 2);
}

static void a_successor_begins_anew(void **state)
{
	struct machine *machine = with_timer(state);
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion;

	pass(machine, 2 * SECOND - 1);
	assert_non_null(machine_restart(machine, NULL));
	pass(machine, SECOND);
	machine_attach(machine, 1, machine_disk(machine));
	machine_run(machine);
	assert_int_equal(wait(machine), 2 * SECOND);
	be_silent(machine, 2000);
	assert_true(failed(machine));

	/* And one of a controller that has failed goes on with that. */
	assert_non_null(machine_restart(machine, NULL));
	machine_attach(machine, 1, machine_disk(machine));
	assert_true(failed(machine));
	machine_submit(machine, 1, machine_rw(NVME_IO_READ, 0, 8, page, 0));
	machine_run(machine);
	assert_false(machine_take(machine, 1, &completion));
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	assert_int_equal(csts(machine), 0);
	machine_enable(machine);
	assert_status(machine_execute(machine, 0, keep_alive), 0);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, setup, machine_teardown)
	const struct CMUnitTest tests[] = {
		test(nobody_counts_by_default),	   test(the_timeout_is_rounded_up),
		test(who_is_silent_is_given_up),   test(nothing_is_posted_any_more),
		test(any_command_is_enough),	   test(who_was_stopped_is_excused),
		test(who_cannot_speak_is_excused), test(frozen_time_does_not_count),
		test(a_successor_begins_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
