/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_RESERVATION_STATE_H
#define NVME_RESERVATION_STATE_H

#include "nvme/spec.h"

/*
 * Who has registered with a namespace, and who reserves it: the rules of section 8.8, as functions on
 * a value. Nothing here knows of controllers, files or processes (reservation.h).
 */
#define NVME_RESERVATION_HOSTS 64

struct nvme_reservation_host {
	uint8_t id[16];
	uint64_t key;
	uint32_t id_bytes; /* 8 or 16 */
	uint32_t padding;
};

/* Native integers and explicit padding: processes share it. */
struct nvme_reservation_state {
	uint32_t generation; /* as Reservation Report has it */
	uint32_t type;	     /* NVME_RESERVATION_*; 0: nobody reserves it */
	uint32_t holder;     /* index + 1; 0: nobody, or all that are registered */
	uint32_t hosts;
	uint32_t persists; /* through a loss of power: 0 or 1 */
	uint32_t padding;
	struct nvme_reservation_host host[NVME_RESERVATION_HOSTS];
};

/** nvme_reservation_is_sane() - may it be worked with, whoever has written it? */
bool nvme_reservation_is_sane(const struct nvme_reservation_state *state);

/** nvme_reservation_holds() - does the one with this index hold the reservation? */
bool nvme_reservation_holds(const struct nvme_reservation_state *state, int index);

/** nvme_reservation_conflicts() - NVME_RESERVATION_NO_* that this host may not do */
unsigned nvme_reservation_conflicts(const struct nvme_reservation_state *state,
				    const struct nvme_reservation_host *host);

/**
 * nvme_reservation_notice() - what a command of @by tells this host of, of NVME_NOTICE_*; 0: nothing
 * @cleared: it was Release with the action Clear
 */
unsigned nvme_reservation_notice(const struct nvme_reservation_state *before,
				 const struct nvme_reservation_state *after,
				 const struct nvme_reservation_host *by,
				 const struct nvme_reservation_host *host, bool cleared);

#define NVME_RESERVATION_NO_READS  (1u << 0)
#define NVME_RESERVATION_NO_WRITES (1u << 1)

/*
 * The commands. @host says whose; its key is not looked at. 0, or the status it ends with, and nothing
 * has changed then.
 */
nvme_status nvme_reservation_register(struct nvme_reservation_state *state,
				      const struct nvme_reservation_host *host, unsigned action,
				      bool any_key, uint64_t key, uint64_t new_key);
nvme_status nvme_reservation_acquire(struct nvme_reservation_state *state,
				     const struct nvme_reservation_host *host, unsigned action,
				     unsigned type, uint64_t key, uint64_t preempt_key);
nvme_status nvme_reservation_release(struct nvme_reservation_state *state,
				     const struct nvme_reservation_host *host, unsigned action,
				     unsigned type, uint64_t key);

#endif
