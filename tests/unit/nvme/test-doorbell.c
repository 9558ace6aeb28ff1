// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/state.h"
#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

static struct nvme_command config(uint64_t prp1, uint64_t prp2)
{
	return (struct nvme_command){
		.opcode = NVME_ADMIN_DOORBELL_BUFFER,
		.prp1 = prp1,
		.prp2 = prp2,
	};
}

static struct nvme_command read_block(uint64_t page)
{
	return machine_rw(NVME_IO_READ, 0, 1, page, 0);
}

static uint32_t *shadow_of(struct machine *machine, unsigned index)
{
	return (uint32_t *)machine_at(machine, machine->shadow) + index;
}

static uint32_t *event_of(struct machine *machine, unsigned index)
{
	return (uint32_t *)machine_at(machine, machine->events) + index;
}

static void sleepers_are_woken_and_no_others(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion;
	unsigned before;

	machine_shadow(machine);
	/* Around the queue, and each time the worker sleeps before. */
	for (unsigned i = 0; i < 3 * MACHINE_ENTRIES; i++) {
		before = machine->trapped;
		machine_put(machine, 1, read_block(page));
		machine_ring(machine, 1);
		assert_int_equal(machine->trapped, before + 1);
		assert_true(machine->kicks[0] > 0);
		machine_run(machine);
		assert_true(machine_take(machine, 1, &completion));
		assert_status(completion, 0);
	}
	/* Awake it needs no register. */
	machine_submit(machine, 1, read_block(page));
	before = machine->trapped;
	machine_submit(machine, 1, read_block(page));
	machine_run_worker(machine, 0);
	machine_submit(machine, 1, read_block(page));
	assert_int_equal(machine->trapped, before);
	machine_run(machine);
	for (unsigned i = 0; i < 3; i++)
		assert_true(machine_take(machine, 1, &completion));
	assert_false(machine_take(machine, 1, &completion));
}

/* From each place in the queue. */
static void awake_no_register_is_needed_in_any_round(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion;

	machine_shadow(machine);
	for (unsigned start = 0; start < MACHINE_ENTRIES; start++) {
		unsigned before;

		assert_status(machine_execute(machine, 1, read_block(page)), 0);
		machine_submit(machine, 1, read_block(page));
		before = machine->trapped;
		for (unsigned i = 0; i < 3 * MACHINE_ENTRIES; i++) {
			while (machine_run_worker(machine, 0))
				;
			assert_true(machine_take(machine, 1, &completion));
			machine_submit(machine, 1, read_block(page));
		}
		assert_int_equal(machine->trapped, before);
		machine_run(machine);
		assert_true(machine_take(machine, 1, &completion));
		assert_status(machine_execute(machine, 1, read_block(page)), 0);
	}
}

/* Nor by the guest that answers what woke the worker. */
static void no_register_answers_a_completion(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion;

	machine_shadow(machine);
	for (unsigned i = 0; i < 3 * MACHINE_ENTRIES; i++) {
		unsigned before;

		machine_disk(machine)->hold = true;
		machine_submit(machine, 1, read_block(page));
		machine_run(machine); /* and it sleeps */
		before = machine->trapped;
		nvme_worker_disarm(machine->workers[0]);
		machine_release(machine, machine_disk(machine));
		machine_run_worker(machine, 0);
		assert_true(machine_take(machine, 1, &completion));
		machine_submit(machine, 1, read_block(page));
		assert_int_equal(machine->trapped, before);
		machine_run(machine);
		machine_release(machine, machine_disk(machine));
		machine_run(machine);
		assert_true(machine_take(machine, 1, &completion));
	}
}

/* The guest rings while the worker falls asleep: it saw the old event index. */
static uint64_t ring_page;

static void ring_meanwhile(struct machine *machine)
{
	if (!ring_page)
		return;
	machine_put(machine, 1, read_block(ring_page));
	ring_page = 0;
	*shadow_of(machine, 2) = machine->queues[1].tail;
}

