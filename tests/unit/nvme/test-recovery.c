// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/journal.h"
#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

/* What a successor does with the commands in flight; every way to die is test-crash's. */

static struct nvme_state *state_of(struct machine *machine)
{
	return machine->state;
}

static uint16_t submit_read(struct machine *machine, uint64_t page)
{
	return machine_submit(machine, 1, machine_rw(NVME_IO_READ, 0, 1, page, 0));
}

/* A predecessor dies with a read at the disk; its namespace is back, and its ghosts are not laid. */
static void die_with_a_read(struct machine *machine)
{
	struct machine_disk *disk = machine_disk(machine);

	disk->hold = true;
	submit_read(machine, machine_alloc(machine, 1));
	machine_run(machine);
	assert_int_equal(disk->count, 1);
	machine_die(machine, disk);
}

static void attach(struct machine *machine, bool not_ready)
{
	const struct nvme_namespace_config config = { .nsid = 1, .not_ready = not_ready };

	assert_int_equal(nvme_controller_attach(machine->ctrl, &config,
						(struct block *)machine_disk(machine), NULL),
			 0);
}

static unsigned choose_none(unsigned n)
{
	return 0;
}

static void a_read_is_run_again_when_the_dead_is_dead(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	struct machine_completion completion;

	die_with_a_read(machine);
	disk->hold = false;
	assert_non_null(machine_adopt(machine, NULL));
	machine_run(machine);
	attach(machine, true);
	machine_run(machine);
	assert_int_equal(disk->submitted, 1);
	/* Other namespaces, admin commands and registers do not wait. */
	assert_status(machine_execute(machine, 0,
				      (struct nvme_command){ .opcode = NVME_ADMIN_GET_FEATURE,
							     .cdw10 = NVME_FEATURE_QUEUES }),
		      0);
	machine_haunt(machine, disk, choose_none);
	nvme_controller_set_ready(machine->ctrl, 1, true);
	machine_run(machine);
	assert_int_equal(disk->submitted, 2);
	assert_true(machine_take(machine, 1, &completion));
	assert_status(completion, 0);
	assert_false(machine_take(machine, 1, &completion));
}

/* Whatever made the predecessor die is in the command: it is not even parsed. */
static void what_was_in_hand_is_failed(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	struct machine_completion completion;

	die_with_a_read(machine);
	state_of(machine)->hands[3].command = NVME_HAND(1, 0);
	machine->config.poison = true;
	assert_non_null(machine_adopt(machine, NULL));
	attach(machine, true);
	machine_run(machine);
	assert_false(machine_peek(machine, 1, &completion)); /* the dead may still read into it */
	machine_haunt(machine, disk, choose_none);
	nvme_controller_set_ready(machine->ctrl, 1, true);
	machine_run(machine);
	assert_true(machine_take(machine, 1, &completion));
	assert_status(completion, NVME_INTERNAL_ERROR);
	assert_true(completion.dnr);
	assert_int_equal(disk->submitted, 1);
	assert_int_equal(state_of(machine)->hands[3].command, 0);

	disk->hold = false;
	assert_status(machine_execute(machine, 1,
				      machine_rw(NVME_IO_READ, 0, 1, machine_alloc(machine, 1), 0)),
		      0);
	assert_int_equal(state_of(machine)->hands[0].command, 0); /* not for ever */
}

/* What was the first thing in hand when guest memory was looked at. */
static uint32_t seen_in_hand;

static void look_at_hand(struct machine *machine)
{
	if (!seen_in_hand)
		seen_in_hand = state_of(machine)->hands[0].command;
}

static void see_in_hand(struct machine *machine)
{
	seen_in_hand = 0;
	machine->meanwhile = look_at_hand;
}

static void assert_was_in_hand(struct machine *machine)
{
	struct machine_completion completion;

	machine->meanwhile = NULL;
	assert_true(machine_take(machine, 1, &completion));
	assert_status(completion, 0);
	assert_int_equal(state_of(machine)->hands[0].command, 0);
}

