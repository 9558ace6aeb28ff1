// SPDX-License-Identifier: LGPL-2.1-or-later
/* Limits of a namespace: how much goes through, and what becomes of those who wait. */
#include "nvme/throttle.h"

#include <errno.h>
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

/* How many of those that always want to go do so from @from to @to. */
static unsigned goes(struct nvme_throttle *throttle, bool write, uint64_t bytes, uint64_t from,
		     uint64_t to)
{
	unsigned count = 0;
	uint64_t wait;

	while (from < to) {
		wait = nvme_throttle_take(throttle, write, bytes, from);
		count += !wait;
		from += wait;
	}
	return count;
}

static struct nvme_throttle limited(enum nvme_limit limit, uint64_t rate, uint64_t max)
{
	struct nvme_throttle throttle;
	struct nvme_limits limits = { 0 };

	limits.limit[limit].rate = rate;
	limits.limit[limit].max = max;
	nvme_throttle_set(&throttle, &limits);
	return throttle;
}

/* The rate, and the tenth of a second that may come at once. */
static void the_rate_is_kept(void **state)
{
	struct nvme_throttle throttle = limited(NVME_LIMIT_TOTAL_COMMANDS, 1000, 0);

	assert_true(throttle.on);
	assert_in_range(goes(&throttle, false, 512, SECOND, 2 * SECOND), 1100, 1101);
	assert_in_range(goes(&throttle, true, 512, 2 * SECOND, 4 * SECOND), 1999, 2001);
	/* What is not used is not saved. */
	assert_in_range(goes(&throttle, true, 512, 50 * SECOND, 51 * SECOND), 1099, 1101);
	throttle = limited(NVME_LIMIT_READ_BYTES, 10 * MiB, 0);
	assert_in_range(goes(&throttle, false, 64 * KiB, SECOND, 2 * SECOND), 176, 177);
	throttle = limited(NVME_LIMIT_READ_BYTES, 0, 0);
	assert_false(throttle.on);
}

static void a_burst_has_its_rate_and_ends(void **state)
{
	struct nvme_throttle throttle = limited(NVME_LIMIT_WRITE_COMMANDS, 100, 1000);

	/* A bucket of 1000 that leaks 100 a second is full after 1.1 s at 1000. */
	assert_in_range(goes(&throttle, true, 512, SECOND, SECOND + 500 * MS), 590, 605);
	assert_in_range(goes(&throttle, true, 512, SECOND + 500 * MS, 3 * SECOND), 590, 620);
	assert_in_range(goes(&throttle, true, 512, 3 * SECOND, 4 * SECOND), 99, 101);
}

static void each_limit_has_its_direction(void **state)
{
	struct nvme_throttle throttle = limited(NVME_LIMIT_READ_COMMANDS, 10, 0);

	assert_in_range(goes(&throttle, false, 512, SECOND, 2 * SECOND), 11, 12);
	for (unsigned i = 0; i < 10000; i++)
		assert_int_equal(nvme_throttle_take(&throttle, true, MiB, 2 * SECOND), 0);
	throttle = limited(NVME_LIMIT_WRITE_BYTES, KiB, 0);
	assert_int_equal(nvme_throttle_take(&throttle, true, MiB, SECOND), 0);
	assert_int_equal(nvme_throttle_take(&throttle, false, MiB, SECOND), 0);
	assert_in_range(nvme_throttle_take(&throttle, true, 1, SECOND), 1023 * SECOND,
			1024 * SECOND);
	/* What had to wait is not counted. */
	assert_in_range(nvme_throttle_take(&throttle, true, 1, SECOND), 1023 * SECOND,
			1024 * SECOND);
}

