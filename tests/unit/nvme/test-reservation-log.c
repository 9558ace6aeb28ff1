// SPDX-License-Identifier: LGPL-2.1-or-later
/* What guests are told of the reservations that others change. */
#include "nvme/reservation-log.h"
#include "nvme/state.h"
#include "tests/unit/nvme/guests.h"
#include "tests/unit/test.h"

#define LOG_PAGE_AVAILABLE                                                                         \
	(NVME_EVENT_TYPE_COMMAND_SET | NVME_EVENT_RESERVATION_LOG << 8 | NVME_LOG_RESERVATION << 16)

static uint64_t last[GUESTS]; /* count of the log page */

static int setup(void **state)
{
	memset(last, 0, sizeof(last));
	return guests_setup(state);
}

static void run_all(void)
{
	guests_look();
	for (unsigned i = 0; i < GUESTS; i++)
		machine_run(guests[i].machine);
}

static struct nvme_reservation_log read_log(struct guest *guest, bool retain)
{
	const struct nvme_reservation_log *page = machine_at(guest->machine, guest->data);

	run_all();
	assert_status(machine_execute(guest->machine, 0,
				      machine_get_log(NVME_LOG_RESERVATION, sizeof(*page), 0,
						      retain, guest->data)),
		      0);
	return *page;
}

static void expect_notice(struct guest *guest, unsigned type, unsigned available)
{
	const struct nvme_reservation_log log = read_log(guest, false);

	assert_int_equal(log.count, ++last[guest - guests]);
	assert_int_equal(log.type, type);
	assert_int_equal(log.available, available);
	assert_int_equal(log.nsid, 1);
}

static void expect_none(struct guest *guest)
{
	static const struct nvme_reservation_log none;
	const struct nvme_reservation_log log = read_log(guest, false);

	assert_memory_equal(&log, &none, sizeof(log));
}

static void wait_for_event(struct guest *guest)
{
	machine_submit(guest->machine, 0,
		       (struct nvme_command){ .opcode = NVME_ADMIN_ASYNC_EVENT });
	machine_run(guest->machine);
}

static bool has_event(struct guest *guest)
{
	struct machine_completion completion;

	run_all();
	if (!machine_take(guest->machine, 0, &completion))
		return false;
	assert_status(completion, 0);
	assert_int_equal(completion.result, LOG_PAGE_AVAILABLE);
	return true;
}

/* A page is read that is not empty. */
static bool read_and_has_event(struct guest *guest)
{
	const struct nvme_reservation_log *page = machine_at(guest->machine, guest->data);
	const uint16_t cid = machine_submit(guest->machine, 0,
					    machine_get_log(NVME_LOG_RESERVATION, sizeof(*page), 0,
							    false, guest->data));
	struct machine_completion completion;
	bool has_page = false, any = false;

	machine_run(guest->machine);
	while (machine_take(guest->machine, 0, &completion)) {
		assert_status(completion, 0);
		has_page |= completion.cid == cid;
		any |= completion.result == LOG_PAGE_AVAILABLE;
	}
	assert_true(has_page);
	assert_int_equal(page->count, ++last[guest - guests]);
	return any;
}

static struct machine_completion feature(struct guest *guest, uint8_t opcode, uint32_t id,
					 uint32_t nsid, uint32_t value)
{
	return machine_execute(
		guest->machine, 0,
		(struct nvme_command){
			.opcode = opcode, .nsid = nsid, .cdw10 = id, .cdw11 = value });
}

static void set_mask(struct guest *guest, uint32_t nsid, uint32_t mask)
{
	assert_status(feature(guest, NVME_ADMIN_SET_FEATURE, NVME_FEATURE_NOTIFICATION_MASK, nsid,
			      mask),
		      0);
}

static uint32_t get_mask(struct guest *guest, unsigned select)
{
	struct machine_completion completion = feature(
		guest, NVME_ADMIN_GET_FEATURE, NVME_FEATURE_NOTIFICATION_MASK | select << 8, 1, 0);

	assert_status(completion, 0);
	return completion.result;
}

/* Keys 1 to 3, and A reserves it. */
static void reserve(unsigned type)
{
	for (unsigned i = 0; i < GUESTS; i++)
		assert_int_equal(guest_registers(&guests[i], NVME_REGISTER, 0, i + 1), 0);
	assert_int_equal(guest_acquires(a, NVME_ACQUIRE, type, 1, 0), 0);
}

