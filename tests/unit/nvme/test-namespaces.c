// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

#define NAMESPACE_CHANGED                                                                          \
	(NVME_EVENT_TYPE_NOTICE | NVME_EVENT_NAMESPACE_CHANGED << 8 |                              \
	 NVME_LOG_CHANGED_NAMESPACES << 16)

static const struct nvme_command async_event = { .opcode = NVME_ADMIN_ASYNC_EVENT };

static void enable_namespace_events(struct machine *machine)
{
	assert_status(machine_execute(machine, 0,
				      (struct nvme_command){ .opcode = NVME_ADMIN_SET_FEATURE,
							     .cdw10 = NVME_FEATURE_ASYNC_EVENT,
							     .cdw11 = NVME_EVENT_NAMESPACE_MASK }),
		      0);
}

static void count_call(void *opaque)
{
	(*(unsigned *)opaque)++;
}

static void read_changed(struct machine *machine, bool retain, uint32_t first, uint32_t second)
{
	uint64_t page = machine_alloc(machine, 1);
	const uint32_t *list = machine_at(machine, page);

	assert_status(machine_execute(machine, 0,
				      machine_get_log(NVME_LOG_CHANGED_NAMESPACES, 4096, 0, retain,
						      page)),
		      0);
	assert_int_equal(list[0], first);
	assert_int_equal(list[1], second);
}

/* The next event, which must be for command @cid. */
static void expect_event(struct machine *machine, uint16_t cid, uint32_t result)
{
	struct machine_completion completion;

	machine_run(machine);
	assert_true(machine_take(machine, 0, &completion));
	assert_int_equal(completion.cid, cid);
	assert_status(completion, 0);
	assert_int_equal(completion.result, result);
}

static void expect_no_event(struct machine *machine)
{
	struct machine_completion completion;

	machine_run(machine);
	assert_false(machine_take(machine, 0, &completion));
}

static void attach_and_detach_raise_an_event(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk_new(MiB);
	uint16_t first, second;
	unsigned done = 0;

	enable_namespace_events(machine);
	first = machine_submit(machine, 0, async_event);
	second = machine_submit(machine, 0, async_event);
	expect_no_event(machine);
	machine_attach(machine, 3, disk);
	expect_event(machine, first, NAMESPACE_CHANGED);

	/* One event until the log is read. */
	assert_int_equal(nvme_controller_detach(machine->ctrl, 1, count_call, &done), 0);
	expect_no_event(machine);
	assert_int_equal(done, 1);
	read_changed(machine, true, 1, 3);
	expect_no_event(machine);
	read_changed(machine, false, 1, 3);
	read_changed(machine, false, 0, 0);
	expect_no_event(machine); /* the second one was in the list that was read */

	nvme_controller_detach(machine->ctrl, 3, count_call, &done);
	expect_event(machine, second, NAMESPACE_CHANGED);
	read_changed(machine, false, 3, 0);
	machine_disk_free(disk);
}

static void an_event_waits_for_a_request(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk_new(MiB);

	enable_namespace_events(machine);
	machine_attach(machine, 3, disk);
	expect_no_event(machine);
	expect_event(machine, machine_submit(machine, 0, async_event), NAMESPACE_CHANGED);
	machine_disk_free(disk);
}

static void events_that_are_not_enabled_do_not_come(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk_new(MiB);

	machine_submit(machine, 0, async_event);
	machine_attach(machine, 3, disk);
	expect_no_event(machine);
	enable_namespace_events(machine);
	expect_no_event(machine);	    /* nor afterwards */
	read_changed(machine, false, 1, 3); /* 1: attached before the controller was enabled */
	machine_disk_free(disk);
}

static void there_is_a_limit_of_requests(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk_new(MiB);
	uint16_t first = machine->next_cid;

	for (unsigned i = 0; i < NVME_MAX_ASYNC_EVENTS; i++) {
		machine_submit(machine, 0, async_event);
		expect_no_event(machine);
	}
	for (unsigned i = 0; i < 3; i++)
		assert_status(machine_execute(machine, 0, async_event), NVME_ASYNC_EVENT_LIMIT);
	/* Those parked are not harmed. */
	enable_namespace_events(machine);
	machine_attach(machine, 3, disk);
	expect_event(machine, first, NAMESPACE_CHANGED);
	machine_submit(machine, 0, async_event);
	expect_no_event(machine);
	assert_status(machine_execute(machine, 0, async_event), NVME_ASYNC_EVENT_LIMIT);
	machine_disk_free(disk);
}

