/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_MIGRATION_H
#define KEEPER_MIGRATION_H

#include "keeper/blob.h"
#include "keeper/monitor.h"
#include "keeper/vmstate.h"

/*
 * A migration, save or restore of the domain, as the keeper takes part in it: the order of things.
 * What is done is behind migration_ops.
 */
struct migration;

/* Takes its time, and ends in migration_done(), which may come from inside. */
enum migration_action {
	MIGRATION_ASK_QEMU,	    /* may it migrate like this? */
	MIGRATION_READ_PCI,	    /* QEMU's half of the devices; what comes last counts */
	MIGRATION_MESSAGE_MODE_ON,  /* all writes to the guest go through QEMU */
	MIGRATION_MESSAGE_MODE_OFF, /* none do any more */
	MIGRATION_COUNT_IDS,	    /* how many will the state take? */
	MIGRATION_REST,	   /* what MIGRATION_FREEZE will have to do, as far as it can be done now */
	MIGRATION_FREEZE,  /* nothing is done for the guest any more, all is on the disks */
	MIGRATION_COLLECT, /* migration_set_parts() */
	MIGRATION_THAW,
	MIGRATION_ADOPT,   /* give the controller what ops->judge() has found good */
	MIGRATION_REPLAY,  /* QEMU's half of the devices; ends when it is verified */
	MIGRATION_ABANDON, /* what was adopted is another host's again */
	MIGRATION_ACTIONS,
};

struct migration_ops {
	/* @since: for MIGRATION_MESSAGE_MODE_ON, from when on the direct writes are to be carried;
	 * CLOCK_MONOTONIC, microseconds */
	void (*start)(void *opaque, enum migration_action action, uint64_t since);
	/* All images or none: 0, or -errno with a sentence. */
	int (*lock)(void *opaque, struct error **errp);
	void (*unlock)(void *opaque);
	/* May this state go on here? 0, or -errno with a sentence; touches nothing. */
	int (*judge)(void *opaque, const struct blob *whole, struct error **errp);
	/* QEMU says that all devices are loaded: a replay that came too early may be repeated. */
	void (*loaded)(void *opaque);
};

/* What the daemon has found out about the migration that QEMU announced at that time. */
struct migration_permit {
	struct monitor_time when; /* of QEMU's event MIGRATION "setup" */
	const char *refused;	  /* a sentence why not; NULL: it may go on */
};

/** migration_new() - @incoming: the domain comes from elsewhere. NULL when out of memory */
struct migration *migration_new(sd_event *event, bool incoming, const struct migration_ops *ops,
				void *opaque);
void migration_free(struct migration *migration);

/** migration_permit() - the daemon's word; @permit is borrowed */
void migration_permit(struct migration *migration, const struct migration_permit *permit);

/** migration_awaits_permit() - is one announced that the daemon has said nothing about? Of when. */
bool migration_awaits_permit(const struct migration *migration, struct monitor_time *ret_when);

/** migration_event() - what QEMU's monitor says: a struct monitor_ops.event */
void migration_event(struct migration *migration, const char *name, struct json_object *data,
		     const struct monitor_time *when);

/* What QEMU asks on the bus: the struct vmstate_ops. */
void migration_read_id(struct migration *migration, struct vmstate_call *call);
int migration_save(struct migration *migration, unsigned number, const void **ret_data,
		   size_t *ret_size);
void migration_load(struct migration *migration, unsigned number, const void *data, size_t size,
		    struct vmstate_call *call);

/** migration_done() - an action has ended; @err is borrowed */
void migration_done(struct migration *migration, enum migration_action action,
		    const struct error *err);

/** migration_set_parts() - the state to be saved, in the course of MIGRATION_COLLECT; the @count
 * parts are taken over */
void migration_set_parts(struct migration *migration, struct blob *parts, unsigned count);

/** migration_state_name() - "none", "incoming", "setup", "active", "frozen" or "completed", for
 * status */
const char *migration_state_name(const struct migration *migration);

/** migration_is_incoming() - is the domain's state still to come? */
bool migration_is_incoming(const struct migration *migration);

/** migration_is_frozen() - must a controller that is started now do nothing for the guest? */
bool migration_is_frozen(const struct migration *migration);

/**
 * migration_awaits_state() - the images are another host's, and nothing of ours counts yet
 *
 * A controller that dies now has a successor that need not wait for anything of it: it may not even
 * ask for the lock that says so (block/lock.h), which the source's successor may be waiting for.
 */
bool migration_awaits_state(const struct migration *migration);

/** migration_is_under_way() - one is, so what the guest has must not change */
bool migration_is_under_way(const struct migration *migration);

/** migration_stopped() - when the guest stood, CLOCK_MONOTONIC in microseconds, a little too early; 0: it
 * runs, or it is not known */
uint64_t migration_stopped(const struct migration *migration);

/** migration_keeps_state() - is the disks' state given away, or about to be, or still to come? Else
 * a size that changes now goes along */
bool migration_keeps_state(const struct migration *migration);

#endif
