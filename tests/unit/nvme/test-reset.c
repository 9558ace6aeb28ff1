// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/journal.h"
#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

static void count_call(void *opaque)
{
	(*(unsigned *)opaque)++;
}

/* The guest may use its queue memory for something else from RDY 0 on: nothing may be posted. */
static void disabling_waits_and_posts_nothing(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion;

	disk->hold = true;
	for (unsigned i = 0; i < 4; i++) {
		machine_submit(machine, 1, machine_rw(NVME_IO_READ, i, 1, page, 0));
		machine_submit(machine, 2, machine_rw(NVME_IO_WRITE, i, 1, page, 0));
	}
	machine_run(machine);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	assert_true(machine->cancelled);
	while (disk->count) {
		assert_int_equal(machine_read32(machine, NVME_REG_CSTS), NVME_CSTS_RDY);
		machine_release(machine, disk);
		machine_run(machine);
	}
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
	assert_false(machine->cancelled);
	assert_false(machine_peek(machine, 1, &completion));
	assert_false(machine_peek(machine, 2, &completion));

	disk->hold = false;
	machine_enable(machine);
	machine_create_queue(machine, 1, MACHINE_ENTRIES);
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_READ, 0, 1, page, 0)), 0);
}

/* A bounced read that ends after the reset began must not reach guest memory. */
static void late_data_is_not_delivered(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 1);
	uint8_t *at = machine_at(machine, page);

	memset(disk->data, 0x55, 512);
	disk->hold = true;
	machine->message_writes = true;
	machine_submit(machine, 1, machine_rw(NVME_IO_READ, 0, 1, page, 0));
	machine_run(machine);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	machine_release(machine, disk);
	machine_run(machine);
	assert_int_equal(at[0], 0);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
}

/* RDY 0 gives the guest its memory back: what was posted must have been executed. */
static void disabling_waits_for_posted_writes(void **state)
{
	struct machine *machine = *state;
	unsigned done = 0;

	machine->writes_pending = true;
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), NVME_CSTS_RDY);
	machine_execute_writes(machine);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);

	/* A reset does not wait: whoever wants it may execute nothing before it has its answer. */
	machine_enable(machine);
	machine->writes_pending = true;
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	nvme_controller_reset(machine->ctrl, count_call, &done);
	machine_run(machine);
	assert_int_equal(done, 1);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
	machine->writes_pending = false;
	machine_enable(machine);
	machine_execute_writes(machine); /* of before: nothing happens */
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), NVME_CSTS_RDY);
}

/* Data that waits for room when the reset comes is forgotten. */
static void waiting_data_is_dropped(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	unsigned before;

	machine->message_writes = machine->no_room = true;
	machine->host.map_generation++;
	machine_submit(machine, 1, machine_rw(NVME_IO_READ, 0, 1, page, 0));
	machine_run(machine);
	before = machine->writes;
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
	machine->no_room = false;
	machine_run(machine);
	assert_int_equal(machine->writes, before);
	machine_enable(machine);
}

static void reset_brings_power_on_values(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 1);
	unsigned done = 0, other = 0;

	disk->hold = true;
	machine_submit(machine, 1, machine_rw(NVME_IO_READ, 0, 1, page, 0));
	machine_run(machine);
	nvme_controller_reset(machine->ctrl, count_call, &done);
	nvme_controller_reset(machine->ctrl, count_call, &done); /* the same waits once */
	nvme_controller_reset(machine->ctrl, count_call, &other);
	machine_write32(machine, NVME_REG_CC, 0x460001); /* is lost */
	machine_run(machine);
	assert_int_equal(done, 0);
	machine_release(machine, disk);
	machine_run(machine);
	assert_int_equal(done, 1);
	assert_int_equal(other, 1);
	assert_int_equal(machine_read32(machine, NVME_REG_CC), 0);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
	assert_int_equal(machine_read32(machine, NVME_REG_AQA), 0);
	assert_int_equal(machine_read64(machine, NVME_REG_ASQ), 0);
	machine_enable(machine);

	nvme_controller_reset(machine->ctrl, count_call, &done);
	machine_run(machine);
	nvme_controller_reset(machine->ctrl, count_call, &done); /* already off */
	machine_run(machine);
	assert_int_equal(done, 3);
}

static void a_reset_joins_the_disabling(void **state)
{
	struct machine *machine = *state;
	unsigned done = 0;

	machine_write32(machine, NVME_REG_CC, 0);
	nvme_controller_reset(machine->ctrl, count_call, &done);
	machine_run(machine);
	assert_int_equal(done, 1);
	assert_int_equal(machine_read32(machine, NVME_REG_AQA), 0);
}