static void wrong_doorbells_raise_events(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	uint16_t first = machine_submit(machine, 0, async_event);
	uint16_t second = machine_submit(machine, 0, async_event);

	/* A value outside the queue. */
	machine_write32(machine, NVME_BAR0_DOORBELLS + 8, MACHINE_ENTRIES);
	expect_event(machine, first, NVME_EVENT_INVALID_DOORBELL_VALUE << 8 | NVME_LOG_ERROR << 16);
	/* No such queue: the same type, so only when the log has been read. */
	machine_write32(machine, NVME_BAR0_DOORBELLS + 3 * 8 + 4, 1);
	expect_no_event(machine);
	machine_submit(machine, 0, machine_get_log(NVME_LOG_ERROR, 64, 0, false, page));
	machine_run(machine);
	{
		struct machine_completion completion;
		unsigned events = 0;

		while (machine_take(machine, 0, &completion))
			if (completion.cid == second) {
				events++;
				assert_int_equal(completion.result,
						 NVME_EVENT_INVALID_DOORBELL_REGISTER << 8 |
							 NVME_LOG_ERROR << 16);
			}
		assert_int_equal(events, 1);
	}
	/* And all the others do no harm. */
	for (uint64_t offset = NVME_BAR0_DOORBELLS; offset < NVME_BAR0_SIZE; offset += 4)
		if (offset >= NVME_BAR0_DOORBELLS + 3 * 8)
			machine_write32(machine, offset, 0xffffffff);
	machine_write32(machine, NVME_BAR0_DOORBELLS + 12, 0xffffffff);
	machine_run(machine);
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_READ, 0, 1, page, 0)), 0);
}

static void detach_waits_for_what_is_in_flight(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion;
	unsigned done = 0;

	disk->hold = true;
	machine_submit(machine, 1, machine_rw(NVME_IO_READ, 0, 1, page, 0));
	machine_submit(machine, 2, machine_rw(NVME_IO_READ, 0, 1, page, 0));
	machine_run(machine);
	assert_int_equal(disk->count, 2);
	assert_int_equal(nvme_controller_detach(machine->ctrl, 1, count_call, &done), 0);
	assert_int_equal(nvme_controller_detach(machine->ctrl, 1, count_call, &done), -ENOENT);
	machine_run(machine);
	assert_int_equal(done, 0);

	/* No new command gets there. */
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_READ, 0, 1, page, 0)),
		      NVME_INVALID_FIELD);
	machine_release(machine, disk);
	machine_run(machine);
	assert_int_equal(done, 0);
	machine_release(machine, disk);
	machine_run(machine);
	assert_int_equal(done, 1);
	assert_true(machine_take(machine, 1, &completion));
	assert_status(completion, 0);
	assert_true(machine_take(machine, 2, &completion));

	disk->hold = false;
	machine_attach(machine, 1, disk);
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_READ, 0, 1, page, 0)), 0);
}

static void attach_refuses(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk_new(MiB);
	struct block *block = (struct block *)disk;
	struct nvme_namespace_config config = { .nsid = 1 };
	unsigned done = 0;

#define refused(err)                                                                               \
	do {                                                                                       \
		_cleanup_error_ struct error *error = NULL;                                        \
		assert_int_equal(nvme_controller_attach(machine->ctrl, &config, block, &error),    \
				 -(err));                                                          \
		assert_non_null(error);                                                            \
	} while (0)

	refused(EEXIST);
	config.nsid = 0;
	refused(EINVAL);
	config.nsid = NVME_MAX_NAMESPACES + 1;
	refused(EINVAL);
	config.nsid = 2;
	config.block_size = 1024;
	refused(EINVAL);
	config.block_size = 512;
	disk->info.block_size = 4096;
	refused(EINVAL);
	config.block_size = 0;
	disk->info.capacity = 4095;
	refused(EINVAL);
	disk->info.capacity = 0;
	refused(EINVAL);
	disk->info.capacity = MiB;

	machine_disk(machine)->hold = true;
	machine_submit(machine, 1, machine_rw(NVME_IO_READ, 0, 1, machine_alloc(machine, 1), 0));
	machine_run(machine);
	nvme_controller_detach(machine->ctrl, 1, count_call, &done);
	config.nsid = 1;
	refused(EBUSY); /* until the other is gone */
	machine_release(machine, machine_disk(machine));
	machine_run(machine);
	assert_int_equal(nvme_controller_attach(machine->ctrl, &config, block, NULL), 0);
	machine_disk_free(disk);
}

static void a_grown_disk_is_announced(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 1);
	uint16_t event;

	enable_namespace_events(machine);
	event = machine_submit(machine, 0, async_event);
	disk->info.capacity = 4 * MiB;
	assert_int_equal(nvme_controller_resized(machine->ctrl, 2), -ENOENT);
	assert_int_equal(nvme_controller_resized(machine->ctrl, 1), 0);
	expect_event(machine, event, NAMESPACE_CHANGED);
	assert_status(machine_execute(machine, 1,
				      machine_rw(NVME_IO_READ, 4 * MiB / 512, 1, page, 0)),
		      NVME_LBA_OUT_OF_RANGE);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)
#define test_two(name)                                                                             \
	cmocka_unit_test_setup_teardown(name, machine_setup_two_workers, machine_teardown)
	const struct CMUnitTest tests[] = {
		test(attach_and_detach_raise_an_event),
		test(an_event_waits_for_a_request),
		test(events_that_are_not_enabled_do_not_come),
		test(there_is_a_limit_of_requests),
		test(wrong_doorbells_raise_events),
		test(detach_waits_for_what_is_in_flight),
		test_two(detach_waits_for_what_is_in_flight),
		test(attach_refuses),
		test(a_grown_disk_is_announced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
