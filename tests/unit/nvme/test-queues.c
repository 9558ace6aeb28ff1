// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/state.h"
#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

static struct nvme_command delete_queue(uint8_t opcode, unsigned id)
{
	return (struct nvme_command){ .opcode = opcode, .cdw10 = id };
}

static nvme_status admin(struct machine *machine, struct nvme_command command)
{
	return machine_execute(machine, 0, command).status;
}

static void create_cq_judges(void **state)
{
	struct machine *machine = *state;
	uint64_t ring = machine_alloc(machine, 8);
	struct nvme_command command;

	/* 1 and 2 exist. */
	assert_int_equal(admin(machine, machine_create_cq(0, 16, ring, 0)), NVME_INVALID_QUEUE_ID);
	assert_int_equal(admin(machine, machine_create_cq(1, 16, ring, 0)), NVME_INVALID_QUEUE_ID);
	assert_int_equal(admin(machine, machine_create_cq(MACHINE_QUEUES + 1, 16, ring, 0)),
			 NVME_INVALID_QUEUE_ID);
	assert_int_equal(admin(machine, machine_create_cq(0xffff, 16, ring, 0)),
			 NVME_INVALID_QUEUE_ID);
	assert_int_equal(admin(machine, machine_create_cq(3, 1, ring, 0)), NVME_INVALID_QUEUE_SIZE);
	assert_int_equal(admin(machine, machine_create_cq(3, NVME_MAX_IO_ENTRIES + 1, ring, 0)),
			 NVME_INVALID_QUEUE_SIZE);
	assert_int_equal(admin(machine, machine_create_cq(3, 65536, ring, 0)),
			 NVME_INVALID_QUEUE_SIZE);
	assert_int_equal(admin(machine, machine_create_cq(3, 16, ring + 8, 0)),
			 NVME_PRP_OFFSET_INVALID);
	assert_int_equal(admin(machine, machine_create_cq(3, 16, ring, MACHINE_QUEUES + 1)),
			 NVME_INVALID_VECTOR);
	command = machine_create_cq(3, 16, ring, 0xffff);
	command.cdw11 &= ~NVME_CQ_INTERRUPTS; /* then the vector says nothing */
	assert_int_equal(admin(machine, command), 0);
	command = machine_create_cq(4, 16, ring, 0);
	command.cdw11 &= ~NVME_QUEUE_CONTIGUOUS;
	assert_int_equal(admin(machine, command), NVME_INVALID_FIELD);
	assert_int_equal(
		admin(machine, machine_create_cq(4, NVME_MAX_IO_ENTRIES, ring, MACHINE_QUEUES)), 0);
	nvme_controller_set_msix(machine->ctrl, false);
	assert_int_equal(admin(machine, delete_queue(NVME_ADMIN_DELETE_CQ, 4)), 0);
	assert_int_equal(admin(machine, machine_create_cq(4, 16, ring, 1)), NVME_INVALID_VECTOR);
	assert_int_equal(admin(machine, machine_create_cq(4, 16, ring, 0)), 0);
}

static void create_sq_judges(void **state)
{
	struct machine *machine = *state;
	uint64_t ring = machine_alloc(machine, 16);
	struct nvme_command command;

	assert_int_equal(admin(machine, machine_create_sq(0, 16, ring, 1)), NVME_INVALID_QUEUE_ID);
	assert_int_equal(admin(machine, machine_create_sq(1, 16, ring, 1)), NVME_INVALID_QUEUE_ID);
	assert_int_equal(admin(machine, machine_create_sq(MACHINE_QUEUES + 1, 16, ring, 1)),
			 NVME_INVALID_QUEUE_ID);
	assert_int_equal(admin(machine, machine_create_sq(3, 16, ring, 0)), NVME_INVALID_QUEUE_ID);
	assert_int_equal(admin(machine, machine_create_sq(3, 16, ring, MACHINE_QUEUES + 1)),
			 NVME_INVALID_QUEUE_ID);
	assert_int_equal(admin(machine, machine_create_sq(3, 16, ring, 3)), NVME_CQ_INVALID);
	assert_int_equal(admin(machine, machine_create_sq(3, 1, ring, 1)), NVME_INVALID_QUEUE_SIZE);
	assert_int_equal(admin(machine, machine_create_sq(3, NVME_MAX_IO_ENTRIES + 1, ring, 1)),
			 NVME_INVALID_QUEUE_SIZE);
	assert_int_equal(admin(machine, machine_create_sq(3, 16, ring + 64, 1)),
			 NVME_PRP_OFFSET_INVALID);
	command = machine_create_sq(3, 16, ring, 1);
	command.cdw11 &= ~NVME_QUEUE_CONTIGUOUS;
	assert_int_equal(admin(machine, command), NVME_INVALID_FIELD);
	assert_int_equal(admin(machine, machine_create_sq(3, NVME_MAX_IO_ENTRIES, ring, 1)), 0);
}