/* Each turn of the reset comes at another moment of a queue's creation and deletion. */
static void reset_amid_queue_commands(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	uint64_t allocated = machine->allocated;

	for (unsigned steps = 0; steps < 24; steps++) {
		unsigned done = 0;

		machine->allocated = allocated;
		machine_submit(machine, 0,
			       (struct nvme_command){ .opcode = NVME_ADMIN_DELETE_SQ, .cdw10 = 2 });
		machine_submit(machine, 0, machine_create_cq(4, 16, page, 4));
		machine_submit(machine, 0, machine_create_sq(3, 16, page, 2));
		machine_submit(machine, 0,
			       (struct nvme_command){ .opcode = NVME_ADMIN_ASYNC_EVENT });
		for (unsigned i = 0; i < steps; i++) {
			if (i % 3 == 2)
				machine_run_control(machine);
			else
				machine_run_worker(machine, (i + steps) % 2);
		}
		nvme_controller_reset(machine->ctrl, count_call, &done);
		machine_run(machine);
		assert_int_equal(done, 1);
		assert_int_equal(nvme_worker_in_flight(machine->workers[0]), 0);
		assert_int_equal(nvme_worker_in_flight(machine->workers[1]), 0);
		machine_enable(machine);
		machine_create_queue(machine, 1, MACHINE_ENTRIES);
		machine_create_queue(machine, 2, MACHINE_ENTRIES);
		assert_status(machine_execute(machine, 2, machine_rw(NVME_IO_READ, 0, 1, page, 0)),
			      0);
	}
}

static void parked_events_are_forgotten(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk_new(MiB);
	struct machine_completion completion;

	for (unsigned i = 0; i < NVME_MAX_ASYNC_EVENTS; i++)
		machine_submit(machine, 0,
			       (struct nvme_command){ .opcode = NVME_ADMIN_ASYNC_EVENT });
	machine_run(machine);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	machine_enable(machine);
	machine_attach(machine, 9, disk);
	machine_run(machine);
	assert_false(machine_take(machine, 0, &completion));
	machine_submit(machine, 0, (struct nvme_command){ .opcode = NVME_ADMIN_ASYNC_EVENT });
	machine_run(machine);
	assert_false(machine_take(machine, 0, &completion)); /* parked, not refused */
	machine_disk_free(disk);
}

/* Detaching is under way when the reset comes; both must end. */
static void reset_amid_detach(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 1);
	unsigned done = 0;

	disk->hold = true;
	machine_submit(machine, 2, machine_rw(NVME_IO_READ, 0, 1, page, 0));
	machine_run(machine);
	nvme_controller_detach(machine->ctrl, 1, count_call, &done);
	nvme_controller_reset(machine->ctrl, count_call, &done);
	machine_run(machine);
	assert_int_equal(done, 0);
	machine_release(machine, disk);
	machine_run(machine);
	assert_int_equal(done, 2);
}

static void a_successor_goes_on(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion;
	uint16_t event;

	event = machine_submit(machine, 0,
			       (struct nvme_command){ .opcode = NVME_ADMIN_ASYNC_EVENT });
	for (unsigned i = 0; i < MACHINE_ENTRIES + 3; i++)
		machine_execute(machine, 1, machine_rw(NVME_IO_READ, 0, 1, page, 0));
	machine_execute(machine, 0,
			(struct nvme_command){ .opcode = NVME_ADMIN_SET_FEATURE,
					       .cdw10 = NVME_FEATURE_ASYNC_EVENT,
					       .cdw11 = NVME_EVENT_NAMESPACE_MASK });
	/* Rung and not fetched. */
	machine_submit(machine, 2, machine_rw(NVME_IO_READ, 0, 1, page, 0));

	assert_non_null(machine_restart(machine, NULL));
	machine_attach(machine, 1, machine_disk(machine));
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), NVME_CSTS_RDY);
	assert_true(machine_take(machine, 2, &completion));
	assert_status(completion, 0);
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_READ, 0, 1, page, 0)), 0);

	/* The namespace is the same: no event. One that is new raises it. */
	assert_false(machine_take(machine, 0, &completion));
	machine_disk(machine)->info.capacity = MiB;
	nvme_controller_resized(machine->ctrl, 1);
	machine_run(machine);
	assert_true(machine_take(machine, 0, &completion));
	assert_int_equal(completion.cid, event);
}

