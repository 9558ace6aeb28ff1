// SPDX-License-Identifier: LGPL-2.1-or-later
/* Guests that share an image, and what they make of its reservations. */
#include <errno.h>

#include "nvme/reservation.h"
#include "tests/unit/nvme/guests.h"
#include "tests/unit/test.h"

static nvme_status rw(struct guest *guest, uint8_t opcode)
{
	return guest_execute(guest, machine_rw(opcode, 0, 1, guest->data + NVME_PAGE_SIZE, 0));
}

static bool may_read(struct guest *guest)
{
	nvme_status status = rw(guest, NVME_IO_READ);

	assert_true(!status || status == NVME_RESERVATION_CONFLICT);
	return !status;
}

static bool may_write(struct guest *guest)
{
	unsigned before = guests_disk->submitted;
	nvme_status status = rw(guest, NVME_IO_WRITE);

	assert_true(!status || status == NVME_RESERVATION_CONFLICT);
	assert_int_equal(guests_disk->submitted, before + !status);
	return !status;
}

static const void *identify(struct guest *guest, uint32_t cns)
{
	assert_status(
		machine_execute(guest->machine, 0,
				(struct nvme_command){ .opcode = NVME_ADMIN_IDENTIFY,
						       .nsid = cns == NVME_CNS_CONTROLLER ? 0 : 1,
						       .cdw10 = cns,
						       .prp1 = guest->data }),
		0);
	return machine_at(guest->machine, guest->data);
}

static struct nvme_command report(struct guest *guest, bool extended, unsigned bytes)
{
	struct nvme_command command =
		guest_make(guest, NVME_IO_RESERVATION_REPORT, bytes / 4 - 1, 0, 0);

	memset(machine_at(guest->machine, guest->data), 0xee, NVME_PAGE_SIZE);
	command.cdw11 = extended;
	return command;
}

static const struct nvme_reservation_report *reported(struct guest *guest)
{
	assert_int_equal(guest_execute(guest, report(guest, true, 4096)), 0);
	return machine_at(guest->machine, guest->data);
}

static const struct nvme_reservation_reported_extended *host(struct guest *guest, unsigned i)
{
	return (const void *)((const char *)machine_at(guest->machine, guest->data) + 64 + i * 64);
}

/*
 * The tests
 */
static void is_said_where_it_is(void **state)
{
	const struct nvme_command page_of_effects =
		machine_get_log(NVME_LOG_EFFECTS, 4096, 0, false, a->data);
	const struct nvme_effects_log *effects = machine_at(a->machine, a->data);
	const struct nvme_identify_controller *controller = identify(a, NVME_CNS_CONTROLLER);
	const struct nvme_identify_namespace *ns;
	const struct nvme_identify_independent *independent;

	assert_true(controller->oncs & NVME_ONCS_RESERVATIONS);
	ns = identify(a, NVME_CNS_NAMESPACE);
	assert_int_equal(ns->rescap, 0xfe);
	independent = identify(a, NVME_CNS_INDEPENDENT_NAMESPACE);
	assert_int_equal(independent->rescap, 0xfe);
	assert_status(machine_execute(a->machine, 0, page_of_effects), 0);
	assert_int_equal(effects->io[NVME_IO_RESERVATION_ACQUIRE], NVME_SUPPORTED);

	assert_non_null(machine_restart(a->machine, NULL));
	machine_attach(a->machine, 1, guests_disk);
	controller = identify(a, NVME_CNS_CONTROLLER);
	assert_false(controller->oncs & NVME_ONCS_RESERVATIONS);
	ns = identify(a, NVME_CNS_NAMESPACE);
	assert_int_equal(ns->rescap, 0);
	assert_status(machine_execute(a->machine, 0, page_of_effects), 0);
	assert_int_equal(effects->io[NVME_IO_RESERVATION_ACQUIRE], 0);
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), NVME_INVALID_OPCODE);
	assert_int_equal(guest_acquires(a, NVME_ACQUIRE, 1, 0, 0), NVME_INVALID_OPCODE);
	assert_int_equal(guest_releases(a, NVME_RELEASE, 1, 0), NVME_INVALID_OPCODE);
	assert_int_equal(guest_execute(a, report(a, true, 64)), NVME_INVALID_OPCODE);
}