/* A successor's commands wait for their namespace, as a rule. */
static void what_has_waited_is_in_hand_as_well(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);

	die_with_a_read(machine);
	disk->hold = false;
	disk->count = 0;
	assert_non_null(machine_adopt(machine, NULL));
	attach(machine, true);
	machine_run(machine);
	see_in_hand(machine);
	machine_haunt(machine, disk, choose_none);
	nvme_controller_set_ready(machine->ctrl, 1, true);
	disk->hold = true;
	machine_run(machine);
	assert_int_equal(seen_in_hand, NVME_HAND(1, 0));
	machine_release(machine, disk);
	machine_run(machine);
	assert_was_in_hand(machine);
}

static void a_result_is_in_hand(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);

	disk->hold = true;
	machine_submit(machine, 1, machine_rw(NVME_IO_COMPARE, 0, 1, machine_alloc(machine, 1), 0));
	machine_run(machine);
	assert_int_equal(state_of(machine)->hands[0].command, 0);
	see_in_hand(machine);
	machine_release(machine, disk);
	assert_int_equal(seen_in_hand, NVME_HAND(1, 0));
	machine_run(machine);
	assert_was_in_hand(machine);
}

static void data_that_waits_for_room_is_in_hand(void **state)
{
	struct machine *machine = *state;

	machine->message_writes = machine->no_room = true;
	machine->host.map_generation++;
	submit_read(machine, machine_alloc(machine, 1));
	machine_run(machine);
	assert_int_equal(state_of(machine)->hands[0].command, 0);
	machine->no_room = false;
	see_in_hand(machine);
	machine_run(machine);
	assert_int_equal(seen_in_hand, NVME_HAND(1, 0));
	assert_was_in_hand(machine);
}

static void only_a_poisoned_one_is_failed(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	struct machine_completion completion;

	die_with_a_read(machine);
	disk->hold = false;
	state_of(machine)->hands[0].command = NVME_HAND(1, 0);
	assert_non_null(machine_adopt(machine, NULL));
	attach(machine, false);
	machine_haunt(machine, disk, choose_none);
	machine_run(machine);
	assert_true(machine_take(machine, 1, &completion));
	assert_status(completion, 0);
	/* Nothing is in hand between two commands. */
	assert_int_equal(state_of(machine)->hands[0].command, 0);
}

static void frozen_nothing_happens(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	struct machine_completion completion;
	unsigned before;

	die_with_a_read(machine);
	disk->hold = false;
	machine_haunt(machine, disk, choose_none);
	machine->config.frozen = true;
	assert_non_null(machine_adopt(machine, NULL));
	attach(machine, false);
	before = machine->interrupts[2];
	machine_submit(machine, 2, machine_rw(NVME_IO_READ, 0, 1, machine_alloc(machine, 1), 0));
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), NVME_CSTS_RDY);
	assert_int_equal(disk->submitted, 1);
	assert_false(machine_peek(machine, 1, &completion));
	assert_int_equal(machine->interrupts[2], before);
	nvme_controller_thaw(machine->ctrl);
	machine_run(machine);
	assert_true(machine_take(machine, 1, &completion));
	assert_true(machine_take(machine, 2, &completion));
}

static void every_vector_is_raised_once_afterwards(void **state)
{
	struct machine *machine = *state;
	unsigned before[3];

	memcpy(before, machine->interrupts, sizeof(before));
	assert_non_null(machine_restart(machine, NULL));
	attach(machine, false);
	machine_run(machine);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(machine->interrupts[i], before[i] + 1);
}

static void set_true(void *opaque)
{
	*(bool *)opaque = true;
}

static void a_freeze_waits_for_the_disk(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	struct machine_completion completion;
	bool frozen = false;

	disk->hold = true;
	submit_read(machine, machine_alloc(machine, 1));
	machine_submit(machine, 0, (struct nvme_command){ .opcode = NVME_ADMIN_ASYNC_EVENT });
	machine_run(machine);
	nvme_controller_freeze(machine->ctrl, set_true, &frozen);
	machine_run(machine);
	assert_false(frozen);
	machine_release(machine, disk);
	machine_run(machine);
	assert_true(frozen); /* the event request waits, and nobody for it */
	assert_false(machine_peek(machine, 1, &completion));
	assert_int_equal(nvme_journal_stage(state_of(machine)->journals[1].slots[0].word),
			 NVME_JOURNAL_EXECUTED);

	/* Its result travels: the successor only posts it. */
	machine_die(machine, disk);
	assert_non_null(machine_adopt(machine, NULL));
	attach(machine, true);
	machine_run(machine);
	assert_true(machine_take(machine, 1, &completion));
	assert_status(completion, 0);
	assert_int_equal(disk->submitted, 1);
}