static void a_successor_judges_the_state(void **state)
{
	struct machine *machine = *state;
	struct nvme_state *it = machine->state, *good = malloc(sizeof(*good));
	_cleanup_error_ struct error *error = NULL;

	assert_non_null(good);
	memcpy(good, it, sizeof(*good));
#define refused(change)                                                                            \
	do {                                                                                       \
		change;                                                                            \
		assert_null(machine_restart(machine, &error));                                     \
		assert_non_null(error);                                                            \
		error_free(steal_pointer(error));                                                  \
		memcpy(it, good, sizeof(*good));                                                   \
	} while (0)
	refused(it->magic = 1);
	refused(it->version++);
	refused(it->size--);
	refused(it->sqs[1].entries = NVME_MAX_IO_ENTRIES + 1);
	refused(it->sqs[1].slots = NVME_JOURNAL_SLOTS + 1);
	refused(it->sqs[1].cqid = NVME_MAX_QUEUES);
	refused(it->sqs[1].cqid = 3);
	refused(it->sqs[1].cqid = 0);
	refused(it->cqs[1].entries = 65536);
	refused(it->cqs[1].position = MACHINE_ENTRIES);
	refused(it->cqs[1].position = 2u << NVME_POSITION_PHASE);
	refused((it->sqs[1].slots = 1, it->journals[1].slots[0].word = NVME_JOURNAL_POSTING + 1));
	refused((it->sqs[1].slots = 1,
		 it->journals[1].slots[0].word = NVME_JOURNAL_WORD(NVME_JOURNAL_POSTING, 0, 0) |
						 NVME_JOURNAL_PLACE(MACHINE_ENTRIES)));
	refused(it->cqs[1].vector = MACHINE_QUEUES + 1);
	refused(it->cqs[MACHINE_QUEUES + 1].entries = 16);
	assert_non_null(machine_restart(machine, NULL));
	free(good);
}

static void config_is_judged(void **state)
{
	struct machine *machine = *state;
	struct nvme_controller_config good = machine->config;
	_cleanup_error_ struct error *error = NULL;

	memset(machine->state, 0, nvme_controller_state_size());
#define bad(change)                                                                                \
	do {                                                                                       \
		change;                                                                            \
		assert_null(machine_restart(machine, &error));                                     \
		assert_non_null(error);                                                            \
		error_free(steal_pointer(error));                                                  \
		machine->config = good;                                                            \
	} while (0)
	bad(machine->config.serial[0] = 0);
	bad(machine->config.serial[2] = '\t');
	bad(memset(machine->config.serial, 'x', 21));
	bad(machine->config.queues = 0);
	bad(machine->config.queues = NVME_MAX_IO_QUEUES + 1);
	bad(machine->config.vectors = 0);
	bad(machine->config.vectors = NVME_MAX_QUEUES + 1);
	memset(machine->config.serial, 'x', 20);
	assert_non_null(machine_restart(machine, NULL));
}

/* The machine waits for its answer and does nothing else, a thaw included. */
static void a_frozen_controller_is_reset(void **state)
{
	struct machine *machine = *state;
	unsigned frozen = 0, done = 0;

	nvme_controller_freeze(machine->ctrl, count_call, &frozen);
	machine_run(machine);
	assert_int_equal(frozen, 1);
	nvme_controller_reset(machine->ctrl, count_call, &done);
	machine_run(machine);
	assert_int_equal(done, 1);
	assert_int_equal(machine_read32(machine, NVME_REG_CC), 0);
	nvme_controller_thaw(machine->ctrl);
	machine_enable(machine);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)
#define test_two(name)                                                                             \
	cmocka_unit_test_setup_teardown(name, machine_setup_two_workers, machine_teardown)
	const struct CMUnitTest tests[] = {
		test(disabling_waits_and_posts_nothing),
		test_two(disabling_waits_and_posts_nothing),
		test(late_data_is_not_delivered),
		test(disabling_waits_for_posted_writes),
		test_two(disabling_waits_for_posted_writes),
		test(waiting_data_is_dropped),
		test(reset_brings_power_on_values),
		test_two(reset_brings_power_on_values),
		test(a_reset_joins_the_disabling),
		test_two(reset_amid_queue_commands),
		test(parked_events_are_forgotten),
		test(a_frozen_controller_is_reset),
		test_two(a_frozen_controller_is_reset),
		test_two(reset_amid_detach),
		test(a_successor_goes_on),
		test_two(a_successor_goes_on),
		test(a_successor_judges_the_state),
		test(config_is_judged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