static void a_host_needs_an_id(void **state)
{
	guest_set_host_id(a, 16, 0);
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), NVME_HOST_ID_INCONSISTENT);
	guest_set_host_id(a, 16, 7);
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), 0);
	guest_set_host_id(b, 8, 7);
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 1), NVME_HOST_ID_INCONSISTENT);
	assert_int_equal(guest_execute(b, report(b, false, 64)), NVME_HOST_ID_INCONSISTENT);
}

static void registering(void **state)
{
	assert_int_equal(guest_registers(a, NVME_REPLACE_KEY, 0, 5), NVME_RESERVATION_CONFLICT);
	assert_int_equal(guest_registers(a, NVME_UNREGISTER, 0, 0), NVME_RESERVATION_CONFLICT);
	assert_int_equal(guest_registers(a, NVME_REGISTER, 99, 5), 0);
	assert_int_equal(guest_registers(a, NVME_REGISTER, 99, 5), 0);
	assert_int_equal(reported(a)->generation, 2);
	assert_int_equal(guest_registers(a, NVME_REGISTER, 5, 6), NVME_RESERVATION_CONFLICT);
	assert_int_equal(guest_registers(a, NVME_REPLACE_KEY, 6, 7), NVME_RESERVATION_CONFLICT);
	assert_int_equal(guest_registers(a, NVME_REPLACE_KEY, 5, 7), 0);
	assert_int_equal(guest_registers(a, NVME_REPLACE_KEY | NVME_RESERVATION_IEKEY, 0, 8), 0);
	assert_int_equal(guest_registers(a, NVME_UNREGISTER, 7, 0), NVME_RESERVATION_CONFLICT);
	assert_int_equal(guest_registers(b, NVME_REPLACE_KEY | NVME_RESERVATION_IEKEY, 0, 9), 0);
	assert_int_equal(guest_registers(b, NVME_UNREGISTER | NVME_RESERVATION_IEKEY, 0, 0), 0);
	assert_int_equal(guest_registers(a, 3, 8, 9), NVME_INVALID_FIELD);
	assert_int_equal(guest_registers(a, NVME_REGISTER | 2u << 30, 8, 8), 0);
	assert_int_equal(guest_registers(a, NVME_REGISTER | 3u << 30, 8, 8), NVME_INVALID_FIELD);
	assert_int_equal(reported(a)->generation, 7);
	assert_int_equal(guest_registers(a, NVME_UNREGISTER, 8, 0), 0);
	assert_int_equal(reported(a)->controllers[0], 0);
}

static const struct {
	bool registered_reads, registered_writes, strangers_read;
} rights[] = {
	[NVME_RESERVATION_WRITE] = { true, false, true },
	[NVME_RESERVATION_ACCESS] = { false, false, false },
	[NVME_RESERVATION_WRITE_REGISTERED] = { true, true, true },
	[NVME_RESERVATION_ACCESS_REGISTERED] = { true, true, false },
	[NVME_RESERVATION_WRITE_ALL] = { true, true, true },
	[NVME_RESERVATION_ACCESS_ALL] = { true, true, false },
};