static void a_doorbell_while_falling_asleep_is_seen(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);

	machine_shadow(machine);
	machine_submit(machine, 1, read_block(page));
	while (machine_run_worker(machine, 0))
		;
	ring_page = page;
	machine->meanwhile = ring_meanwhile; /* when the event index is written */
	assert_false(nvme_worker_arm(machine->workers[0]));
	machine->meanwhile = NULL;
	assert_int_equal(ring_page, 0);
	machine_run(machine);
	assert_int_equal(machine_disk(machine)->submitted, 2);
}

/* By message the event index is there when the message is acknowledged. */
static void looks_again_when_the_event_index_is_there(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);

	machine_shadow(machine);
	machine_submit(machine, 1, read_block(page));
	machine->message_writes = true;
	machine->writes_pending = true;
	machine->writes_executed = machine->writes;
	while (machine_run_worker(machine, 0))
		;
	machine->kicks[0] = 0;
	assert_true(nvme_worker_arm(machine->workers[0]));
	assert_int_equal(machine->kicks[0], 0);
	machine_execute_writes(machine);
	assert_int_equal(machine->kicks[0], 1);
	/* Nothing new to say: it sleeps. */
	while (machine_run_worker(machine, 0))
		;
	assert_true(nvme_worker_arm(machine->workers[0]));
	machine_execute_writes(machine);
	assert_int_equal(machine->kicks[0], 1);
	assert_int_equal(*event_of(machine, 2), 1);
}

/* Event indexes are posted too: without room they wait, and the doorbell is seen all the same. */
static void event_indexes_wait_for_room(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	unsigned before;

	machine_shadow(machine);
	machine->message_writes = machine->no_room = true;
	machine->host.map_generation++;
	before = machine->writes;
	machine_submit(machine, 1, read_block(page));
	machine_run(machine);
	assert_int_equal(machine->writes, before);
	assert_int_equal(machine_disk(machine)->submitted, 1);
	/* The guest sees the old event index, and does not ring. */
	machine_put(machine, 1, read_block(page));
	*shadow_of(machine, 2) = machine->queues[1].tail;
	machine->no_room = false;
	machine_run(machine); /* the kick when there is room */
	assert_int_equal(machine_disk(machine)->submitted, 2);
	assert_int_equal(*event_of(machine, 2), 2);
	/* Twice data and completion; and event indexes, by message as well. */
	assert_true(machine->writes > before + 4);
}

static void values_are_judged(void **state)
{
	struct machine *machine = *state;
	static const uint32_t wrong[] = { MACHINE_ENTRIES, 0x10000, UINT32_MAX - 1 };
	uint64_t page = machine_alloc(machine, 1);
	struct nvme_command event = { .opcode = NVME_ADMIN_ASYNC_EVENT };
	struct machine_completion completion;

	machine_shadow(machine);
	machine_submit(machine, 0, event);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		*shadow_of(machine, 2) = wrong[i];
		machine_write32(machine, NVME_BAR0_DOORBELLS + 8, 1);
		machine_run(machine);
	}
	assert_true(machine_take(machine, 0, &completion));
	assert_int_equal(completion.result,
			 NVME_EVENT_INVALID_DOORBELL_VALUE << 8 | NVME_LOG_ERROR << 16);
	assert_int_equal(machine_disk(machine)->submitted, 0);
	*shadow_of(machine, 3) = MACHINE_ENTRIES;
	machine_run(machine);
	assert_int_equal(((struct nvme_state *)machine->state)->cqs[1].head, 0);
	*shadow_of(machine, 3) = 0;
	*shadow_of(machine, 2) = 0;
	assert_status(machine_execute(machine, 1, read_block(page)), 0);
}