static void no_number_is_too_large(void **state)
{
	struct nvme_throttle throttle = limited(NVME_LIMIT_TOTAL_BYTES, 1, INT64_MAX);

	for (unsigned i = 0; i < 100; i++)
		nvme_throttle_take(&throttle, true, 32 * MiB, SECOND);
	throttle = limited(NVME_LIMIT_TOTAL_BYTES, INT64_MAX, INT64_MAX);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(nvme_throttle_take(&throttle, true, 32 * MiB, SECOND), 0);

	/* Copies are charged when they are done, however many wait. */
	throttle = limited(NVME_LIMIT_WRITE_BYTES, 1, 1);
	for (unsigned i = 0; i < 1000; i++) {
		nvme_throttle_spend(&throttle, true, UINT64_MAX);
		assert_true(nvme_throttle_take(&throttle, true, 1, now) > SECOND);
	}
}

/*
 * In a controller: one write a second.
 */
static void limit_writes(struct machine *machine, uint64_t rate)
{
	struct nvme_limits limits = { 0 };

	limits.limit[NVME_LIMIT_WRITE_COMMANDS].rate = rate;
	assert_int_equal(nvme_controller_set_limits(machine->ctrl, 1, &limits), 0);
}

static struct nvme_command write_block(struct machine *machine, uint64_t lba, uint8_t value)
{
	uint64_t page = machine_alloc(machine, 1);

	memset(machine_at(machine, page), value, 4096);
	return machine_rw(NVME_IO_WRITE, lba, 8, page, 0);
}

static bool answered(struct machine *machine, unsigned id, uint16_t cid, nvme_status expected)
{
	struct machine_completion completion;

	machine_run(machine);
	if (!machine_take(machine, id, &completion))
		return false;
	assert_int_equal(completion.cid, cid);
	assert_status(completion, expected);
	return true;
}

/* One has just been; the others wait. */
static void fill(struct machine *machine, uint16_t *cids, unsigned count)
{
	limit_writes(machine, 1);
	assert_status(machine_execute(machine, 1, write_block(machine, 0, 1)), 0);
	for (unsigned i = 0; i < count; i++)
		cids[i] = machine_submit(machine, 1, write_block(machine, 8 * i, 2 + i));
	machine_run(machine);
	assert_int_equal(machine_disk(machine)->submitted, 1);
}

static void who_is_above_it_waits_in_turn(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	uint16_t cids[3];

	fill(machine, cids, 2);
	assert_false(answered(machine, 1, 0, 0));
	assert_in_range(nvme_worker_wait(machine->workers[0]), 899 * MS, 901 * MS);
	/* Reads and flushes are not meant. */
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_READ, 0, 8, page, 0)), 0);
	assert_status(machine_execute(machine, 1,
				      (struct nvme_command){ .opcode = NVME_IO_FLUSH, .nsid = 1 }),
		      0);
	now += 890 * MS;
	assert_false(answered(machine, 1, 0, 0));
	now += 20 * MS;
	/* Later ones do not overtake. */
	cids[2] = machine_submit(machine, 1, write_block(machine, 64, 9));
	for (unsigned i = 0; i < 3; i++, now += SECOND) {
		assert_true(answered(machine, 1, cids[i], 0));
		assert_false(answered(machine, 1, 0, 0));
	}
	assert_int_equal(machine_disk(machine)->data[64 * 512], 9);
	assert_int_equal(nvme_worker_wait(machine->workers[0]), -1);
}

/* Who waits is not looked at all the time; that is no opportunity for others. */
static void nobody_overtakes_between_two_looks(void **state)
{
	struct machine *machine = *state;
	struct nvme_command command = write_block(machine, 0, 1);
	uint16_t cids[2];

	limit_writes(machine, 10000);
	for (unsigned i = 0; i < 1001; i++)
		assert_status(machine_execute(machine, 1, command), 0);
	cids[0] = machine_submit(machine, 1, command);
	assert_false(answered(machine, 1, 0, 0));
	now += 200000;
	cids[1] = machine_submit(machine, 1, command);
	assert_false(answered(machine, 1, 0, 0));
	now += 300000;
	for (unsigned i = 0; i < 2; i++)
		assert_true(answered(machine, 1, cids[i], 0));
}