/* A holds it, B is registered, C is not. */
static void what_each_type_forbids(void **state)
{
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), 0);
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
	assert_true(may_write(c));
	for (unsigned type = 1; type < ARRAY_SIZE(rights); type++) {
		assert_int_equal(guest_acquires(c, NVME_ACQUIRE, type, 0, 0),
				 NVME_RESERVATION_CONFLICT);
		assert_int_equal(guest_acquires(a, NVME_ACQUIRE, type, 1, 0), 0);
		assert_int_equal(guest_acquires(a, NVME_ACQUIRE, type, 1, 0), 0);
		assert_int_equal(guest_acquires(a, NVME_ACQUIRE, type, 2, 0),
				 NVME_RESERVATION_CONFLICT);
		assert_int_equal(guest_acquires(a, NVME_ACQUIRE, type % 6 + 1, 1, 0),
				 NVME_RESERVATION_CONFLICT);
		assert_int_equal(guest_acquires(b, NVME_ACQUIRE, type, 2, 0),
				 type >= NVME_RESERVATION_WRITE_ALL ? 0
								    : NVME_RESERVATION_CONFLICT);
		assert_true(may_read(a) && may_write(a));
		assert_int_equal(may_read(b), rights[type].registered_reads);
		assert_int_equal(may_write(b), rights[type].registered_writes);
		assert_int_equal(may_read(c), rights[type].strangers_read);
		assert_false(may_write(c));
		assert_int_equal(reported(a)->type, type);
		assert_int_equal(guest_releases(a, NVME_RELEASE, type % 6 + 1, 1),
				 NVME_INVALID_FIELD);
		assert_int_equal(guest_releases(a, NVME_RELEASE, type, 1), 0);
		assert_true(may_write(c));
	}
}

static void every_command_is_asked(void **state)
{
	const struct nvme_dataset_range range = { .blocks = 1 };
	struct nvme_command trim = { .opcode = NVME_IO_DATASET_MANAGEMENT,
				     .nsid = 1,
				     .cdw11 = NVME_DATASET_DEALLOCATE,
				     .prp1 = b->data };
	const struct nvme_command copy = {
		.opcode = NVME_IO_COPY, .nsid = 1, .cdw10 = 9, .prp1 = b->data
	};
	struct nvme_command read = machine_rw(NVME_IO_READ, 0, 1, b->data, 0);
	unsigned before;

	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), 0);
	assert_int_equal(guest_acquires(a, NVME_ACQUIRE, NVME_RESERVATION_WRITE, 1, 0), 0);
	before = guests_disk->flushes;
	assert_int_equal(rw(b, NVME_IO_FLUSH), NVME_RESERVATION_CONFLICT);
	assert_int_equal(rw(b, NVME_IO_WRITE_ZEROES), NVME_RESERVATION_CONFLICT);
	assert_int_equal(guests_disk->flushes, before);
	assert_int_equal(rw(b, NVME_IO_VERIFY), 0);
	assert_int_equal(rw(b, NVME_IO_COMPARE), 0);
	read.cdw12 |= NVME_RW_FUA;
	assert_int_equal(guest_execute(b, read), 0);
	memcpy(machine_at(b->machine, b->data), &range, sizeof(range));
	assert_int_equal(guest_execute(b, trim), NVME_RESERVATION_CONFLICT);
	trim.cdw11 = 0;
	assert_int_equal(guest_execute(b, trim), NVME_RESERVATION_CONFLICT);
	memset(machine_at(b->machine, b->data), 0, sizeof(struct nvme_copy_range));
	assert_int_equal(guest_execute(b, copy), NVME_RESERVATION_CONFLICT);
	assert_int_equal(guest_releases(a, NVME_RELEASE, NVME_RESERVATION_WRITE, 1), 0);
	assert_int_equal(guest_acquires(a, NVME_ACQUIRE, NVME_RESERVATION_ACCESS, 1, 0), 0);
	before = guests_disk->submitted;
	assert_int_equal(rw(b, NVME_IO_VERIFY), NVME_RESERVATION_CONFLICT);
	assert_int_equal(rw(b, NVME_IO_COMPARE), NVME_RESERVATION_CONFLICT);
	assert_int_equal(guest_execute(b, read), NVME_RESERVATION_CONFLICT);
	assert_int_equal(guests_disk->submitted, before);
	assert_status(
		machine_execute(b->machine, 0,
				(struct nvme_command){ .opcode = NVME_ADMIN_FORMAT, .nsid = 1 }),
		NVME_RESERVATION_CONFLICT);
	assert_int_equal(guests_disk->submitted, before);
	/* It is not the storage that has failed. */
	assert_int_equal(b->machine->io_errors, 0);
}