static void clear(void)
{
	assert_int_equal(guest_registers(a, NVME_REPLACE_KEY | NVME_RESERVATION_IEKEY, 0, 1), 0);
	assert_int_equal(guest_releases(a, NVME_CLEAR_ALL, 0, 1), 0);
}

static void is_said_where_it_is(void **state)
{
	const uint32_t *page = machine_at(a->machine, a->data);

	assert_status(machine_execute(a->machine, 0,
				      machine_get_log(NVME_LOG_SUPPORTED, 1024, 0, false, a->data)),
		      0);
	assert_int_equal(page[NVME_LOG_RESERVATION], NVME_SUPPORTED);
	assert_status(machine_execute(a->machine, 0,
				      machine_get_log(NVME_LOG_FEATURES, 1024, 0, false, a->data)),
		      0);
	assert_int_equal(page[NVME_FEATURE_NOTIFICATION_MASK],
			 NVME_SUPPORTED | NVME_SCOPE_NAMESPACE);
	assert_int_equal(page[NVME_FEATURE_PERSISTENCE], NVME_SUPPORTED | NVME_SCOPE_NAMESPACE);
	assert_int_equal(get_mask(a, 3), 6); /* it can be changed, of each namespace */

	assert_non_null(machine_restart(a->machine, NULL));
	machine_attach(a->machine, 1, guests_disk);
	assert_status(machine_execute(a->machine, 0,
				      machine_get_log(NVME_LOG_FEATURES, 1024, 0, false, a->data)),
		      0);
	assert_int_equal(page[NVME_FEATURE_NOTIFICATION_MASK], 0);
	assert_status(machine_execute(a->machine, 0,
				      machine_get_log(NVME_LOG_RESERVATION, 64, 0, false, a->data)),
		      NVME_INVALID_FIELD);
	assert_status(feature(a, NVME_ADMIN_GET_FEATURE, NVME_FEATURE_NOTIFICATION_MASK, 1, 0),
		      NVME_INVALID_FIELD);
	assert_status(feature(a, NVME_ADMIN_SET_FEATURE, NVME_FEATURE_PERSISTENCE, 1, 0),
		      NVME_INVALID_FIELD);
}

/* Who is registered, but for the one who releases it, and only where it meant something to him. */
static void releasing(void **state)
{
	for (unsigned type = 1; type <= NVME_RESERVATION_ACCESS_ALL; type++) {
		reserve(type);
		assert_int_equal(guest_registers(c, NVME_UNREGISTER, 3, 0), 0);
		assert_int_equal(guest_releases(a, NVME_RELEASE, type, 1), 0);
		if (type > NVME_RESERVATION_ACCESS)
			expect_notice(b, NVME_NOTICE_RESERVATION_RELEASED, 0);
		expect_none(a);
		expect_none(b);
		expect_none(c);
		clear();
		expect_notice(b, NVME_NOTICE_RESERVATION_PREEMPTED, 0);
	}
}

static void unregistering(void **state)
{
	for (unsigned type = 1; type <= NVME_RESERVATION_ACCESS_ALL; type++) {
		reserve(type);
		assert_int_equal(guest_registers(a, NVME_UNREGISTER, 1, 0), 0);
		if (type == NVME_RESERVATION_WRITE_REGISTERED ||
		    type == NVME_RESERVATION_ACCESS_REGISTERED)
			expect_notice(b, NVME_NOTICE_RESERVATION_RELEASED, 0);
		expect_none(a);
		expect_none(b);
		clear();
		expect_notice(b, NVME_NOTICE_RESERVATION_PREEMPTED, 0);
	}
}