/* It says how much only when it is executed. */
static void a_copy_counts_as_read_and_as_written(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	struct nvme_copy_range *range = machine_at(machine, page);
	struct nvme_limits limits = { 0 };

	for (unsigned i = 0; i < 2; i++) {
		limits = (struct nvme_limits){ 0 };
		limits.limit[i ? NVME_LIMIT_WRITE_BYTES : NVME_LIMIT_READ_BYTES].rate = 4096;
		assert_int_equal(nvme_controller_set_limits(machine->ctrl, 1, &limits), 0);
		*range = (struct nvme_copy_range){ .lba = 0, .blocks = 7 };
		assert_status(machine_execute(machine, 1,
					      (struct nvme_command){ .opcode = NVME_IO_COPY,
								     .nsid = 1,
								     .prp1 = page,
								     .cdw10 = 64 }),
			      0);
		machine_submit(machine, 1,
			       machine_rw(i ? NVME_IO_WRITE : NVME_IO_READ, 0, 1, page, 0));
		machine_run(machine);
		assert_in_range(nvme_worker_wait(machine->workers[0]), 899 * MS, 901 * MS);
		now += SECOND;
		machine_run(machine);
		assert_true(machine_take(machine, 1, &(struct machine_completion){}));
	}
}

static void another_limit_counts_at_once(void **state)
{
	struct machine *machine = *state;
	uint16_t cids[3];

	fill(machine, cids, 3);
	limit_writes(machine, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_true(answered(machine, 1, cids[i], 0));
	assert_int_equal(nvme_controller_set_limits(machine->ctrl, 2, &(struct nvme_limits){}),
			 -ENOENT);
}

static void who_waits_can_be_aborted(void **state)
{
	struct machine *machine = *state;
	uint16_t cids[2];

	fill(machine, cids, 2);
	assert_int_equal(
		machine_execute(machine, 0,
				(struct nvme_command){ .opcode = NVME_ADMIN_ABORT,
						       .cdw10 = 1 | (uint32_t)cids[1] << 16 })
			.result,
		0);
	assert_true(answered(machine, 1, cids[1], NVME_ABORT_REQUESTED));
	now += SECOND;
	assert_true(answered(machine, 1, cids[0], 0));
}

static void a_reset_drops_them(void **state)
{
	struct machine *machine = *state;
	uint16_t cids[2];

	fill(machine, cids, 2);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS) & NVME_CSTS_RDY, 0);
	machine_enable(machine);
	machine_create_queue(machine, 1, MACHINE_ENTRIES);
	now += 2 * SECOND;
	assert_status(machine_execute(machine, 1, write_block(machine, 0, 7)), 0);
	assert_int_equal(machine_disk(machine)->submitted, 2);
}

static void count_call(void *opaque)
{
	(*(unsigned *)opaque)++;
}