static void preempting(void **state)
{
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), 0);
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
	assert_int_equal(guest_registers(c, NVME_REGISTER, 0, 2), 0);
	assert_int_equal(guest_acquires(a, NVME_ACQUIRE, NVME_RESERVATION_WRITE_REGISTERED, 1, 0),
			 0);
	assert_int_equal(guest_acquires(b, NVME_PREEMPT, NVME_RESERVATION_WRITE, 2, 0),
			 NVME_INVALID_FIELD);
	assert_int_equal(guest_acquires(b, NVME_PREEMPT, NVME_RESERVATION_WRITE, 2, 77),
			 NVME_RESERVATION_CONFLICT);
	assert_int_equal(guest_acquires(b, NVME_PREEMPT, 0, 2, 1), NVME_INVALID_FIELD);
	assert_int_equal(guest_acquires(b, NVME_PREEMPT, 7, 2, 1), NVME_INVALID_FIELD);
	assert_int_equal(guest_acquires(b, 3, 1, 2, 1), NVME_INVALID_FIELD);
	assert_int_equal(guest_acquires(b, NVME_PREEMPT | NVME_RESERVATION_IEKEY, 1, 2, 1),
			 NVME_INVALID_FIELD);

	assert_int_equal(guest_acquires(b, NVME_PREEMPT_AND_ABORT,
					NVME_RESERVATION_WRITE_REGISTERED, 2, 1),
			 0);
	assert_false(may_write(a));
	assert_true(may_write(b) && may_write(c));
	assert_int_equal(guest_registers(a, NVME_UNREGISTER, 1, 0), NVME_RESERVATION_CONFLICT);

	/* Who does not hold it is unregistered, and no more. */
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 3), 0);
	assert_int_equal(guest_acquires(b, NVME_PREEMPT, NVME_RESERVATION_ACCESS, 2, 3), 0);
	assert_int_equal(reported(b)->type, NVME_RESERVATION_WRITE_REGISTERED);
	assert_false(may_write(a));

	/* The holder itself changes the type; others with its key go. */
	assert_int_equal(guest_acquires(b, NVME_PREEMPT, NVME_RESERVATION_ACCESS_ALL, 2, 2), 0);
	assert_int_equal(reported(b)->controllers[0], 1);
	assert_int_equal(reported(b)->type, NVME_RESERVATION_ACCESS_ALL);
	assert_false(may_read(c));

	/* Of all that are registered none is the holder: key 0 means all others. */
	assert_int_equal(guest_registers(c, NVME_REGISTER, 0, 5), 0);
	assert_true(may_read(c));
	assert_int_equal(guest_acquires(c, NVME_PREEMPT, NVME_RESERVATION_WRITE, 5, 0), 0);
	assert_true(may_write(c));
	assert_false(may_write(b));
	assert_int_equal(reported(c)->controllers[0], 1);
}

static void releasing(void **state)
{
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), 0);
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
	assert_int_equal(guest_releases(a, NVME_RELEASE, NVME_RESERVATION_WRITE, 1), 0);
	assert_int_equal(guest_acquires(a, NVME_ACQUIRE, NVME_RESERVATION_WRITE, 1, 0), 0);
	assert_int_equal(guest_releases(b, NVME_RELEASE, NVME_RESERVATION_WRITE, 2), 0);
	assert_false(may_write(b));
	assert_int_equal(guest_releases(b, NVME_CLEAR_ALL, 0, 3), NVME_RESERVATION_CONFLICT);
	assert_int_equal(guest_releases(b, NVME_RELEASE | NVME_RESERVATION_IEKEY, 1, 2),
			 NVME_INVALID_FIELD);
	assert_int_equal(guest_releases(b, 2, 1, 2), NVME_INVALID_FIELD);
	assert_int_equal(guest_releases(b, NVME_CLEAR_ALL, 0, 2), 0);
	assert_true(may_write(c));
	assert_int_equal(reported(a)->controllers[0], 0);

	/* With its holder. */
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), 0);
	assert_int_equal(guest_acquires(a, NVME_ACQUIRE, NVME_RESERVATION_WRITE_REGISTERED, 1, 0),
			 0);
	assert_false(may_write(c));
	assert_int_equal(guest_registers(a, NVME_UNREGISTER, 1, 0), 0);
	assert_true(may_write(c));
	/* With the last one of all. */
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), 0);
	assert_int_equal(guest_acquires(a, NVME_ACQUIRE, NVME_RESERVATION_WRITE_ALL, 1, 0), 0);
	assert_int_equal(guest_registers(a, NVME_UNREGISTER, 1, 0), 0);
	assert_false(may_write(c));
	assert_int_equal(guest_registers(b, NVME_UNREGISTER, 2, 0), 0);
	assert_true(may_write(c));
}