/* What the guest writes into a register is only a kick. */
static void the_register_is_a_kick(void **state)
{
	struct machine *machine = *state;

	machine_shadow(machine);
	machine_put(machine, 1, read_block(0));
	machine_write32(machine, NVME_BAR0_DOORBELLS + 8, 1);
	machine_run(machine);
	assert_int_equal(machine_disk(machine)->submitted, 0);
}

static void a_reset_forgets_them(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1), shadow, events;

	machine_shadow(machine);
	assert_status(machine_execute(machine, 1, read_block(page)), 0);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	shadow = machine->shadow;
	events = machine->events;
	machine->shadow = 0;
	memset(machine_at(machine, shadow), 5, 4096);
	memset(machine_at(machine, events), 0x77, 4096);
	machine_enable(machine);
	machine_create_queue(machine, 1, MACHINE_ENTRIES);
	assert_status(machine_execute(machine, 1, read_block(page)), 0);
	for (unsigned i = 0; i < 4096; i++) {
		assert_int_equal(((uint8_t *)machine_at(machine, shadow))[i], 5);
		assert_int_equal(((uint8_t *)machine_at(machine, events))[i], 0x77);
	}
}

static void bad_buffers_are_refused(void **state)
{
	struct machine *machine = *state;
	uint64_t a = machine_alloc(machine, 2), b = machine_alloc(machine, 2);
	uint64_t end = MACHINE_BASE + MACHINE_MEMORY;
	const struct {
		uint64_t prp1, prp2;
	} cases[] = {
		{ a + 4, b }, { a, b + 4 }, { a + 2048, b }, { 0, b },	       { a, 0 },
		{ a, a },     { end, b },   { a, end },	     { ~0xfffULL, b }, { a, 0x1000 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_status(machine_execute(machine, 0, config(cases[i].prp1, cases[i].prp2)),
			      NVME_INVALID_FIELD);
	/* Memory that cannot be polled. */
	machine->message_reads = true;
	assert_status(machine_execute(machine, 0, config(a, b)), NVME_INVALID_FIELD);
	machine->message_reads = false;
	assert_status(machine_execute(machine, 0, config(a, b)), 0);
}

static void queues_go_on_where_they_are(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);

	for (unsigned i = 0; i < 5; i++)
		assert_status(machine_execute(machine, 1, read_block(page)), 0);
	machine_shadow(machine);
	assert_int_equal(*shadow_of(machine, 2), 5);
	assert_int_equal(*shadow_of(machine, 3), 5);
	assert_int_equal(*event_of(machine, 2), 5);
	assert_int_equal(*shadow_of(machine, 4), 0);
	assert_int_equal(machine_disk(machine)->submitted, 5);
	assert_status(machine_execute(machine, 1, read_block(page)), 0);
	assert_status(machine_execute(machine, 2, read_block(page)), 0);
	/* Once more, with other pages. */
	machine_shadow(machine);
	assert_int_equal(*shadow_of(machine, 2), 6);
	for (unsigned i = 0; i < 2 * MACHINE_ENTRIES; i++)
		assert_status(machine_execute(machine, 1, read_block(page)), 0);
}

static void a_new_queue_begins_at_zero(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);

	machine_shadow(machine);
	for (unsigned i = 0; i < 5; i++)
		assert_status(machine_execute(machine, 1, read_block(page)), 0);
	assert_status(machine_execute(machine, 0,
				      (struct nvme_command){ .opcode = NVME_ADMIN_DELETE_SQ,
							     .cdw10 = 1 }),
		      0);
	assert_status(machine_execute(machine, 0,
				      (struct nvme_command){ .opcode = NVME_ADMIN_DELETE_CQ,
							     .cdw10 = 1 }),
		      0);
	machine_create_queue(machine, 1, MACHINE_ENTRIES);
	assert_int_equal(*shadow_of(machine, 2), 0);
	assert_int_equal(*shadow_of(machine, 3), 0);
	assert_int_equal(machine_disk(machine)->submitted, 5);
	assert_status(machine_execute(machine, 1, read_block(page)), 0);

	/* It cannot be cleared by message: that would come too late. */
	machine->message_writes = true;
	*shadow_of(machine, 6) = 3;
	assert_status(machine_execute(machine, 0, machine_create_cq(3, 16, page, 1)), 0);
	assert_status(machine_execute(machine, 0, machine_create_sq(3, 16, page, 3)),
		      NVME_INTERNAL_ERROR);
	*shadow_of(machine, 6) = 0;
	assert_status(machine_execute(machine, 0, machine_create_sq(3, 16, page, 3)), 0);
}

