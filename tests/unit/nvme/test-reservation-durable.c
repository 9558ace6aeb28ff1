// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reservations that last through a loss of power. */
#include <errno.h>

#include "nvme/crash-point.h"
#include "nvme/reservation-durable.h"
#include "tests/unit/nvme/guests.h"
#include "tests/unit/test.h"

#define PERSIST ((uint32_t)NVME_CPTPL_PERSIST << 30)
#define FORGET	((uint32_t)NVME_CPTPL_CLEAR << 30)

/* All that Report says but who is there. */
struct told {
	uint32_t generation;
	uint8_t type, ptpls;
	uint16_t count;
	struct {
		uint8_t status;
		uint64_t key, id;
	} host[8];
};

static struct told told(struct guest *guest)
{
	struct nvme_command command = guest_make(guest, NVME_IO_RESERVATION_REPORT, 1023, 0, 0);
	const struct nvme_reservation_report *report = machine_at(guest->machine, guest->data);
	const struct nvme_reservation_reported_extended *host =
		(const void *)((const char *)report + 64);
	struct told told;

	command.cdw11 = NVME_RESERVATION_EXTENDED;
	assert_int_equal(guest_execute(guest, command), 0);
	memset(&told, 0, sizeof(told));
	told.generation = report->generation;
	told.type = report->type;
	told.ptpls = report->ptpls;
	memcpy(&told.count, report->controllers, sizeof(told.count));
	assert_true(told.count <= ARRAY_SIZE(told.host));
	for (unsigned i = 0; i < told.count; i++) {
		told.host[i].status = host[i].status;
		told.host[i].key = host[i].key;
		memcpy(&told.host[i].id, host[i].host_id, 8);
	}
	return told;
}

static void assert_told(const struct told *expected)
{
	struct told now = told(c);

	assert_memory_equal(&now, expected, sizeof(now));
}

static void assert_nothing_told(void)
{
	const struct told nothing = { 0 };

	assert_told(&nothing);
}

static bool may_write(struct guest *guest)
{
	nvme_status status = guest_execute(guest, machine_rw(NVME_IO_WRITE, 0, 1,
							     guest->data + NVME_PAGE_SIZE, 0));

	assert_true(!status || status == NVME_RESERVATION_CONFLICT);
	return !status;
}

static struct machine_completion feature(uint8_t opcode, uint32_t nsid, uint32_t cdw11)
{
	return machine_execute(a->machine, 0,
			       (struct nvme_command){ .opcode = opcode,
						      .nsid = nsid,
						      .cdw10 = NVME_FEATURE_PERSISTENCE,
						      .cdw11 = cdw11 });
}

static unsigned persistence(void)
{
	struct machine_completion completion = feature(NVME_ADMIN_GET_FEATURE, 1, 0);

	assert_status(completion, 0);
	return completion.result;
}

static struct machine_completion set_persistence(uint32_t nsid, uint32_t value)
{
	return feature(NVME_ADMIN_SET_FEATURE, nsid, value);
}

static unsigned rescap(uint32_t nsid)
{
	const struct nvme_identify_namespace *ns = machine_at(a->machine, a->data);

	assert_status(machine_execute(a->machine, 0,
				      (struct nvme_command){ .opcode = NVME_ADMIN_IDENTIFY,
							     .nsid = nsid,
							     .cdw10 = NVME_CNS_NAMESPACE,
							     .prp1 = a->data }),
		      0);
	return ns->rescap;
}

/* A has registered so, and B; B reserves it. */
static void reserve(uint32_t cptpl)
{
	assert_int_equal(guest_registers(a, NVME_REGISTER | cptpl, 0, 1), 0);
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
	assert_int_equal(guest_acquires(b, NVME_ACQUIRE, NVME_RESERVATION_WRITE, 2, 0), 0);
}

static void they_last(void **state)
{
	struct told before;

	assert_int_equal(rescap(1), 0xff);
	assert_int_equal(persistence(), 0);
	reserve(PERSIST);
	assert_int_equal(persistence(), NVME_PERSISTENCE_PTPL);
	before = told(c);
	assert_int_equal(before.count, 2);
	assert_int_equal(before.generation, 2);
	assert_int_equal(before.ptpls, 1);
	for (unsigned i = 0; i < 3; i++) {
		guests_lose_power();
		assert_told(&before);
		assert_int_equal(persistence(), NVME_PERSISTENCE_PTPL);
		assert_true(may_write(b));
		assert_false(may_write(a) || may_write(c));
	}
	/* Each change does, not the one alone that asked for it. */
	assert_int_equal(guest_acquires(a, NVME_PREEMPT, NVME_RESERVATION_ACCESS, 1, 2), 0);
	before = told(c);
	assert_int_equal(before.count, 1);
	guests_lose_power();
	assert_told(&before);
	assert_int_equal(guest_releases(a, NVME_RELEASE, NVME_RESERVATION_ACCESS, 1), 0);
	guests_lose_power();
	assert_int_equal(told(c).type, 0);
	assert_true(may_write(b));
}