static void reporting(void **state)
{
	const struct nvme_reservation_report *head = machine_at(a->machine, a->data);
	const struct nvme_reservation_reported *one = (const void *)(head + 1);
	const uint8_t *bytes = machine_at(a->machine, a->data);

	guest_set_host_id(c, 16, 0x1002); /* another path of B's */
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 11), 0);
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 12), 0);
	assert_int_equal(guest_acquires(b, NVME_ACQUIRE, NVME_RESERVATION_WRITE, 12, 0), 0);
	assert_true(may_write(c));
	assert_int_equal(reported(a)->controllers[0], 3);
	assert_int_equal(head->generation, 2);
	assert_int_equal(head->ptpls, 0);
	assert_int_equal(host(a, 0)->cntlid, 1);
	assert_int_equal(host(a, 0)->status, 0);
	assert_int_equal(host(a, 0)->key, 11);
	assert_int_equal(host(a, 0)->host_id[0], 0x01);
	assert_int_equal(host(a, 0)->host_id[8], 0x01);
	assert_int_equal(host(a, 1)->cntlid, 2);
	assert_int_equal(host(a, 1)->status, NVME_RESERVATION_HOLDS);
	assert_int_equal(host(a, 2)->cntlid, 3);
	/* Who is registered is so, gone or not. */
	b->dead = c->dead = true;
	assert_int_equal(reported(a)->controllers[0], 2);
	assert_int_equal(host(a, 1)->cntlid, 0xffff);
	assert_int_equal(host(a, 1)->key, 12);
	assert_int_equal(guest_execute(a, report(a, false, 4096)), NVME_HOST_ID_INCONSISTENT);
	/* As much as was asked for. */
	assert_int_equal(guest_execute(a, report(a, true, 8)), 0);
	assert_int_equal(bytes[5], 2);
	assert_int_equal(bytes[8], 0xee);

	b->dead = c->dead = false;
	assert_int_equal(guest_releases(b, NVME_CLEAR_ALL, 0, 12), 0);
	guest_set_host_id(a, 8, 0x77);
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 11), 0);
	assert_int_equal(guest_execute(a, report(a, true, 4096)), NVME_HOST_ID_INCONSISTENT);
	assert_int_equal(guest_execute(a, report(a, false, 4096)), 0);
	assert_int_equal(head->controllers[0], 1);
	assert_int_equal(one->cntlid, 1);
	assert_int_equal(one->host_id, 0x77);
	assert_int_equal(one->key, 11);
}

static void as_many_hosts_as_there_is_room(void **state)
{
	for (unsigned i = 0; i < NVME_RESERVATION_HOSTS; i++) {
		guest_set_host_id(a, 16, 100 + i);
		assert_int_equal(guest_registers(a, NVME_REGISTER, 0, i), 0);
	}
	guest_set_host_id(a, 16, 99);
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), NVME_INTERNAL_ERROR);
	assert_int_equal(reported(a)->controllers[0], NVME_RESERVATION_HOSTS);
	guest_set_host_id(a, 16, 100);
	assert_int_equal(guest_registers(a, NVME_UNREGISTER, 0, 0), 0);
}