static void delete_judges(void **state)
{
	struct machine *machine = *state;

	assert_int_equal(admin(machine, delete_queue(NVME_ADMIN_DELETE_SQ, 0)),
			 NVME_INVALID_QUEUE_ID);
	assert_int_equal(admin(machine, delete_queue(NVME_ADMIN_DELETE_SQ, 3)),
			 NVME_INVALID_QUEUE_ID);
	assert_int_equal(admin(machine, delete_queue(NVME_ADMIN_DELETE_SQ, 0xffff)),
			 NVME_INVALID_QUEUE_ID);
	assert_int_equal(admin(machine, delete_queue(NVME_ADMIN_DELETE_CQ, 0)),
			 NVME_INVALID_QUEUE_ID);
	assert_int_equal(admin(machine, delete_queue(NVME_ADMIN_DELETE_CQ, 3)),
			 NVME_INVALID_QUEUE_ID);
	assert_int_equal(admin(machine, delete_queue(NVME_ADMIN_DELETE_CQ, 1)),
			 NVME_INVALID_QUEUE_DELETION);
	assert_int_equal(admin(machine, delete_queue(NVME_ADMIN_DELETE_SQ, 1)), 0);
	assert_int_equal(admin(machine, delete_queue(NVME_ADMIN_DELETE_SQ, 1)),
			 NVME_INVALID_QUEUE_ID);
	assert_int_equal(admin(machine, delete_queue(NVME_ADMIN_DELETE_CQ, 1)), 0);
	machine_create_queue(machine, 1, MACHINE_ENTRIES); /* and again */
}

/* All in one batch, before the queue's worker has heard of the first. */
static void commands_that_overtake_each_other(void **state)
{
	struct machine *machine = *state;
	uint64_t ring = machine_alloc(machine, 2);
	static const nvme_status expected[] = { 0, NVME_INVALID_QUEUE_ID,
						0, NVME_INVALID_QUEUE_DELETION,
						0, NVME_INVALID_QUEUE_ID };
	const struct nvme_command commands[] = {
		machine_create_cq(4, 16, ring, 4),	  machine_create_cq(4, 16, ring, 4),
		machine_create_sq(4, 16, ring + 4096, 4), delete_queue(NVME_ADMIN_DELETE_CQ, 4),
		delete_queue(NVME_ADMIN_DELETE_SQ, 4),	  delete_queue(NVME_ADMIN_DELETE_SQ, 4),
	};
	struct machine_completion completion;
	uint16_t first = machine->next_cid;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		machine_put(machine, 0, commands[i]);
	machine_ring(machine, 0);
	machine_run(machine);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		assert_true(machine_take(machine, 0, &completion));
		assert_status(completion, expected[completion.cid - first]);
	}
	assert_int_equal(admin(machine, delete_queue(NVME_ADMIN_DELETE_CQ, 4)), 0);
}

static void delete_sq_waits_for_what_is_in_flight(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion;

	disk->hold = true;
	machine_submit(machine, 2, machine_rw(NVME_IO_READ, 0, 1, page, 0));
	machine_run(machine);
	machine_submit(machine, 0, delete_queue(NVME_ADMIN_DELETE_SQ, 2));
	machine_run(machine);
	assert_false(machine_take(machine, 0, &completion));
	/* What comes after the deletion has begun is not fetched. */
	machine_submit(machine, 2, machine_rw(NVME_IO_READ, 0, 1, page, 0));
	machine_run(machine);
	assert_int_equal(disk->count, 1);
	machine_release(machine, disk);
	machine_run(machine);
	assert_true(machine_take(machine, 2, &completion));
	assert_true(machine_take(machine, 0, &completion));
	assert_status(completion, 0);
}

static void phase_follows_the_wraps(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);

	for (unsigned i = 0; i < 5 * MACHINE_ENTRIES; i++)
		assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_READ, i, 1, page, 0)),
			      0);
}