static void a_namespace_that_leaves_keeps_nobody(void **state)
{
	struct machine *machine = *state;
	unsigned done = 0;
	uint16_t cids[2];

	fill(machine, cids, 2);
	assert_int_equal(nvme_controller_detach(machine->ctrl, 1, count_call, &done), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_true(answered(machine, 1, cids[i], 0));
	assert_int_equal(done, 1);
}

/* But its commands do not go before their time: the guest could do that again and again. */
static void nor_does_a_queue_that_is_deleted(void **state)
{
	struct machine *machine = *state;
	uint16_t cids[2];

	fill(machine, cids, 2);
	assert_status(machine_execute(machine, 0,
				      (struct nvme_command){ .opcode = NVME_ADMIN_DELETE_SQ,
							     .cdw10 = 1 }),
		      0);
	assert_int_equal(machine_disk(machine)->submitted, 1);
	for (unsigned i = 0; i < 2; i++)
		assert_true(answered(machine, 1, cids[i], NVME_ABORTED_SQ_DELETION));
}

/* Another namespace has one that waits, so that nobody looks again soon. */
static void nor_when_they_waited_for_the_namespace(void **state)
{
	struct machine_disk *other = machine_disk_new(MiB);
	struct machine *machine = *state;
	struct nvme_limits limits = { 0 };
	uint16_t cids[3];

	machine_attach(machine, 2, other);
	limits.limit[NVME_LIMIT_WRITE_COMMANDS].rate = 1;
	for (unsigned nsid = 1; nsid <= 2; nsid++)
		assert_int_equal(nvme_controller_set_limits(machine->ctrl, nsid, &limits), 0);
	nvme_controller_set_ready(machine->ctrl, 1, false);
	for (unsigned i = 0; i < 2; i++) {
		struct nvme_command command = write_block(machine, 0, 1);

		cids[i] = machine_submit(machine, 1, command);
		command.nsid = 2;
		cids[2] = machine_submit(machine, 2, command);
		assert_int_equal(answered(machine, 2, cids[2], 0), !i);
	}
	machine_submit(machine, 0,
		       (struct nvme_command){ .opcode = NVME_ADMIN_DELETE_SQ, .cdw10 = 1 });
	assert_false(answered(machine, 1, 0, 0));
	nvme_controller_set_ready(machine->ctrl, 1, true);
	assert_true(answered(machine, 1, cids[0], 0));
	assert_true(answered(machine, 1, cids[1], NVME_ABORTED_SQ_DELETION));
	assert_true(machine_take(machine, 0, &(struct machine_completion){}));
	now += SECOND;
	assert_true(answered(machine, 2, cids[2], 0));
	assert_int_equal(nvme_controller_detach(machine->ctrl, 2, NULL, NULL), 0);
	machine_run(machine);
	machine_disk_free(other);
}

static void a_freeze_does_not_wait_for_them(void **state)
{
	struct machine *machine = *state;
	unsigned frozen = 0;
	uint16_t cids[1];

	fill(machine, cids, 1);
	nvme_controller_freeze(machine->ctrl, count_call, &frozen);
	machine_run(machine);
	assert_int_equal(frozen, 1);
	now += 2 * SECOND;
	/* Frozen, nothing is due: the thread need not wake up. */
	assert_int_equal(nvme_worker_wait(machine->workers[0]), -1);
	assert_false(answered(machine, 1, 0, 0));
	nvme_controller_thaw(machine->ctrl);
	assert_true(answered(machine, 1, cids[0], 0));
}

static void a_successor_executes_them(void **state)
{
	struct machine *machine = *state;
	uint16_t cids[2];

	fill(machine, cids, 2);
	assert_non_null(machine_restart(machine, NULL));
	machine_attach(machine, 1, machine_disk(machine));
	for (unsigned i = 0; i < 2; i++)
		assert_true(answered(machine, 1, cids[i], 0));
	assert_int_equal(machine_disk(machine)->data[8 * 512], 3);
}

/* Those that had to wait for their namespace are many, and come at once. */
static void who_waited_for_the_namespace_waits_here(void **state)
{
	struct machine *machine = *state;
	uint16_t cids[2];

	limit_writes(machine, 1);
	nvme_controller_set_ready(machine->ctrl, 1, false);
	for (unsigned i = 0; i < 2; i++)
		cids[i] = machine_submit(machine, 1, write_block(machine, 8 * i, 2 + i));
	assert_false(answered(machine, 1, 0, 0));
	nvme_controller_set_ready(machine->ctrl, 1, true);
	assert_true(answered(machine, 1, cids[0], 0));
	assert_false(answered(machine, 1, 0, 0));
	now += SECOND;
	assert_true(answered(machine, 1, cids[1], 0));
}

/*
 * Two workers. The first is awake and looks each microsecond or so, the second is woken by a timer,
 * which is late.
 */
struct contest {
	bool write[2];
	unsigned commands[2]; /* at work or waiting, of each */
	unsigned done[2];
};

static void take_and_submit(struct machine *machine, struct contest *contest, unsigned worker)
{
	struct machine_completion completion;
	unsigned id = worker + 1;

	for (; machine_take(machine, id, &completion); contest->commands[worker]--) {
		assert_status(completion, 0);
		contest->done[worker]++;
	}
	for (; contest->commands[worker] < 8; contest->commands[worker]++)
		machine_submit(machine, id,
			       machine_rw(contest->write[worker] ? NVME_IO_WRITE : NVME_IO_READ, 0,
					  8 << worker, MACHINE_BASE + MACHINE_MEMORY / 2,
					  worker ? MACHINE_BASE + MACHINE_MEMORY / 2 + 4096 : 0));
}

static void contend(struct machine *machine, struct contest *contest, uint64_t step, uint64_t time)
{
	uint64_t end = now + time, wakes = 0;

	while (now < end) {
		take_and_submit(machine, contest, 0);
		while (machine_run_worker(machine, 0))
			;
		if (now >= wakes) {
			int64_t wait;

			take_and_submit(machine, contest, 1);
			while (machine_run_worker(machine, 1))
				;
			wait = nvme_worker_wait(machine->workers[1]);
			wakes = now + (wait < 0 ? 0 : (uint64_t)wait) + 70000;
		}
		now += step;
	}
}

static void set_limit(struct machine *machine, enum nvme_limit limit, uint64_t rate, uint64_t max)
{
	struct nvme_limits limits = { 0 };

	limits.limit[limit].rate = rate;
	limits.limit[limit].max = max;
	assert_int_equal(nvme_controller_set_limits(machine->ctrl, 1, &limits), 0);
}

/* What each of them gets: half of it, whatever the rate, and no more than there is in all. */
static void workers_share_fairly(void **state)
{
	struct machine *machine = *state;
	static const struct {
		enum nvme_limit limit;
		uint64_t rate, step, time, max;
		bool write[2];
	} rounds[] = {
		{ NVME_LIMIT_TOTAL_COMMANDS, 100, 20000, 4 * SECOND, 0, { false, true } },
		{ NVME_LIMIT_READ_COMMANDS, 3000, 5000, SECOND, 0, { false, false } },
		{ NVME_LIMIT_WRITE_COMMANDS, 10, 50000, 20 * SECOND, 0, { true, true } },
		{ NVME_LIMIT_READ_COMMANDS, 500, 10000, 2 * SECOND, 1000, { false, false } },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rounds); i++) {
		struct contest contest = { .write = { rounds[i].write[0], rounds[i].write[1] } };
		uint64_t fair = rounds[i].rate * (rounds[i].time / SECOND);

		set_limit(machine, rounds[i].limit, rounds[i].rate, rounds[i].max);
		contend(machine, &contest, rounds[i].step, rounds[i].max ? 3 * SECOND : SECOND);
		contest.done[0] = contest.done[1] = 0;
		contend(machine, &contest, rounds[i].step, rounds[i].time);
		print_message("limit %u of %llu: %u and %u\n", rounds[i].limit,
			      (unsigned long long)rounds[i].rate, contest.done[0], contest.done[1]);
		assert_in_range(contest.done[0] + contest.done[1], fair - fair / 50 - 2,
				fair + fair / 50 + 2);
		assert_in_range(contest.done[0], fair * 45 / 100, fair * 55 / 100);
		set_limit(machine, rounds[i].limit, 0, 0);
		machine_run(machine);
		for (unsigned id = 1; id <= 2; id++)
			while (machine_take(machine, id, &(struct machine_completion){}))
				;
	}
}

