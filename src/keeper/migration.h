/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_MIGRATION_H
#define KEEPER_MIGRATION_H

#include <systemd/sd-event.h>

#include "base/error.h"

/* A migration, save or restore of the domain, as the keeper takes part in it. */
struct migration;

/* What the daemon has found out about the migration that QEMU announced at that time. */
struct migration_permit {
	uint64_t seconds, micros; /* of QEMU's event MIGRATION "setup" */
	const char *refused;	  /* a sentence why not; NULL: it may go on */
};

/** migration_new() - @incoming: the domain comes from elsewhere. NULL when out of memory */
struct migration *migration_new(bool incoming);
void migration_free(struct migration *migration);

/** migration_permit() - the daemon's word; @permit is borrowed */
void migration_permit(struct migration *migration, const struct migration_permit *permit);

/** migration_state_name() - "none", "incoming", "setup", "active", "frozen" or "completed", for
 * status */
const char *migration_state_name(const struct migration *migration);

/** migration_is_incoming() - is the domain's state still to come? */
bool migration_is_incoming(const struct migration *migration);

/** migration_is_under_way() - one is, so what the guest has must not change */
bool migration_is_under_way(const struct migration *migration);

#endif