static void a_full_cq_holds_commands_back(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1), cq = machine_alloc(machine, 1),
		 sq = machine_alloc(machine, 1);
	struct machine_queue *queue = &machine->queues[3];
	struct machine_completion completion;
	uint16_t first = machine->next_cid;
	unsigned got = 0;

	assert_int_equal(admin(machine, machine_create_cq(3, 4, cq, 3)), 0);
	assert_int_equal(admin(machine, machine_create_sq(3, 16, sq, 3)), 0);
	*queue = (struct machine_queue){
		.sq = sq, .cq = cq, .sq_entries = 16, .cq_entries = 4, .phase = 1
	};
	first = machine->next_cid;
	for (unsigned i = 0; i < 12; i++)
		machine_put(machine, 3, machine_rw(NVME_IO_READ, i, 1, page, 0));
	machine_ring(machine, 3);
	machine_run(machine);
	while (machine_peek(machine, 3, &completion)) /* without the doorbell */
		got++;
	assert_int_equal(got, 3); /* one slot stays free */
	machine_run(machine);
	assert_false(machine_peek(machine, 3, &completion));

	for (unsigned i = 0; got < 12; i++) {
		assert_true(i < 100);
		machine_write32(machine, NVME_BAR0_DOORBELLS + 3 * 8 + 4, queue->head);
		machine_run(machine);
		while (machine_peek(machine, 3, &completion))
			assert_int_equal(completion.cid, (uint16_t)(first + got++));
	}
	assert_int_equal(nvme_worker_in_flight(machine->workers[0]), 0);
}

/* The guest gave up on a full queue: deleting it must not wait for room. */
static void a_queue_with_a_full_cq_can_be_deleted(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1), cq = machine_alloc(machine, 1),
		 sq = machine_alloc(machine, 1);

	assert_int_equal(admin(machine, machine_create_cq(3, 2, cq, 3)), 0);
	assert_int_equal(admin(machine, machine_create_sq(3, 16, sq, 3)), 0);
	machine->queues[3] = (struct machine_queue){
		.sq = sq, .cq = cq, .sq_entries = 16, .cq_entries = 2, .phase = 1
	};
	for (unsigned i = 0; i < 12; i++)
		machine_submit(machine, 3, machine_rw(NVME_IO_READ, i, 1, page, 0));
	machine_run(machine);
	assert_int_equal(admin(machine, delete_queue(NVME_ADMIN_DELETE_SQ, 3)), 0);
	assert_int_equal(admin(machine, delete_queue(NVME_ADMIN_DELETE_CQ, 3)), 0);
	assert_int_equal(nvme_worker_in_flight(machine->workers[0]), 0);
}

/* The same for a command that ends only when the deletion has begun. */
static void a_late_command_of_a_full_cq_does_not_hold_its_deletion(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 1), cq = machine_alloc(machine, 1),
		 sq = machine_alloc(machine, 1);
	struct machine_completion completion;

	assert_int_equal(admin(machine, machine_create_cq(3, 2, cq, 3)), 0);
	assert_int_equal(admin(machine, machine_create_sq(3, 16, sq, 3)), 0);
	machine->queues[3] = (struct machine_queue){
		.sq = sq, .cq = cq, .sq_entries = 16, .cq_entries = 2, .phase = 1
	};
	disk->hold = true;
	for (unsigned i = 0; i < 3; i++)
		machine_submit(machine, 3, machine_rw(NVME_IO_READ, i, 1, page, 0));
	machine_submit(machine, 0, delete_queue(NVME_ADMIN_DELETE_SQ, 3));
	machine_run(machine);
	while (disk->count)
		machine_release(machine, disk);
	machine_run(machine);
	assert_true(machine_take(machine, 0, &completion));
	assert_status(completion, 0);
	assert_int_equal(nvme_worker_in_flight(machine->workers[0]), 0);
}

/* A doorbell can be judged by a queue that is deleted and made anew, smaller, before it is stored. */
static void a_tail_outside_the_queue_fetches_nothing(void **state)
{
	struct machine *machine = *state;
	struct nvme_state *nvme = machine->state;
	struct machine_completion completion;

	nvme->sqs[1].tail = MACHINE_ENTRIES + 20;
	machine_run(machine);
	assert_int_equal(nvme->sqs[1].fetched, 0);
	assert_false(machine_take(machine, 1, &completion));
}

static void one_interrupt_for_a_batch(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);

	for (unsigned i = 0; i < 10; i++)
		machine_put(machine, 1, machine_rw(NVME_IO_READ, i, 1, page, 0));
	machine_ring(machine, 1);
	machine_run(machine);
	assert_int_equal(machine->interrupts[1], 1);
	assert_int_equal(machine->interrupts[2], 0);
}

static void intx_is_a_level(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion;
	struct nvme_command identify = { .opcode = NVME_ADMIN_IDENTIFY, .prp1 = page, .cdw10 = 1 };

	nvme_controller_set_msix(machine->ctrl, false);
	assert_false(machine->intx);
	machine_submit(machine, 0, identify);
	machine_submit(machine, 0, identify);
	machine_run(machine);
	assert_true(machine->intx);
	machine_write32(machine, NVME_REG_INTMS, 1);
	assert_false(machine->intx);
	machine_write32(machine, NVME_REG_INTMC, 1);
	assert_true(machine->intx);
	machine_take(machine, 0, &completion);
	assert_true(machine->intx); /* one more */
	machine_take(machine, 0, &completion);
	assert_false(machine->intx);
	machine_submit(machine, 0, identify);
	machine_run(machine);
	assert_true(machine->intx);
	nvme_controller_set_msix(machine->ctrl, true);
	assert_false(machine->intx);
	nvme_controller_set_msix(machine->ctrl, false);
	assert_true(machine->intx);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	assert_false(machine->intx);
}