static void they_do_not_last_unless_asked(void **state)
{
	reserve(0);
	assert_int_equal(told(c).ptpls, 0);
	assert_int_equal(guests_durable->submitted, 0);
	guests_lose_power();
	assert_nothing_told();
	reserve(PERSIST);
	assert_int_equal(guest_registers(a, NVME_REPLACE_KEY | FORGET, 1, 5), 0);
	assert_int_equal(told(c).ptpls, 0);
	guests_lose_power();
	assert_nothing_told();
	assert_int_equal(guest_registers(a, NVME_REGISTER | 1u << 30, 0, 1), NVME_INVALID_FIELD);
}

static void the_feature(void **state)
{
	struct told before;

	assert_status(set_persistence(0, 1), NVME_INVALID_NAMESPACE);
	assert_status(set_persistence(2, 1), NVME_INVALID_FIELD);
	reserve(0);
	assert_status(set_persistence(1, 1), 0);
	before = told(c);
	assert_int_equal(before.ptpls, 1);
	guests_lose_power();
	assert_told(&before);
	/* The second says nothing new. */
	assert_status(set_persistence(NVME_NSID_ALL, 0), 0);
	assert_status(set_persistence(NVME_NSID_ALL, 0), 0);
	assert_int_equal(persistence(), 0);
	guests_lose_power();
	assert_nothing_told();
	/* With nobody there it is a state all the same. */
	assert_status(set_persistence(NVME_NSID_ALL, 1), 0);
	guests_lose_power();
	assert_int_equal(persistence(), 1);
	guests_lock_is_taken = true;
	machine_submit(a->machine, 0,
		       (struct nvme_command){ .opcode = NVME_ADMIN_SET_FEATURE,
					      .nsid = 1,
					      .cdw10 = NVME_FEATURE_PERSISTENCE });
	machine_run(a->machine);
	assert_int_equal(persistence(), 1);
	guests_lock_is_taken = false;
}

/* Of several namespaces, one of which cannot. */
static void the_feature_of_all(void **state)
{
	static uint8_t pages[2][NVME_SHARE_BYTES] __attribute__((aligned(8)));
	struct nvme_share shares[2] = { a->share, a->share };

	for (unsigned i = 0; i < 2; i++) {
		struct nvme_namespace_config config = { .nsid = 5 + 3 * i,
							.shareable = true,
							.share = &shares[i] };

		memset(pages[i], 0, sizeof(pages[i]));
		shares[i].page = pages[i];
		if (i == 0)
			shares[i].durable = NULL;
		assert_int_equal(nvme_controller_attach(a->machine->ctrl, &config,
							(struct block *)guests_disk, NULL),
				 0);
	}
	assert_int_equal(rescap(5), 0xfe);
	assert_status(set_persistence(5, 0), 0);
	assert_status(set_persistence(5, 1), NVME_INVALID_FIELD);
	assert_status(set_persistence(NVME_NSID_ALL, 1), 0);
	assert_int_equal(persistence(), 1);
	assert_int_equal(feature(NVME_ADMIN_GET_FEATURE, 5, 0).result, 0);
	assert_int_equal(feature(NVME_ADMIN_GET_FEATURE, 8, 0).result, 1);
}

static uint16_t submit_register(struct guest *guest, uint32_t action, uint64_t key,
				uint64_t new_key)
{
	uint16_t cid = machine_submit(guest->machine, 1,
				      guest_make(guest, NVME_IO_RESERVATION_REGISTER, action, key,
						 new_key));

	machine_run(guest->machine);
	return cid;
}