static void preempting(void **state)
{
	/* The holder; and the type is another. */
	reserve(NVME_RESERVATION_WRITE_REGISTERED);
	assert_int_equal(guest_acquires(b, NVME_PREEMPT, NVME_RESERVATION_WRITE, 2, 1), 0);
	expect_notice(a, NVME_NOTICE_REGISTRATION_PREEMPTED, 0);
	expect_notice(c, NVME_NOTICE_RESERVATION_RELEASED, 0);
	/* Somebody else. */
	assert_int_equal(guest_acquires(b, NVME_PREEMPT_AND_ABORT, NVME_RESERVATION_WRITE, 2, 3),
			 0);
	expect_notice(c, NVME_NOTICE_REGISTRATION_PREEMPTED, 0);
	expect_none(a);
	expect_none(b);
	/* All others. */
	clear();
	expect_notice(b, NVME_NOTICE_RESERVATION_PREEMPTED, 0);
	reserve(NVME_RESERVATION_ACCESS_ALL);
	assert_int_equal(guest_acquires(c, NVME_PREEMPT, NVME_RESERVATION_WRITE, 3, 0), 0);
	expect_notice(a, NVME_NOTICE_REGISTRATION_PREEMPTED, 0);
	expect_notice(b, NVME_NOTICE_REGISTRATION_PREEMPTED, 0);
	/* The type stays. */
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), 0);
	assert_int_equal(guest_acquires(b, NVME_PREEMPT, NVME_RESERVATION_WRITE, 2, 3), 0);
	expect_notice(c, NVME_NOTICE_REGISTRATION_PREEMPTED, 0);
	expect_none(a);
}

/* Both paths of a host; a host that has done it is not told on the other one. */
static void each_controller_of_a_host(void **state)
{
	guest_set_host_id(c, 16, 0x1002);
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), 0);
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
	assert_int_equal(guest_acquires(a, NVME_PREEMPT, NVME_RESERVATION_WRITE, 1, 2), 0);
	expect_notice(b, NVME_NOTICE_REGISTRATION_PREEMPTED, 0);
	expect_notice(c, NVME_NOTICE_REGISTRATION_PREEMPTED, 0);
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
	assert_int_equal(guest_releases(c, NVME_CLEAR_ALL, 0, 2), 0);
	expect_notice(a, NVME_NOTICE_RESERVATION_PREEMPTED, 0);
	expect_none(b);
}

/* One event until the log is read; then one if there is more. */
static void events(void **state)
{
	wait_for_event(b);
	assert_false(has_event(b));
	reserve(NVME_RESERVATION_WRITE_REGISTERED);
	assert_false(has_event(b));
	assert_int_equal(guest_releases(a, NVME_RELEASE, NVME_RESERVATION_WRITE_REGISTERED, 1), 0);
	assert_true(has_event(b));
	wait_for_event(b);
	assert_int_equal(guest_acquires(a, NVME_PREEMPT, NVME_RESERVATION_WRITE, 1, 2), 0);
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
	clear();
	assert_false(has_event(b));
	/* Retained: the page is read, the event may not come again. */
	assert_int_equal(read_log(b, true).available, 2);
	last[1]++;
	assert_false(has_event(b));
	assert_true(read_and_has_event(b));
	wait_for_event(b);
	assert_false(read_and_has_event(b)); /* it was the last one */
	expect_none(b);
	assert_false(has_event(b));
	clear();
	assert_false(has_event(b)); /* B is not registered any more */
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
	clear();
	assert_true(has_event(b));
}

static void masks(void **state)
{
	assert_int_equal(get_mask(b, 0), 0);
	set_mask(b, 1, UINT32_MAX);
	assert_int_equal(get_mask(b, 0), NVME_NOTICE_MASKS);
	assert_int_equal(get_mask(b, 1), 0);
	set_mask(b, NVME_NSID_ALL, 1u << NVME_NOTICE_RESERVATION_RELEASED);
	assert_int_equal(get_mask(b, 0), 1u << NVME_NOTICE_RESERVATION_RELEASED);
	wait_for_event(b);
	reserve(NVME_RESERVATION_WRITE_REGISTERED);
	assert_int_equal(guest_releases(a, NVME_RELEASE, NVME_RESERVATION_WRITE_REGISTERED, 1), 0);
	assert_false(has_event(b));
	expect_none(b);
	clear();
	assert_true(has_event(b));
	expect_notice(b, NVME_NOTICE_RESERVATION_PREEMPTED, 0);
	/* C's is its own; and one that is set later takes nothing back. */
	expect_notice(c, NVME_NOTICE_RESERVATION_RELEASED, 1);
	run_all();
	set_mask(c, 1, NVME_NOTICE_MASKS);
	expect_notice(c, NVME_NOTICE_RESERVATION_PREEMPTED, 0);

	assert_status(feature(b, NVME_ADMIN_GET_FEATURE, NVME_FEATURE_NOTIFICATION_MASK,
			      NVME_NSID_ALL, 0),
		      NVME_INVALID_NAMESPACE);
	assert_status(feature(b, NVME_ADMIN_SET_FEATURE, NVME_FEATURE_NOTIFICATION_MASK, 0, 0),
		      NVME_INVALID_NAMESPACE);
	assert_status(feature(b, NVME_ADMIN_SET_FEATURE, NVME_FEATURE_NOTIFICATION_MASK, 2, 0),
		      NVME_INVALID_FIELD);
	assert_status(feature(b, NVME_ADMIN_SET_FEATURE,
			      NVME_FEATURE_NOTIFICATION_MASK | NVME_FEATURE_SAVE, 1, 0),
		      NVME_FEATURE_NOT_SAVEABLE);
}