/* What is under way when it is taken lands before, and nothing lands later. */
static void taking_waits_for_others(void **state)
{
	struct machine_completion completion;

	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), 0);
	b->asleep = true;
	guests_disk->hold = true;
	machine_submit(b->machine, 1, machine_rw(NVME_IO_WRITE, 0, 1, b->data, 0));
	machine_run(b->machine);
	assert_int_equal(guests_disk->count, 1);
	machine_submit(a->machine, 1,
		       guest_make(a, NVME_IO_RESERVATION_ACQUIRE, NVME_RESERVATION_WRITE << 8, 1,
				  0));
	machine_run(a->machine);
	guests_look();
	machine_run(a->machine);
	assert_false(machine_take(a->machine, 1, &completion));
	/* From now on nothing more. */
	machine_submit(b->machine, 1, machine_rw(NVME_IO_WRITE, 0, 1, b->data, 0));
	machine_run(b->machine);
	assert_true(machine_take(b->machine, 1, &completion));
	assert_status(completion, NVME_RESERVATION_CONFLICT);
	assert_int_equal(guests_disk->count, 1);
	machine_release(b->machine, guests_disk);
	guests_disk->hold = false;
	machine_run(b->machine);
	assert_true(machine_take(b->machine, 1, &completion));
	assert_status(completion, 0);
	assert_false(machine_take(a->machine, 1, &completion));
	b->asleep = false;
	guests_look();
	machine_run(a->machine);
	assert_true(machine_take(a->machine, 1, &completion));
	assert_status(completion, 0);
}

static void taking_waits_for_no_dead(void **state)
{
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), 0);
	b->asleep = b->dead = true;
	assert_int_equal(guest_acquires(a, NVME_ACQUIRE, NVME_RESERVATION_WRITE, 1, 0), 0);
}

/* One that gives something back waits for nobody. */
static void giving_does_not_wait(void **state)
{
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), 0);
	assert_int_equal(guest_acquires(a, NVME_ACQUIRE, NVME_RESERVATION_WRITE, 1, 0), 0);
	b->asleep = c->asleep = true;
	assert_int_equal(guest_releases(a, NVME_RELEASE, NVME_RESERVATION_WRITE, 1), 0);
	assert_int_equal(guest_registers(a, NVME_UNREGISTER, 1, 0), 0);
}

static void the_lock_is_waited_for(void **state)
{
	struct machine_completion completion;

	guests_lock_is_taken = true;
	machine_submit(a->machine, 1,
		       guest_make(a, NVME_IO_RESERVATION_REGISTER, NVME_REGISTER, 0, 1));
	machine_run(a->machine);
	assert_false(machine_take(a->machine, 1, &completion));
	guests_lock_is_taken = false;
	machine_run(a->machine);
	assert_true(machine_take(a->machine, 1, &completion));
	assert_status(completion, 0);
}

/* One at a time: what tells that the first was executed is not overwritten before it is journalled. */
static void one_at_a_time(void **state)
{
	struct machine_completion completion;

	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), 0);
	b->asleep = true;
	machine_submit(a->machine, 1,
		       guest_make(a, NVME_IO_RESERVATION_ACQUIRE, NVME_RESERVATION_WRITE << 8, 1,
				  0));
	machine_run(a->machine);
	machine_submit(a->machine, 2,
		       guest_make(a, NVME_IO_RESERVATION_REGISTER, NVME_REPLACE_KEY, 1, 2));
	machine_run(a->machine);
	assert_false(machine_take(a->machine, 1, &completion));
	assert_false(machine_take(a->machine, 2, &completion));
	assert_int_equal(reported(c)->generation, 1);
	b->asleep = false;
	guests_look();
	machine_run(a->machine);
	machine_run(a->machine);
	assert_true(machine_take(a->machine, 1, &completion));
	assert_true(machine_take(a->machine, 2, &completion));
	assert_status(completion, 0);
	assert_int_equal(reported(c)->generation, 2);
}