/* Durable, then in force, then answered. Nobody else writes meanwhile, and nobody stands still. */
static void durable_before_it_is_so(void **state)
{
	struct machine_completion completion;

	reserve(PERSIST);
	guests_durable->hold = true;
	submit_register(a, NVME_REPLACE_KEY, 1, 7);
	assert_int_equal(guests_durable->count, 1);
	assert_true(guests_locked);
	assert_true(guests_durable->last.flags & BLOCK_FUA);
	assert_false(machine_take(a->machine, 1, &completion));
	assert_true(may_write(b));
	assert_false(may_write(a));
	assert_int_equal(told(c).host[0].key, 1);
	guests_lock_is_taken = true;
	submit_register(b, NVME_REPLACE_KEY, 2, 8);
	assert_int_equal(guests_durable->count, 1);
	machine_release(a->machine, guests_durable);
	guests_lock_is_taken = guests_durable->hold = false;
	machine_run(a->machine);
	assert_true(machine_take(a->machine, 1, &completion));
	assert_status(completion, 0);
	machine_run(b->machine);
	assert_true(machine_take(b->machine, 1, &completion));
	assert_status(completion, 0);
	guests_lose_power();
	assert_int_equal(told(c).host[0].key, 7);
	assert_int_equal(told(c).host[1].key, 8);
}

/* It fails, and what is in force is what was; a slot that was written all the same does not count. */
static void it_cannot_be_kept(void **state)
{
	struct told before;

	reserve(PERSIST);
	before = told(c);
	guests_durable->result = -EIO;
	assert_int_equal(guest_registers(a, NVME_REPLACE_KEY, 1, 7), NVME_INTERNAL_ERROR);
	assert_status(set_persistence(1, 0), NVME_INTERNAL_ERROR);
	assert_told(&before);
	assert_false(guests_locked);
	guests_durable->result = 0;
	/* What is not in force is damaged, and the next one goes there. */
	assert_int_equal(guest_registers(a, NVME_REPLACE_KEY, 1, 8), 0);
	before = told(c);
	guests_lose_power();
	assert_told(&before);
}

/* It came to nothing, but that is not what the file says: so the next one of all goes there. */
static void a_wish_that_failed(void **state)
{
	struct nvme_reservation_state wish = { .generation = 1, .hosts = 1, .persists = 1 };
	struct nvme_reservation_durable *slots = (void *)guests_durable->data;

	guests_durable->result = -EIO;
	assert_int_equal(guest_registers(a, NVME_REGISTER | PERSIST, 0, 1), NVME_INTERNAL_ERROR);
	guests_durable->result = 0;
	wish.host[0] = (struct nvme_reservation_host){ .id_bytes = 16, .key = 1 };
	nvme_reservation_durable_fill(&slots[0], &wish, 1);
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
	assert_int_equal(guests_durable->submitted, 2);
	assert_int_equal(guest_registers(c, NVME_REGISTER, 0, 2), 0);
	assert_int_equal(guests_durable->submitted, 2);
	guests_lose_power();
	assert_nothing_told();
}

static void a_reset_meanwhile(void **state)
{
	struct told expected;

	reserve(PERSIST);
	guests_durable->hold = true;
	submit_register(a, NVME_REPLACE_KEY, 1, 7);
	machine_write32(a->machine, NVME_REG_CC, 0);
	machine_run(a->machine);
	assert_true(guests_locked);
	machine_release(a->machine, guests_durable);
	guests_durable->hold = false;
	machine_run(a->machine);
	assert_int_equal(machine_read32(a->machine, NVME_REG_CSTS), 0);
	assert_false(guests_locked);
	expected = told(c);
	guests_lose_power();
	assert_told(&expected);
}

static struct nvme_reservation_durable *slots(void)
{
	return (struct nvme_reservation_durable *)guests_durable->data;
}

/* Whoever was taken over by his guest may have written it, and a write may be cut short. */
static void a_damaged_file(void **state)
{
	struct told older, newer;
	unsigned newest;

	reserve(PERSIST);
	older = told(c);
	assert_int_equal(guest_registers(a, NVME_REPLACE_KEY, 1, 7), 0);
	newer = told(c);
	newest = nvme_reservation_durable_find(slots());
	guests_lose_power();
	assert_told(&newer);
	for (unsigned byte = 0; byte < sizeof(*slots()); byte += 7) {
		((uint8_t *)&slots()[newest])[byte] ^= 0x40;
		assert_int_equal(nvme_reservation_durable_find(slots()), !newest);
		((uint8_t *)&slots()[newest])[byte] ^= 0x40;
	}
	slots()[newest].state.hosts = 99;
	guests_lose_power();
	assert_told(&older);
	/* The one that was cut short is written again, not the one that is good. */
	assert_int_equal(guest_registers(a, NVME_REPLACE_KEY, 1, 9), 0);
	assert_int_equal(nvme_reservation_durable_find(slots()), newest);
	newer = told(c);
	guests_lose_power();
	assert_told(&newer);

	slots()[0].number = slots()[1].number = 0;
	memset(guests_page, 0, sizeof(guests_page));
	assert_non_null(machine_restart(a->machine, NULL));
	assert_int_equal(guest_attach(a), -EBADMSG);
	assert_false(guests_locked);
	/* The first write of all was cut short. */
	memset(&slots()[1], 0, sizeof(*slots()));
	guests_lose_power();
	assert_nothing_told();
	reserve(PERSIST);
	newer = told(c);
	guests_lose_power();
	assert_told(&newer);
}