static void persistence_is_refused(void **state)
{
	struct machine_completion completion =
		feature(a, NVME_ADMIN_GET_FEATURE, NVME_FEATURE_PERSISTENCE, 1, 0);

	assert_status(completion, 0);
	assert_int_equal(completion.result, 0);
	assert_status(feature(a, NVME_ADMIN_SET_FEATURE, NVME_FEATURE_PERSISTENCE, 1, 0), 0);
	assert_status(feature(a, NVME_ADMIN_SET_FEATURE, NVME_FEATURE_PERSISTENCE, NVME_NSID_ALL,
			      NVME_PERSISTENCE_PTPL),
		      NVME_INVALID_FIELD);
	assert_status(feature(a, NVME_ADMIN_GET_FEATURE, NVME_FEATURE_PERSISTENCE, NVME_NSID_ALL,
			      0),
		      NVME_INVALID_NAMESPACE);
}

static void a_reset_forgets(void **state)
{
	set_mask(b, 1, 1u << NVME_NOTICE_RESERVATION_RELEASED);
	reserve(NVME_RESERVATION_WRITE_REGISTERED);
	clear();
	run_all();
	b->asleep = true;
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
	clear(); /* B has not looked yet */
	machine_write32(b->machine, NVME_REG_CC, 0);
	machine_run(b->machine);
	b->asleep = false;
	machine_enable(b->machine);
	machine_create_queue(b->machine, 1, MACHINE_ENTRIES);
	guest_set_host_id(b, 16, 0x1002);
	expect_none(b);
	assert_int_equal(get_mask(b, 0), 0);
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
	clear();
	expect_notice(b, NVME_NOTICE_RESERVATION_PREEMPTED, 0);
}

/* The oldest go, and the count says how many. */
static void more_than_there_is_room_for(void **state)
{
	for (unsigned i = 0; i < NVME_NOTICES + 10; i++) {
		assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
		clear();
		run_all();
	}
	last[1] = 10;
	for (unsigned i = NVME_NOTICES; i-- > 0;)
		expect_notice(b, NVME_NOTICE_RESERVATION_PREEMPTED, i);
	expect_none(b);
	/* While it does not look, too. */
	b->asleep = true;
	for (unsigned i = 0; i < NVME_NOTICES_A_WORD + 10; i++) {
		assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
		clear();
	}
	b->asleep = false;
	for (unsigned i = NVME_NOTICES_A_WORD; i-- > 0;)
		expect_notice(b, NVME_NOTICE_RESERVATION_PREEMPTED, i);
	expect_none(b);
}

static void a_page_that_does_not_arrive(void **state)
{
	struct nvme_command command =
		machine_get_log(NVME_LOG_RESERVATION, 64, 0, false, 1ULL << 60);

	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
	clear();
	run_all();
	assert_int_not_equal(machine_execute(b->machine, 0, command).status, 0);
	wait_for_event(b);
	assert_true(has_event(b));
	expect_notice(b, NVME_NOTICE_RESERVATION_PREEMPTED, 0);
}

static void done(void *opaque)
{
}

/* What the place was told when it was another's. */
static void a_namespace_that_comes(void **state)
{
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
	b->asleep = true;
	clear();
	assert_int_equal(nvme_controller_detach(b->machine->ctrl, 1, done, NULL), 0);
	machine_run(b->machine);
	assert_int_equal(guest_attach(b), 0);
	b->asleep = false;
	expect_none(b);
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
	clear();
	expect_notice(b, NVME_NOTICE_RESERVATION_PREEMPTED, 0);
}