static void a_full_completion_queue_asks_for_the_head(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion;
	unsigned taken = 0, before;

	machine_shadow(machine);
	for (unsigned i = 0; i < 3; i++)
		assert_status(machine_execute(machine, 1, read_block(page)), 0);
	/* Two rounds: the completion queue holds one less than its size. */
	for (unsigned i = 0; i < MACHINE_ENTRIES - 1; i++)
		machine_put(machine, 1, read_block(page));
	machine_ring(machine, 1);
	machine_run(machine);
	for (unsigned i = 0; i < MACHINE_ENTRIES - 1; i++)
		machine_put(machine, 1, read_block(page));
	machine_ring(machine, 1);
	machine_run(machine);
	machine->kicks[0] = 0;
	before = machine->trapped;
	assert_true(machine_take(machine, 1, &completion));
	assert_int_equal(machine->trapped, before + 1);
	assert_true(machine->kicks[0] > 0);
	for (taken = 1; taken < 2 * (MACHINE_ENTRIES - 1); taken++) {
		machine_run(machine);
		assert_true(machine_take(machine, 1, &completion));
	}
}

static void the_level_falls_with_the_shadow_head(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1), ring = machine_alloc(machine, 2);
	struct machine_completion completion;

	nvme_controller_set_msix(machine->ctrl, false);
	machine_shadow(machine);
	assert_status(machine_execute(machine, 0, machine_create_cq(3, 16, ring, 0)), 0);
	assert_status(machine_execute(machine, 0, machine_create_sq(3, 16, ring + 4096, 3)), 0);
	machine->queues[3] = (struct machine_queue){
		.sq = ring + 4096, .cq = ring, .sq_entries = 16, .cq_entries = 16, .phase = 1
	};
	for (unsigned i = 0; i < 40; i++) {
		machine_submit(machine, 3, read_block(page));
		machine_run(machine);
		assert_true(machine->intx);
		machine->kicks[0] = 0;
		assert_true(machine_take(machine, 3, &completion));
		assert_true(machine->kicks[0] > 0);
		machine_run(machine);
		machine_run_control(machine);
		assert_false(machine->intx);
	}
}

static void a_successor_goes_on(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	struct nvme_state *saved = machine->state;
	unsigned before;

	machine_shadow(machine);
	assert_status(machine_execute(machine, 1, read_block(page)), 0);
	*event_of(machine, 2) = 9;
	assert_non_null(machine_restart(machine, NULL));
	machine_attach(machine, 1, machine_disk(machine));
	machine_run(machine);
	assert_int_equal(*event_of(machine, 2), 1);
	/* While nobody looks: a command comes, and the event index is not what it was. */
	machine_put(machine, 1, read_block(page));
	machine_ring(machine, 1);
	*event_of(machine, 2) = 9;
	assert_non_null(machine_restart(machine, NULL));
	machine_attach(machine, 1, machine_disk(machine));
	machine_run(machine);
	assert_int_equal(machine_disk(machine)->submitted, 2);
	assert_int_equal(*event_of(machine, 2), 2);
	before = machine->trapped;
	machine_submit(machine, 1, read_block(page));
	assert_int_equal(machine->trapped, before + 1);
	machine_run(machine);
	assert_int_equal(machine_disk(machine)->submitted, 3);

	saved->shadow.doorbells += 8;
	assert_null(machine_restart(machine, NULL));
}

