// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/unit/nvme/guests.h"

#include "nvme/crash-point.h"
#include "tests/unit/test.h"

struct guest guests[GUESTS];
struct machine_disk *guests_disk, *guests_durable;
uint8_t guests_page[NVME_SHARE_BYTES] __attribute__((aligned(8)));
bool guests_locked, guests_lock_is_taken;

jmp_buf guests_killed;
unsigned guests_passed, guests_kill_at;

void nvme_crash_point(void)
{
	if (guests_kill_at && ++guests_passed == guests_kill_at)
		longjmp(guests_killed, 1);
}

const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

static bool lock(struct nvme_share *share)
{
	if (guests_lock_is_taken)
		return false;
	assert_false(guests_locked);
	guests_locked = true;
	return true;
}

static void unlock(struct nvme_share *share)
{
	assert_true(guests_locked);
	guests_locked = false;
}

static void changed(struct nvme_share *share)
{
}

static bool is_alive(struct nvme_share *share, uint64_t key)
{
	return key >= 1 && key <= GUESTS && !guests[key - 1].dead;
}

static int recall(struct nvme_share *share, void *buffer)
{
	assert_true(guests_locked);
	memcpy(buffer, guests_durable->data, NVME_SHARE_DURABLE_BYTES);
	return 0;
}

int guest_attach(struct guest *guest)
{
	const struct nvme_namespace_config config = { .nsid = 1,
						      .shareable = true,
						      .error_policy = NVME_ERROR_STOP,
						      .share = &guest->share };

	return nvme_controller_attach(guest->machine->ctrl, &config, (struct block *)guests_disk,
				      NULL);
}

void guest_set_host_id(struct guest *guest, unsigned bytes, uint64_t id)
{
	const struct nvme_command command = { .opcode = NVME_ADMIN_SET_FEATURE,
					      .cdw10 = NVME_FEATURE_HOST_ID,
					      .cdw11 = bytes == 16 ? NVME_HOST_ID_EXTENDED : 0,
					      .prp1 = guest->data };
	uint64_t *data = machine_at(guest->machine, guest->data);

	data[0] = id;
	data[1] = bytes == 16 ? id : 0;
	assert_status(machine_execute(guest->machine, 0, command), 0);
}

static void start(struct guest *guest)
{
	machine_enable(guest->machine);
	machine_create_queue(guest->machine, 1, MACHINE_ENTRIES);
	machine_create_queue(guest->machine, 2, MACHINE_ENTRIES);
	guest_set_host_id(guest, 16, 0x1001 + (guest - guests));
}

static void come(struct guest *guest)
{
	*guest = (struct guest){
		.machine = guest->machine,
		.share = { guests_page, guest - guests + 1, lock, unlock, changed, is_alive,
			   (struct block *)guests_durable, recall },
	};
	guest->machine->config.cntlid = guest - guests + 1;
	assert_non_null(machine_restart(guest->machine, NULL));
	guest->data = machine_alloc(guest->machine, 4);
	assert_int_equal(guest_attach(guest), 0);
	start(guest);
}

int guests_setup(void **state)
{
	guests_disk = machine_disk_new(MiB);
	memset(guests_page, 0, sizeof(guests_page));
	guests_locked = guests_lock_is_taken = false;
	guests_kill_at = guests_passed = 0;
	for (unsigned i = 0; i < GUESTS; i++) {
		guests[i].machine = machine_new(1);
		come(&guests[i]);
	}
	return 0;
}

int guests_setup_durable(void **state)
{
	guests_durable = machine_disk_new(NVME_SHARE_DURABLE_BYTES);
	return guests_setup(state);
}

void guests_lose_power(void)
{
	memset(guests_page, 0, sizeof(guests_page));
	guests_locked = guests_lock_is_taken = false;
	for (unsigned i = 0; i < GUESTS; i++) {
		machine_free(guests[i].machine);
		guests[i].machine = machine_new(1);
		come(&guests[i]);
	}
}

int guests_teardown(void **state)
{
	for (unsigned i = 0; i < GUESTS; i++)
		machine_free(guests[i].machine);
	machine_disk_free(guests_disk);
	if (guests_durable)
		machine_disk_free(guests_durable);
	guests_durable = NULL;
	return 0;
}

/* The part of the control thread: nothing is under way, so that is what it says. */
static void look(struct guest *guest)
{
	uint32_t change;

	if (guest->asleep)
		return;
	nvme_controller_reservation_changed(guest->machine->ctrl);
	if (nvme_controller_reservation_unseen(guest->machine->ctrl, 1, &change))
		nvme_controller_reservation_seen(guest->machine->ctrl, 1, change);
}

void guests_look(void)
{
	for (unsigned i = 0; i < GUESTS; i++)
		look(&guests[i]);
}

struct nvme_command guest_make(struct guest *guest, uint8_t opcode, uint32_t cdw10, uint64_t key,
			       uint64_t other)
{
	uint64_t *data = machine_at(guest->machine, guest->data);

	data[0] = key;
	data[1] = other;
	return (struct nvme_command){
		.opcode = opcode, .nsid = 1, .cdw10 = cdw10, .prp1 = guest->data
	};
}

nvme_status guest_execute(struct guest *guest, struct nvme_command command)
{
	struct machine_completion completion, second;
	uint16_t cid = machine_submit(guest->machine, 1, command);

	machine_run(guest->machine);
	guests_look();
	machine_run(guest->machine);
	assert_true(machine_take(guest->machine, 1, &completion));
	assert_int_equal(completion.cid, cid);
	assert_false(machine_take(guest->machine, 1, &second));
	assert_int_equal(completion.result, 0);
	assert_true(!completion.status || completion.dnr);
	return completion.status;
}

nvme_status guest_registers(struct guest *guest, unsigned action, uint64_t key, uint64_t new_key)
{
	return guest_execute(guest,
			     guest_make(guest, NVME_IO_RESERVATION_REGISTER, action, key, new_key));
}

nvme_status guest_acquires(struct guest *guest, unsigned action, unsigned type, uint64_t key,
			   uint64_t preempted)
{
	return guest_execute(guest, guest_make(guest, NVME_IO_RESERVATION_ACQUIRE,
					       action | type << 8, key, preempted));
}

nvme_status guest_releases(struct guest *guest, unsigned action, unsigned type, uint64_t key)
{
	return guest_execute(guest, guest_make(guest, NVME_IO_RESERVATION_RELEASE,
					       action | type << 8, key, 0));
}