/* Whoever shares the file may write what he likes: there are no such types. */
static void a_damaged_word(void **state)
{
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
	clear();
	expect_notice(b, NVME_NOTICE_RESERVATION_PREEMPTED, 0);
	for (size_t i = 16 + 64 * 32; i < sizeof(guests_page); i += 8)
		if (*(uint64_t *)(guests_page + i) >> 16 == NVME_NOTICE_RESERVATION_PREEMPTED)
			*(uint64_t *)(guests_page + i) = 0x8000;
	expect_none(b);
}

static void an_impossible_state(void **state)
{
	struct nvme_state *known = (struct nvme_state *)b->machine->state;

	known->notices.added = NVME_NOTICES + 1;
	assert_null(machine_restart(b->machine, NULL));
	known->notices.added = 0;
	known->notices.told = 1;
	assert_null(machine_restart(b->machine, NULL));
	known->notices.told = 0;
	assert_non_null(machine_restart(b->machine, NULL));
}

/*
 * Death
 */
static bool dies(void (*run)(void), unsigned point)
{
	volatile bool died = false;

	guests_passed = 0;
	guests_kill_at = point;
	if (setjmp(guests_killed) == 0)
		run();
	else
		died = true;
	guests_kill_at = 0;
	if (!died)
		return false;
	machine_die(b->machine, guests_disk);
	assert_non_null(machine_adopt(b->machine, NULL));
	assert_int_equal(guest_attach(b), 0);
	return true;
}

static void look_and_read(void)
{
	guests_look();
	machine_run(b->machine);
	machine_submit(b->machine, 0, machine_get_log(NVME_LOG_RESERVATION, 64, 0, false, b->data));
	machine_run(b->machine);
}

/* None is lost: told of by a page that was read, or the next ones. */
static bool dies_at(unsigned point)
{
	const struct nvme_reservation_log *page;
	struct machine_completion completion;
	unsigned told = 0;
	void *state = NULL;
	bool died;

	setup(&state);
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), 0);
	assert_int_equal(guest_acquires(a, NVME_ACQUIRE, NVME_RESERVATION_WRITE_REGISTERED, 1, 0),
			 0);
	b->asleep = true;
	assert_int_equal(guest_releases(a, NVME_RELEASE, NVME_RESERVATION_WRITE_REGISTERED, 1), 0);
	clear();
	b->asleep = false;
	died = dies(look_and_read, point);
	page = machine_at(b->machine, b->data);
	run_all();
	if (machine_take(b->machine, 0, &completion)) {
		assert_status(completion, 0);
		told |= 1u << page->type;
	}
	for (unsigned i = 0; i < 6; i++)
		told |= 1u << read_log(b, false).type;
	assert_int_equal(told, 1u << NVME_NOTICE_RESERVATION_RELEASED |
				       1u << NVME_NOTICE_RESERVATION_PREEMPTED | 1u);
	guests_teardown(&state);
	return died;
}

static void dies_and_none_is_lost(void **state)
{
	unsigned point = 1;

	while (dies_at(point))
		point++;
	assert_true(point > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(is_said_where_it_is, setup, guests_teardown),
		cmocka_unit_test_setup_teardown(releasing, setup, guests_teardown),
		cmocka_unit_test_setup_teardown(unregistering, setup, guests_teardown),
		cmocka_unit_test_setup_teardown(preempting, setup, guests_teardown),
		cmocka_unit_test_setup_teardown(each_controller_of_a_host, setup, guests_teardown),
		cmocka_unit_test_setup_teardown(events, setup, guests_teardown),
		cmocka_unit_test_setup_teardown(masks, setup, guests_teardown),
		cmocka_unit_test_setup_teardown(persistence_is_refused, setup, guests_teardown),
		cmocka_unit_test_setup_teardown(a_reset_forgets, setup, guests_teardown),
		cmocka_unit_test_setup_teardown(more_than_there_is_room_for, setup,
						guests_teardown),
		cmocka_unit_test_setup_teardown(a_page_that_does_not_arrive, setup,
						guests_teardown),
		cmocka_unit_test_setup_teardown(a_namespace_that_comes, setup, guests_teardown),
		cmocka_unit_test_setup_teardown(a_damaged_word, setup, guests_teardown),
		cmocka_unit_test_setup_teardown(an_impossible_state, setup, guests_teardown),
		cmocka_unit_test(dies_and_none_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
