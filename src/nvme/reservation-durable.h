/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_RESERVATION_DURABLE_H
#define NVME_RESERVATION_DURABLE_H

#include "nvme/reservation-state.h"
#include "nvme/share.h"

/*
 * Theory of operation
 *
 * What lasts through a loss of power (section 8.19, Persist Through Power Loss) is in a file of two
 * slots. Each has a state, a number and a checksum; the higher number is in force. Who writes has the
 * share's lock until the write is durable, and writes the slot that is not in force, so one that is
 * cut short, by whatever, leaves the other. A state that does not persist is written as well, in the
 * place of one that does.
 *
 * The page says which slot is in force (reservation.c), and that only with the change that the slot
 * is about. Who dies in between, or fails, leaves a slot that would be in force after a loss of power,
 * and is not before: the next change, whatever it is, writes that slot again.
 *
 * Whoever was taken over by his guest may have written what is read: it is copied, then judged.
 */
#define NVME_RESERVATION_DURABLE_SLOT (NVME_SHARE_DURABLE_BYTES / 2)

struct nvme_reservation_durable {
	uint64_t magic;
	uint32_t version;
	uint32_t checksum; /* of all, with a 0 here */
	uint64_t number;   /* not 0 */
	struct nvme_reservation_state state;
	uint8_t zeroes[NVME_RESERVATION_DURABLE_SLOT - 24 - sizeof(struct nvme_reservation_state)];
};

/** nvme_reservation_durable_fill() - make a slot */
void nvme_reservation_durable_fill(struct nvme_reservation_durable *slot,
				   const struct nvme_reservation_state *state, uint64_t number);

/**
 * nvme_reservation_durable_find() - the slot in force
 * @slots: two; nobody else writes them
 *
 * Return: its index; -ENOENT: there never was one; -EBADMSG: none makes sense.
 */
int nvme_reservation_durable_find(const struct nvme_reservation_durable *slots);

#endif