static int count_page(void *opaque, uint64_t iova, uint64_t len)
{
	struct machine *machine = opaque;

	machine->reads += iova == machine->shadow || iova == machine->events;
	return 0;
}

static void a_migration_copies_the_pages(void **state)
{
	struct machine *machine = *state;

	machine_shadow(machine);
	nvme_controller_each_page_of_ours(machine->ctrl, count_page, machine);
	assert_int_equal(machine->reads, 2);
}

static void the_pages_are_found_again(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);

	machine_shadow(machine);
	assert_status(machine_execute(machine, 1, read_block(page)), 0);
	machine_move_memory(machine);
	assert_status(machine_execute(machine, 1, read_block(page)), 0);
	/* Away for a while: the queue rests. */
	machine->hole = machine->shadow;
	machine->hole_len = 4096;
	machine->host.map_generation++;
	machine_submit(machine, 1, read_block(page));
	machine_run(machine);
	assert_int_equal(machine_disk(machine)->submitted, 2);
	machine->hole_len = 0;
	machine->host.map_generation++;
	machine_run(machine);
	assert_int_equal(machine_disk(machine)->submitted, 3);
}

static void without_bus_master_nobody_looks(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);

	machine_shadow(machine);
	nvme_controller_set_bus_master(machine->ctrl, false);
	machine_submit(machine, 1, read_block(page));
	*event_of(machine, 2) = 0x55;
	machine_run(machine);
	assert_int_equal(machine_disk(machine)->submitted, 0);
	assert_int_equal(*event_of(machine, 2), 0x55);
	nvme_controller_set_bus_master(machine->ctrl, true);
	machine_run(machine);
	assert_int_equal(machine_disk(machine)->submitted, 1);
}

/*
 * Mapped
 */

static uint32_t registers[NVME_PAGE_SIZE / 4];

/* With queues that are there already: as one that comes from elsewhere. */
static int setup_mapped(void **state)
{
	struct machine *machine;

	if (machine_setup(state) < 0)
		return -1;
	machine = *state;
	memset(registers, 0, sizeof(registers));
	machine->config.doorbells = NVME_DOORBELLS_MAPPED;
	machine->config.doorbell_page = registers;
	machine->config.doorbell_page_is_new = true;
	if (!machine_restart(machine, NULL))
		return -1;
	machine_attach(machine, 1, machine_disk(machine));
	machine->config.doorbell_page_is_new = false;
	return 0;
}

static void mapped_registers_are_looked_at(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);

	for (unsigned i = 0; i < 3 * MACHINE_ENTRIES; i++)
		assert_status(machine_execute(machine, 1, read_block(page)), 0);
	assert_true(nvme_worker_watches(machine->workers[0]));
	assert_true(nvme_worker_looks(machine->workers[0]));
	/* Another value than the client's last. */
	registers[2] = MACHINE_ENTRIES;
	machine_run(machine);
	registers[2] = machine->queues[1].tail;
	assert_status(machine_execute(machine, 1, read_block(page)), 0);
	/* Without queues there is nothing to look at. */
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	assert_false(nvme_worker_looks(machine->workers[0]));
}

static void mapped_registers_begin_at_zero(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	unsigned before;

	assert_status(machine_execute(machine, 1, read_block(page)), 0);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	memset(registers, 5, sizeof(registers));
	machine_enable(machine);
	assert_int_equal(registers[0], 0);
	before = machine_disk(machine)->submitted;
	registers[6] = registers[7] = 5;
	machine_create_queue(machine, 3, MACHINE_ENTRIES);
	assert_int_equal(registers[6], 0);
	assert_int_equal(registers[7], 0);
	assert_int_equal(machine_disk(machine)->submitted, before);
	assert_status(machine_execute(machine, 3, read_block(page)), 0);
}

static void nothing_more(void *opaque)
{
}