/* Of bytes each gets half, though the second asks for twice as many with each command. */
static void fairly_of_bytes(void **state)
{
	struct machine *machine = *state;
	struct contest contest = { 0 };

	set_limit(machine, NVME_LIMIT_TOTAL_BYTES, MiB, 0);
	contend(machine, &contest, 10000, SECOND);
	contest.done[0] = contest.done[1] = 0;
	contend(machine, &contest, 10000, 4 * SECOND);
	assert_in_range(contest.done[0] + 2 * contest.done[1], 1010, 1040);
	assert_in_range(contest.done[0], 470, 550);
}

/* One that has been alone does not pay for it, and one that stops is not waited for. */
static void nobody_pays_for_what_was_free(void **state)
{
	struct machine *machine = *state;
	struct contest contest = { 0 };

	set_limit(machine, NVME_LIMIT_READ_COMMANDS, 1000, 0);
	contest.commands[1] = 8;
	contend(machine, &contest, 10000, 3 * SECOND);
	assert_in_range(contest.done[0], 2990, 3110);
	assert_int_equal(contest.done[1], 0);
	contest.commands[1] = contest.done[0] = 0;
	contend(machine, &contest, 10000, SECOND);
	assert_in_range(contest.done[0], 380, 520);
	assert_in_range(contest.done[0] + contest.done[1], 980, 1020);
	/* It is waited for no longer when it has nothing more. */
	contest.done[0] = 0;
	contest.commands[1] += 1000;
	contend(machine, &contest, 10000, SECOND);
	assert_in_range(contest.done[0], 960, 1020);
}