static void a_reset_drops_what_waits(void **state)
{
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), 0);
	b->asleep = true;
	machine_submit(a->machine, 1,
		       guest_make(a, NVME_IO_RESERVATION_ACQUIRE, NVME_RESERVATION_WRITE << 8, 1,
				  0));
	machine_run(a->machine);
	assert_true(may_write(a)); /* and what may be done is known */
	machine_write32(a->machine, NVME_REG_CC, 0);
	machine_run(a->machine);
	assert_int_equal(machine_read32(a->machine, NVME_REG_CSTS), 0);
	machine_enable(a->machine);
	machine_create_queue(a->machine, 1, MACHINE_ENTRIES);
	/* It has forgotten who it is. */
	assert_false(may_write(a));
	guest_set_host_id(a, 16, 0x1001);
	assert_true(may_write(a));
	b->asleep = false;
	/* What is dropped is used again for another command. */
	guests_disk->hold = true;
	machine_submit(a->machine, 1, machine_rw(NVME_IO_WRITE, 0, 1, a->data, 0));
	machine_run(a->machine);
	assert_int_equal(guest_releases(a, NVME_RELEASE, NVME_RESERVATION_WRITE, 1), 0);
	guests_disk->hold = false;
	machine_release(a->machine, guests_disk);
	machine_run(a->machine);
}

static void set(void *opaque)
{
	*(bool *)opaque = true;
}

static void a_detached_one_is_not_waited_for(void **state)
{
	struct machine_completion completion;
	bool gone = false;

	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), 0);
	b->asleep = c->asleep = true;
	machine_submit(a->machine, 1,
		       guest_make(a, NVME_IO_RESERVATION_ACQUIRE, NVME_RESERVATION_WRITE << 8, 1,
				  0));
	machine_run(a->machine);
	assert_int_equal(nvme_controller_detach(b->machine->ctrl, 1, set, &gone), 0);
	machine_run(b->machine);
	assert_true(gone);
	machine_run(a->machine);
	assert_false(machine_take(a->machine, 1, &completion)); /* for C it does */
	gone = false;
	assert_int_equal(nvme_controller_detach(c->machine->ctrl, 1, set, &gone), 0);
	machine_run(c->machine);
	machine_run(a->machine);
	assert_true(machine_take(a->machine, 1, &completion));
	assert_status(completion, 0);
}

/* Anybody may have written it who has been taken over by his guest. */
static void a_damaged_page(void **state)
{
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), 0);
	assert_int_equal(guest_registers(a, NVME_REPLACE_KEY, 1, 2), 0);
	assert_true(may_write(b));
	memset(guests_page + 16, 0xff, sizeof(guests_page) - 16);
	assert_int_equal(guest_acquires(a, NVME_ACQUIRE, 1, 2, 0), NVME_INTERNAL_ERROR);
	assert_int_equal(guest_execute(a, report(a, true, 4096)), NVME_INTERNAL_ERROR);
	memset(guests_page + 12, 0x55, 4);
	assert_false(may_read(b));
	/* Cut off, and zeroes in its place. */
	memset(guests_page, 0, sizeof(guests_page));
	assert_false(may_read(b));
	memset(guests_page, 1, 8);
	assert_non_null(machine_restart(a->machine, NULL));
	assert_int_equal(guest_attach(a), -EBADMSG);
	memset(guests_page, 0, sizeof(guests_page));
	assert_int_equal(guest_attach(a), 0);
}

static void more_controllers_than_places(void **state)
{
	uint64_t *key = (uint64_t *)(guests_page + 16);

	assert_non_null(machine_restart(a->machine, NULL));
	for (unsigned i = 0; i < 64; i++)
		key[4 * i] = 2;
	assert_int_equal(guest_attach(a), -ENOSPC);
	b->dead = true;
	assert_int_equal(guest_attach(a), 0);
}

/*
 * Death
 */
static const struct {
	uint8_t opcode;
	uint32_t cdw10;
	uint64_t key, other;
} deadly[] = {
	{ NVME_IO_RESERVATION_REGISTER, NVME_REPLACE_KEY, 1, 8 },
	{ NVME_IO_RESERVATION_REGISTER, NVME_UNREGISTER, 1, 0 },
	{ NVME_IO_RESERVATION_ACQUIRE, NVME_PREEMPT | NVME_RESERVATION_WRITE << 8, 1, 2 },
	{ NVME_IO_RESERVATION_RELEASE, NVME_CLEAR_ALL, 1, 0 },
};