static void what_does_not_come_back_is_gone(void **state)
{
	struct machine *machine = *state;
	struct machine_completion completion;

	die_with_a_read(machine);
	machine_haunt(machine, machine_disk(machine), choose_none);
	assert_non_null(machine_adopt(machine, NULL));
	machine_run(machine);
	assert_false(machine_peek(machine, 1, &completion));
	nvme_controller_await_no_more(machine->ctrl);
	machine_run(machine);
	assert_true(machine_take(machine, 1, &completion));
	assert_status(completion, NVME_INVALID_FIELD);
	machine_attach(machine, 1, machine_disk(machine));
}

/* A reset ends when nothing touches the guest's memory any more, the dead's reads included. */
static void a_reset_waits_for_the_dead(void **state)
{
	struct machine *machine = *state;
	bool done = false;

	die_with_a_read(machine);
	assert_non_null(machine_adopt(machine, NULL));
	attach(machine, true);
	nvme_controller_reset(machine->ctrl, set_true, &done);
	machine_run(machine);
	assert_false(done);
	machine_haunt(machine, machine_disk(machine), choose_none);
	nvme_controller_set_ready(machine->ctrl, 1, true);
	machine_run(machine);
	assert_true(done);
}

/* In message mode; what it has sent is not executed, but will be. */
static void die_with_messages_under_way(struct machine *machine)
{
	machine->message_writes = machine->queue_writes = true;
	machine->host.map_generation++;
	submit_read(machine, machine_alloc(machine, 1));
	machine_run(machine);
	assert_non_null(machine->messages);
}

static void end_messages(struct machine *machine)
{
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), NVME_CSTS_RDY);
	while (machine->messages) {
		machine_run(machine);
		assert_int_equal(machine_read32(machine, NVME_REG_CSTS), NVME_CSTS_RDY);
		machine_execute_one(machine);
	}
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
}

/* The guest takes its memory back when it sees that the controller is not ready. */
static void a_stop_waits_for_the_messages_of_the_dead(void **state)
{
	struct machine *machine = *state;

	die_with_messages_under_way(machine);
	machine_die(machine, machine_disk(machine));
	assert_non_null(machine_adopt(machine, NULL));
	attach(machine, false);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	end_messages(machine);
}

static void a_stop_of_the_dead_waits_for_its_messages(void **state)
{
	struct machine *machine = *state;

	die_with_messages_under_way(machine);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	machine_die(machine, machine_disk(machine));
	assert_non_null(machine_adopt(machine, NULL));
	attach(machine, false);
	machine_run(machine);
	end_messages(machine);
}

/* Whoever waits for it may execute nothing meanwhile. */
static void a_reset_does_not_wait_for_the_messages_of_the_dead(void **state)
{
	struct machine *machine = *state;
	bool done = false;

	die_with_messages_under_way(machine);
	machine_die(machine, machine_disk(machine));
	assert_non_null(machine_adopt(machine, NULL));
	attach(machine, false);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), NVME_CSTS_RDY);
	nvme_controller_reset(machine->ctrl, set_true, &done);
	machine_run(machine);
	assert_true(done);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
	machine_drop_messages(machine);
}

/* It died when all was done but to say so; the guest goes on, whatever the dead still does. */
static void a_reset_that_was_seen_is_over(void **state)
{
	struct machine *machine = *state;
	struct nvme_state_registers *registers = &state_of(machine)->registers;

	die_with_a_read(machine);
	registers->cc = registers->csts = 0;
	registers->ending = NVME_ENDING_STOP | NVME_ENDING_RESET;
	assert_non_null(machine_adopt(machine, NULL));
	attach(machine, true);
	assert_int_equal(registers->ending, 0);
	machine_enable(machine);
	machine_haunt(machine, machine_disk(machine), choose_none);
	nvme_controller_set_ready(machine->ctrl, 1, true);
}

/* Nothing was under way when the predecessor died: nobody is waited for. */
static void a_reset_of_a_stopped_controller_ends(void **state)
{
	struct machine *machine = *state;
	bool done = false;

	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	machine_die(machine, machine_disk(machine));
	assert_non_null(machine_adopt(machine, NULL));
	attach(machine, true);
	nvme_controller_reset(machine->ctrl, set_true, &done);
	machine_run(machine);
	assert_true(done);
}

