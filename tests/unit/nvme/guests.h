/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_UNIT_NVME_GUESTS_H
#define TESTS_UNIT_NVME_GUESTS_H

#include <setjmp.h>

#include "tests/unit/nvme/machine.h"

/*
 * Guests that share an image, and what they make of its reservations. Each has the queues 0, 1 and 2
 * and the Host Identifier 0x1001 and so on; with the crash points of the controller model.
 */
#define GUESTS 3

extern struct guest {
	struct machine *machine;
	struct nvme_share share;
	uint64_t data; /* four pages */
	bool dead;     /* and nobody comes after it */
	bool asleep;   /* it does not look what others change */
} guests[GUESTS];

static struct guest *const a = &guests[0], *const b = &guests[1], *const c = &guests[2];

extern struct machine_disk *guests_disk;
extern uint8_t guests_page[NVME_SHARE_BYTES];
extern bool guests_locked, guests_lock_is_taken;
extern struct machine_disk
	*guests_durable; /* what lasts through a loss of power; NULL: nothing does */

/* What is killed at a crash point goes on after it. */
extern jmp_buf guests_killed;
extern unsigned guests_passed, guests_kill_at;

/* Fixtures */
int guests_setup(void **state);
int guests_setup_durable(void **state);
int guests_teardown(void **state);

/** guests_lose_power() - and all start again, with the disk and what is durable */
void guests_lose_power(void);

/** guests_look() - each control thread that is awake: nothing is under way, so that is what it says */
void guests_look(void);

int guest_attach(struct guest *guest);
void guest_set_host_id(struct guest *guest, unsigned bytes, uint64_t id);

struct nvme_command guest_make(struct guest *guest, uint8_t opcode, uint32_t cdw10, uint64_t key,
			       uint64_t other);
nvme_status guest_execute(struct guest *guest, struct nvme_command command);
nvme_status guest_registers(struct guest *guest, unsigned action, uint64_t key, uint64_t new_key);
nvme_status guest_acquires(struct guest *guest, unsigned action, unsigned type, uint64_t key,
			   uint64_t preempted);
nvme_status guest_releases(struct guest *guest, unsigned action, unsigned type, uint64_t key);

#endif