static bool execute_dying(unsigned n, unsigned point)
{
	volatile bool died = false;

	guests_passed = 0;
	guests_kill_at = point;
	if (setjmp(guests_killed) == 0) {
		machine_submit(a->machine, 1,
			       guest_make(a, deadly[n].opcode, deadly[n].cdw10, deadly[n].key,
					  deadly[n].other));
		machine_run(a->machine);
		guests_look();
		machine_run(a->machine);
	} else {
		died = true;
		guests_locked = false; /* the kernel's work */
	}
	guests_kill_at = 0;
	if (!died)
		return false;
	machine_die(a->machine, guests_disk);
	assert_non_null(machine_adopt(a->machine, NULL));
	assert_int_equal(guest_attach(a), 0);
	return true;
}

/* Each of these would fail if it were executed twice; whoever else changes something meanwhile takes
 * the number that the dead one wanted. */
static bool dies_at(unsigned n, unsigned point, bool with_others)
{
	struct machine_completion completion;
	uint32_t generation = 2 + with_others;
	void *state = NULL;
	bool died;

	guests_setup(&state);
	assert_int_equal(guest_registers(a, NVME_REGISTER, 0, 1), 0);
	assert_int_equal(guest_registers(b, NVME_REGISTER, 0, 2), 0);
	died = execute_dying(n, point);
	if (with_others)
		assert_int_equal(guest_registers(c, NVME_REGISTER, 0, 3), 0);
	machine_run(a->machine);
	guests_look();
	machine_run(a->machine);
	assert_true(machine_take(a->machine, 1, &completion));
	assert_status(completion, 0);
	assert_false(machine_take(a->machine, 1, &completion));
	assert_int_equal(reported(c)->generation, generation + 1);
	guests_teardown(&state);
	return died;
}

static void dies_and_is_executed_once(void **state)
{
	for (unsigned n = 0; n < ARRAY_SIZE(deadly); n++) {
		unsigned point = 1;

		while (dies_at(n, point, point % 2))
			point++;
		assert_true(point > 10);
		for (unsigned i = 1; i < point; i++)
			assert_true(dies_at(n, i, !(i % 2)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(is_said_where_it_is, guests_setup, guests_teardown),
		cmocka_unit_test_setup_teardown(a_host_needs_an_id, guests_setup, guests_teardown),
		cmocka_unit_test_setup_teardown(registering, guests_setup, guests_teardown),
		cmocka_unit_test_setup_teardown(what_each_type_forbids, guests_setup,
						guests_teardown),
		cmocka_unit_test_setup_teardown(every_command_is_asked, guests_setup,
						guests_teardown),
		cmocka_unit_test_setup_teardown(preempting, guests_setup, guests_teardown),
		cmocka_unit_test_setup_teardown(releasing, guests_setup, guests_teardown),
		cmocka_unit_test_setup_teardown(reporting, guests_setup, guests_teardown),
		cmocka_unit_test_setup_teardown(as_many_hosts_as_there_is_room, guests_setup,
						guests_teardown),
		cmocka_unit_test_setup_teardown(taking_waits_for_others, guests_setup,
						guests_teardown),
		cmocka_unit_test_setup_teardown(taking_waits_for_no_dead, guests_setup,
						guests_teardown),
		cmocka_unit_test_setup_teardown(giving_does_not_wait, guests_setup,
						guests_teardown),
		cmocka_unit_test_setup_teardown(the_lock_is_waited_for, guests_setup,
						guests_teardown),
		cmocka_unit_test_setup_teardown(one_at_a_time, guests_setup, guests_teardown),
		cmocka_unit_test_setup_teardown(a_reset_drops_what_waits, guests_setup,
						guests_teardown),
		cmocka_unit_test_setup_teardown(a_detached_one_is_not_waited_for, guests_setup,
						guests_teardown),
		cmocka_unit_test_setup_teardown(a_damaged_page, guests_setup, guests_teardown),
		cmocka_unit_test_setup_teardown(more_controllers_than_places, guests_setup,
						guests_teardown),
		cmocka_unit_test(dies_and_is_executed_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
