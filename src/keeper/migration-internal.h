/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_MIGRATION_INTERNAL_H
#define KEEPER_MIGRATION_INTERNAL_H

#include "keeper/migration.h"
#include "keeper/standstill.h"

enum migration_state {
	MIGRATION_NONE,
	MIGRATION_INCOMING,
	MIGRATION_SETUP,
	MIGRATION_ACTIVE,
	MIGRATION_FROZEN,
	MIGRATION_COMPLETED,
};

struct migration {
	const struct migration_ops *ops;
	void *opaque;
	enum migration_state state;
	bool running[MIGRATION_ACTIONS];
	sd_event_source *retry, *limit;

	/* What is so. */
	bool frozen;
	bool resting; /* as if frozen, ahead of it: a controller that is started now does not */
	bool rest_is_over; /* the guest has run since it was begun */
	bool locked;
	bool message_mode;    /* or on its way there */
	bool message_mode_on; /* for the migration that was announced */
	bool homeward;	      /* on the way to !frozen, locked, !message_mode */

	/* The one that was announced. */
	bool announced;
	bool asked; /* QEMU, and it migrates as it may */
	struct monitor_time setup;
	uint64_t since;
	uint64_t stopped;      /* 0: the guest runs, or it is not known */
	struct error *problem; /* why Id will fail */

	struct monitor_time permit;
	char *refused;

	/* Ids that wait. */
	bool preparing, late;
	struct vmstate_call *calls[VMSTATE_ID_COUNT];
	unsigned call_count;

	/* Saved or loaded. */
	struct blob parts[BLOB_PARTS];
	unsigned part_count, saved_count;
	unsigned awaited; /* parts, as the first that came says */
	struct standstill standstill;

	/* Incoming. */
	struct vmstate_call *load; /* the last one, which is answered for all */
	unsigned lock_tries;
	bool loaded, replayed, resumed;
};

void migration_start(struct migration *migration, enum migration_action action);
void migration_free_parts(struct migration *migration);

/** migration_step() - what the guest stood still for since the last one, for the log */
void migration_step(struct migration *migration, const char *what);
void migration_stands_still(struct migration *migration);

/** migration_go_home() - to a domain that runs here */
void migration_go_home(struct migration *migration);

/* migration-incoming.c */
void migration_retry_load(struct migration *migration);
/** migration_miss_replay() - it has been waited for long enough */
void migration_miss_replay(struct migration *migration);
/** migration_incoming_event() - @status: of MIGRATION, else NULL. Return: it was about the incoming
 * migration */
bool migration_incoming_event(struct migration *migration, const char *name, const char *status);
void migration_incoming_done(struct migration *migration, enum migration_action action,
			     const struct error *err);

#endif