/*
 * Death
 */
static unsigned land(unsigned n)
{
	return 1;
}

static unsigned is_lost(unsigned n)
{
	return 0;
}

enum after {
	POWER,	   /* the host dies with it */
	SUCCESSOR, /* goes on, then the power is lost */
	OTHERS,	   /* change something before the successor does */
	AFTERS,
};

static void run_deadly(void)
{
	submit_register(a, NVME_REPLACE_KEY, 1, 8);
	while (guests_durable->count) {
		nvme_crash_point();
		machine_release(a->machine, guests_durable);
		machine_run(a->machine);
	}
}

/* Of A in the middle of it. Return: did it die? */
static bool dies_at(unsigned point, enum after after, bool lands)
{
	struct machine_completion completion = { 0 };
	volatile bool died = false;
	struct told older, newer, now;
	volatile bool answered = true;
	void *state = NULL;

	guests_setup_durable(&state);
	reserve(PERSIST);
	newer = older = told(c);
	newer.generation++;
	newer.host[0].key = 8;
	guests_durable->hold = true;
	guests_passed = 0;
	guests_kill_at = point;
	if (setjmp(guests_killed) == 0)
		run_deadly();
	else
		died = true;
	guests_kill_at = 0;
	guests_durable->hold = false;
	if (!died) {
		assert_true(machine_take(a->machine, 1, &completion));
	} else {
		machine_disk_die(a->machine, guests_durable);
		machine_die(a->machine, guests_disk);
		/* The kernel's work: a lock goes with the last request. */
		machine_haunt(a->machine, guests_durable, lands ? land : is_lost);
		guests_locked = false;
		assert_non_null(machine_adopt(a->machine, NULL));
		if (after == POWER) {
			answered = machine_take(a->machine, 1, &completion);
		} else {
			assert_int_equal(guest_attach(a), 0);
			if (after == OTHERS)
				assert_int_equal(guest_registers(c, NVME_REGISTER, 0, 3), 0);
			machine_run(a->machine);
			assert_true(machine_take(a->machine, 1, &completion));
		}
	}
	assert_status(completion, 0);
	if (died && after != POWER) {
		now = told(c);
		assert_int_equal(now.count, 2 + (after == OTHERS));
		assert_int_equal(now.host[0].key, 8);
		newer = now;
	}
	guests_lose_power();
	now = told(c);
	if (!answered && memcmp(&now, &older, sizeof(now)) == 0)
		newer = older;
	assert_memory_equal(&now, &newer, sizeof(now));
	/* And it goes on from there. */
	assert_int_equal(guest_registers(b, NVME_REPLACE_KEY, 2, 6), 0);
	now = told(c);
	guests_lose_power();
	assert_told(&now);
	guests_teardown(&state);
	return died;
}

static void dies_and_is_whole(void **state)
{
	for (enum after after = POWER; after < AFTERS; after++) {
		for (unsigned lands = 0; lands < 2; lands++) {
			unsigned point = 1;

			while (dies_at(point, after, lands))
				point++;
			assert_true(point > 8);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(they_last, guests_setup_durable, guests_teardown),
		cmocka_unit_test_setup_teardown(they_do_not_last_unless_asked, guests_setup_durable,
						guests_teardown),
		cmocka_unit_test_setup_teardown(the_feature, guests_setup_durable, guests_teardown),
		cmocka_unit_test_setup_teardown(the_feature_of_all, guests_setup_durable,
						guests_teardown),
		cmocka_unit_test_setup_teardown(durable_before_it_is_so, guests_setup_durable,
						guests_teardown),
		cmocka_unit_test_setup_teardown(it_cannot_be_kept, guests_setup_durable,
						guests_teardown),
		cmocka_unit_test_setup_teardown(a_wish_that_failed, guests_setup_durable,
						guests_teardown),
		cmocka_unit_test_setup_teardown(a_reset_meanwhile, guests_setup_durable,
						guests_teardown),
		cmocka_unit_test_setup_teardown(a_damaged_file, guests_setup_durable,
						guests_teardown),
		cmocka_unit_test(dies_and_is_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