/* It had taken the enable, and died before it could say ready. */
static void an_enable_is_not_forgotten(void **state)
{
	struct machine *machine = *state;

	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	state_of(machine)->registers.cc = 4 << 20 | 6 << 16 | NVME_CC_EN;
	assert_non_null(machine_restart(machine, NULL));
	assert_int_equal(state_of(machine)->registers.csts, 0); /* no memory yet */
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), NVME_CSTS_RDY);
	attach(machine, false);
}

/* More in flight than one worker has requests for. */
static void one_worker_takes_over_from_two(void **state)
{
	enum {
		DEEP = 700
	};
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	struct machine_completion completion;
	uint64_t page = machine_alloc(machine, 1);
	unsigned taken = 0;

	for (unsigned id = 3; id <= 4; id++) {
		machine_create_queue(machine, id, NVME_MAX_IO_ENTRIES);
		for (unsigned i = 0; i < DEEP; i++)
			machine_put(machine, id,
				    (struct nvme_command){ .opcode = NVME_IO_READ,
							   .nsid = 1,
							   .prp1 = page,
							   .cdw12 = 0 });
	}
	disk->drop = true;
	machine_ring(machine, 3);
	machine_ring(machine, 4);
	machine_run(machine);
	assert_int_equal(disk->submitted, 2 * DEEP);
	disk->drop = false;
	machine_die(machine, disk);
	machine->host.workers = 1;
	assert_non_null(machine_adopt(machine, NULL));
	attach(machine, false);
	machine_run(machine);
	for (unsigned id = 3; id <= 4; id++)
		while (machine_take(machine, id, &completion)) {
			assert_status(completion, 0);
			taken++;
		}
	assert_int_equal(taken, 2 * DEEP);
}

/* Seen when the second is about to be made. */
static void room_ends_with_the_first_write(struct machine *machine)
{
	machine->no_room = machine->writes > 0;
}

/* What an admin command answers does not ask for room, and may be many messages: no other begins. */
static void admin_commands_come_one_at_a_time(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);

	machine->message_writes = machine->queue_writes = true;
	machine->host.map_generation++;
	for (unsigned i = 0; i < 3; i++)
		machine_put(machine, 0, machine_get_log(NVME_LOG_SMART, 512, 0, false, page));
	machine_ring(machine, 0);
	/* Then a successor begins all of them again. */
	for (unsigned restart = 0; restart < 2; restart++) {
		machine->writes = 0;
		machine->meanwhile = room_ends_with_the_first_write;
		machine_run(machine);
		machine->meanwhile = NULL;
		machine->no_room = false;
		assert_int_equal(machine->writes, 2);
		machine_run(machine);
		if (restart)
			break;
		machine_drop_messages(machine);
		machine_restart(machine, NULL);
		machine_attach(machine, 1, machine_disk(machine));
	}
	while (machine_execute_one(machine))
		machine_run(machine);
	for (unsigned i = 0; i < 3; i++)
		assert_true(machine_take(machine, 0, &(struct machine_completion){}));
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)
#define test_two(name)                                                                             \
	cmocka_unit_test_setup_teardown(name, machine_setup_two_workers, machine_teardown)
	const struct CMUnitTest tests[] = {
		test(a_read_is_run_again_when_the_dead_is_dead),
		test(what_was_in_hand_is_failed),
		test(what_has_waited_is_in_hand_as_well),
		test(a_result_is_in_hand),
		test(data_that_waits_for_room_is_in_hand),
		test(admin_commands_come_one_at_a_time),
		test(only_a_poisoned_one_is_failed),
		test(frozen_nothing_happens),
		test(every_vector_is_raised_once_afterwards),
		test_two(a_freeze_waits_for_the_disk),
		test(what_does_not_come_back_is_gone),
		test(a_reset_waits_for_the_dead),
		test(a_stop_waits_for_the_messages_of_the_dead),
		test(a_stop_of_the_dead_waits_for_its_messages),
		test(a_reset_does_not_wait_for_the_messages_of_the_dead),
		test(a_reset_that_was_seen_is_over),
		test(a_reset_of_a_stopped_controller_ends),
		test(an_enable_is_not_forgotten),
		test_two(one_worker_takes_over_from_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