static void mapped_registers_do_not_travel(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion;

	for (unsigned i = 0; i < 5; i++)
		assert_status(machine_execute(machine, 1, read_block(page)), 0);
	/* It may have run again before the second time. */
	nvme_controller_freeze(machine->ctrl, nothing_more, NULL);
	machine_run(machine);
	machine_submit(machine, 1, read_block(page));
	nvme_controller_freeze(machine->ctrl, nothing_more, NULL);
	machine_run(machine);
	assert_false(machine_take(machine, 1, &completion));
	memset(registers, 0, sizeof(registers));
	machine->config.doorbell_page_is_new = true;
	assert_non_null(machine_restart(machine, NULL));
	machine_attach(machine, 1, machine_disk(machine));
	machine_run(machine);
	assert_true(machine_take(machine, 1, &completion));
	assert_status(completion, 0);
	machine_run(machine);
	assert_false(machine_take(machine, 1, &completion));
	assert_status(machine_execute(machine, 1, read_block(page)), 0);
}

/* The page is what counts, for a successor too. */
static void a_write_goes_to_the_mapped_page(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion;

	machine_put(machine, 1, read_block(page));
	machine_write32(machine, NVME_BAR0_DOORBELLS + 2 * 4, machine->queues[1].tail);
	assert_int_equal(registers[2], machine->queues[1].tail);
	assert_true(machine->kicks[0] > 0);
	machine_run(machine);
	assert_true(machine_take(machine, 1, &completion));
	assert_non_null(machine_restart(machine, NULL));
	machine_attach(machine, 1, machine_disk(machine));
	assert_status(machine_execute(machine, 1, read_block(page)), 0);
}

static void mapped_there_are_no_shadow_doorbells(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	const struct nvme_identify_controller *id = machine_at(machine, page);
	const struct nvme_command identify = { .opcode = NVME_ADMIN_IDENTIFY,
					       .prp1 = page,
					       .cdw10 = NVME_CNS_CONTROLLER };

	assert_status(machine_execute(machine, 0,
				      config(machine_alloc(machine, 1), machine_alloc(machine, 1))),
		      NVME_INVALID_OPCODE);
	assert_status(machine_execute(machine, 0, identify), 0);
	assert_int_equal(id->oacs & NVME_OACS_DOORBELL_BUFFER, 0);
}

int main(void)
{
#define test(name)	  cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)
#define test_mapped(name) cmocka_unit_test_setup_teardown(name, setup_mapped, machine_teardown)
#define test_two(name)                                                                             \
	{                                                                                          \
#name " (two workers)", name, machine_setup_two_workers, machine_teardown, NULL    \
	}
	const struct CMUnitTest tests[] = {
		test(awake_no_register_is_needed_in_any_round),
		test(no_register_answers_a_completion),
		test(sleepers_are_woken_and_no_others),
		test_two(sleepers_are_woken_and_no_others),
		test(a_doorbell_while_falling_asleep_is_seen),
		test(looks_again_when_the_event_index_is_there),
		test(event_indexes_wait_for_room),
		test(values_are_judged),
		test(the_register_is_a_kick),
		test(a_reset_forgets_them),
		test_two(a_reset_forgets_them),
		test(bad_buffers_are_refused),
		test(queues_go_on_where_they_are),
		test_two(queues_go_on_where_they_are),
		test(a_new_queue_begins_at_zero),
		test_two(a_new_queue_begins_at_zero),
		test(a_full_completion_queue_asks_for_the_head),
		test(the_level_falls_with_the_shadow_head),
		test(a_successor_goes_on),
		test(a_migration_copies_the_pages),
		test(the_pages_are_found_again),
		test(without_bus_master_nobody_looks),
		test_mapped(mapped_registers_are_looked_at),
		test_mapped(mapped_registers_begin_at_zero),
		test_mapped(mapped_registers_do_not_travel),
		test_mapped(a_write_goes_to_the_mapped_page),
		test_mapped(mapped_there_are_no_shadow_doorbells),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