static int setup_two(void **state)
{
	now = 100 * SECOND;
	return machine_setup_two_workers(state);
}

static int setup(void **state)
{
	now = 100 * SECOND;
	return machine_setup(state);
}

#define TEST(test)     cmocka_unit_test_setup_teardown(test, setup, machine_teardown)
#define TEST_TWO(test) cmocka_unit_test_setup_teardown(test, setup_two, machine_teardown)

/* Each waits for those before it, and tries again and again: that is one command. */
static void pairs_are_counted_once(void **state)
{
	struct machine *machine = *state;
	struct nvme_limits limits = { 0 };
	struct machine_completion completion;
	struct nvme_command half = write_block(machine, 0, 1);

	limits.limit[NVME_LIMIT_READ_COMMANDS].rate = 100;
	assert_int_equal(nvme_controller_set_limits(machine->ctrl, 1, &limits), 0);
	assert_status(machine_execute(machine, 1, half), 0);
	for (unsigned i = 0; i < 7; i++) {
		half.opcode = NVME_IO_COMPARE;
		half.flags = NVME_FUSE_FIRST;
		machine_put(machine, 1, half);
		half.opcode = NVME_IO_WRITE;
		half.flags = NVME_FUSE_SECOND;
		machine_put(machine, 1, half);
	}
	machine_ring(machine, 1);
	machine_run(machine);
	for (unsigned i = 0; i < 14; i++) {
		assert_true(machine_take(machine, 1, &completion));
		assert_status(completion, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_rate_is_kept),
		cmocka_unit_test(a_burst_has_its_rate_and_ends),
		cmocka_unit_test(each_limit_has_its_direction),
		cmocka_unit_test(no_number_is_too_large),
		TEST(who_is_above_it_waits_in_turn),
		TEST(nobody_overtakes_between_two_looks),
		TEST(a_copy_counts_as_read_and_as_written),
		TEST(another_limit_counts_at_once),
		TEST(who_waits_can_be_aborted),
		TEST(a_reset_drops_them),
		TEST(a_namespace_that_leaves_keeps_nobody),
		TEST(nor_does_a_queue_that_is_deleted),
		TEST(nor_when_they_waited_for_the_namespace),
		TEST(a_freeze_does_not_wait_for_them),
		TEST(a_successor_executes_them),
		TEST(who_waited_for_the_namespace_waits_here),
		TEST_TWO(workers_share_fairly),
		TEST_TWO(fairly_of_bytes),
		TEST_TWO(nobody_pays_for_what_was_free),
		TEST(pairs_are_counted_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