static void queues_are_found_where_memory_has_moved(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);

	for (unsigned i = 0; i < 3; i++) {
		machine_move_memory(machine);
		assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_READ, i, 1, page, 0)),
			      0);
	}
}

/* QEMU takes a region away and gives back its parts: what was in it waits meanwhile. */
static void queues_rest_while_memory_is_away(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion;

	disk->hold = true;
	machine_submit(machine, 1, machine_rw(NVME_IO_READ, 0, 1, page, 0));
	machine_run(machine);
	machine->hole = machine->queues[1].sq;
	machine->hole_len = 2 * 4096; /* the CQ as well */
	machine->host.map_generation++;
	machine_submit(machine, 1, machine_rw(NVME_IO_READ, 0, 1, page, 0));
	machine_release(machine, disk);
	disk->hold = false;
	machine_run(machine);
	assert_false(machine_take(machine, 1, &completion));
	machine->hole_len = 0;
	machine->host.map_generation++;
	machine_run(machine);
	assert_true(machine_take(machine, 1, &completion));
	assert_true(machine_take(machine, 1, &completion));
}

static void without_bus_master_nothing_moves(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion;

	disk->hold = true;
	machine_submit(machine, 1, machine_rw(NVME_IO_READ, 0, 1, page, 0));
	machine_run(machine);
	nvme_controller_set_bus_master(machine->ctrl, false);
	machine_submit(machine, 2, machine_rw(NVME_IO_READ, 0, 1, page, 0));
	machine_release(machine, disk);
	machine_run(machine);
	assert_int_equal(disk->submitted, 1);
	assert_false(machine_take(machine, 1, &completion));
	disk->hold = false;
	nvme_controller_set_bus_master(machine->ctrl, true);
	machine_run(machine);
	assert_true(machine_take(machine, 1, &completion));
	assert_true(machine_take(machine, 2, &completion));
}

static void workers_own_queues(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion;

	/* Queue 1 is worker 0's, queue 2 worker 1's: the other one must not touch it. */
	machine->kicks[1] = 0;
	machine_submit(machine, 2, machine_rw(NVME_IO_READ, 0, 1, page, 0));
	assert_int_equal(machine->kicks[1], 1);
	while (machine_run_worker(machine, 0))
		;
	assert_false(machine_take(machine, 2, &completion));
	assert_false(nvme_worker_arm(machine->workers[1])); /* it must not sleep now */
	assert_true(machine_run_worker(machine, 1));
	assert_true(machine_take(machine, 2, &completion));
	machine_run(machine);

	/* An SQ follows its CQ. */
	assert_int_equal(admin(machine, machine_create_sq(3, 16, page, 2)), 0);
	machine_write32(machine, NVME_BAR0_DOORBELLS + 3 * 8, 0);
	assert_int_equal(machine->kicks[1], 2); /* and not for the head of queue 2 */
}

static void workers_delete_each_others_queues(void **state)
{
	struct machine *machine = *state;

	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(admin(machine, delete_queue(NVME_ADMIN_DELETE_SQ, 2)), 0);
		assert_int_equal(admin(machine, delete_queue(NVME_ADMIN_DELETE_CQ, 2)), 0);
		machine_create_queue(machine, 2, MACHINE_ENTRIES);
	}
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)
#define test_two(name)                                                                             \
	cmocka_unit_test_setup_teardown(name, machine_setup_two_workers, machine_teardown)
	const struct CMUnitTest tests[] = {
		test(create_cq_judges),
		test(create_sq_judges),
		test(delete_judges),
		test(commands_that_overtake_each_other),
		test_two(commands_that_overtake_each_other),
		test(delete_sq_waits_for_what_is_in_flight),
		test_two(delete_sq_waits_for_what_is_in_flight),
		test(phase_follows_the_wraps),
		test(a_full_cq_holds_commands_back),
		test(a_queue_with_a_full_cq_can_be_deleted),
		test(a_late_command_of_a_full_cq_does_not_hold_its_deletion),
		test(a_tail_outside_the_queue_fetches_nothing),
		test(one_interrupt_for_a_batch),
		test(intx_is_a_level),
		test(queues_are_found_where_memory_has_moved),
		test(queues_rest_while_memory_is_away),
		test(without_bus_master_nothing_moves),
		test_two(workers_own_queues),
		test_two(workers_delete_each_others_queues),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
