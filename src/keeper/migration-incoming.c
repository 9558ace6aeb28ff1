// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/migration-internal.h"

#include <errno.h>

#include "base/i18n.h"
#include "base/log.h"

/*
 * Theory of operation
 *
 * The destination of a migration, and restore. The controllers are frozen from the start: not even
 * the lock that each generation takes of an image (block/lock.h) is asked for before the source has
 * let go of all, since a controller that dies there has a successor that needs it.
 *
 *	what comes		what is done
 *	Id			answered
 *	Load, the last		join, judge -> image locks -> adopt -> write the replay -> answer.
 *				A failure is the answer, after all locks are given back: QEMU gives up
 *				and the source goes on.
 *	MIGRATION completed	all devices are loaded: a replay that came before the bridges is repeated
 *	MIGRATION failed	the disks are the source's again
 *	RESUME			the replay is verified, or has not been for too long -> thaw
 *
 * Nothing is done on the disks before RESUME: a device that is loaded after our Load may fail, and
 * the source's QEMU resumes by itself. A RESUME without a Load is a domain without our state in
 * its stream: its guest finds its controllers reset.
 */
#define LOCK_RETRY_US  50000
#define LOCK_TRIES     100 /* 5 s: the source has unlocked before it wrote its state */
#define REPLAY_WAIT_US 10000000

/* Not only the locks of ours: the controller's on its descriptors too. */
static void give_back(struct migration *migration)
{
	migration->loaded = false;
	migration_free_parts(migration);
	if (migration->locked) {
		migration->ops->unlock(migration->opaque);
		migration->locked = false;
	}
	migration->running[MIGRATION_REPLAY] = false; /* abandoned as well */
	if (!migration->running[MIGRATION_ABANDON])
		migration_start(migration, MIGRATION_ABANDON);
}

static void refuse(struct migration *migration, struct vmstate_call *call, const struct error *err)
{
	log_error("the state of the disks is refused: %s", err->message);
	give_back(migration);
	vmstate_answer(call, err);
}

static void fail_load(struct migration *migration, const struct error *err)
{
	refuse(migration, steal_pointer(migration->load), err);
}

static void take_locks(struct migration *migration)
{
	_cleanup_error_ struct error *err = NULL;
	int r = migration->ops->lock(migration->opaque, &err);

	if (r == 0) {
		migration->locked = true;
		migration_step(migration, "judging and locking");
		migration_start(migration, MIGRATION_ADOPT);
	} else if (r == -EAGAIN && ++migration->lock_tries < LOCK_TRIES) {
		sd_event_source_set_time_relative(migration->retry, LOCK_RETRY_US);
		sd_event_source_set_enabled(migration->retry, SD_EVENT_ONESHOT);
	} else {
		fail_load(migration, err);
	}
}

void migration_retry_load(struct migration *migration)
{
	if (!migration->locked)
		take_locks(migration);
}

static void load_all(struct migration *migration)
{
	_cleanup_blob_ struct blob whole = {};
	_cleanup_error_ struct error *err = NULL;

	migration->lock_tries = 0;
	migration_step(migration, "loading");
	if (blob_join(migration->parts, migration->awaited, &whole, &err) < 0 ||
	    migration->ops->judge(migration->opaque, &whole, &err) < 0)
		fail_load(migration, err);
	else
		take_locks(migration);
}

static int take_part(struct migration *migration, unsigned number, const void *data, size_t size,
		     struct error **errp)
{
	struct blob *part = &migration->parts[number];
	int count;

	if (part->size)
		return error_set(errp, EINVAL, _("part %u of the NVMe disks' state came twice"),
				 number);
	count = blob_check_part(data, size, number, errp);
	if (count < 0)
		return -EINVAL;
	if (migration->part_count && (unsigned)count != migration->awaited)
		return error_set(errp, EINVAL,
				 _("part %u of the NVMe disks' state is of another time"), number);
	migration->awaited = count;
	if (blob_append(part, data, size) < 0)
		return error_set_errno(errp, ENOMEM, "state");
	if (migration->part_count++ == 0)
		migration_stands_still(migration);
	return 0;
}

void migration_load(struct migration *migration, unsigned number, const void *data, size_t size,
		    struct vmstate_call *call)
{
	_cleanup_error_ struct error *err = NULL;

	/* In whatever order they come. */
	if (migration->state == MIGRATION_INCOMING &&
	    blob_check_part(data, size, number, NULL) == 0) {
		vmstate_answer(call, NULL);
		return;
	}
	if (migration->state != MIGRATION_INCOMING || migration->load || migration->loaded) {
		error_set(&err, EINVAL, _("no state is expected"));
		vmstate_answer(call, err);
		return;
	}
	if (take_part(migration, number, data, size, &err) < 0) {
		refuse(migration, call, err);
	} else if (migration->part_count < migration->awaited) {
		vmstate_answer(call, NULL);
	} else {
		migration->load = call;
		load_all(migration);
	}
}

/* QEMU's main loop is free, so it comes now or never. */
static void await_replay(struct migration *migration)
{
	sd_event_source_set_time_relative(migration->retry, REPLAY_WAIT_US);
	sd_event_source_set_enabled(migration->retry, SD_EVENT_ONESHOT);
}

void migration_miss_replay(struct migration *migration)
{
	_cleanup_error_ struct error *err = NULL;

	error_set(&err, ETIMEDOUT, "QEMU has not done it in time");
	migration_done(migration, MIGRATION_REPLAY, err);
}

static void arrive(struct migration *migration)
{
	migration->state = MIGRATION_ACTIVE; /* until it is home */
	migration_step(migration, "waiting for QEMU");
	migration->loaded = false;
	migration_go_home(migration);
}

static void adopt_done(struct migration *migration, const struct error *err)
{
	struct vmstate_call *call = migration->load;

	if (!call)
		return;
	if (err) {
		fail_load(migration, err);
		return;
	}
	migration->loaded = true;
	migration->replayed = false;
	migration_free_parts(migration);
	migration_step(migration, "adopting");
	log_info("the disks' state is there");
	migration_start(migration, MIGRATION_REPLAY);
	migration->load = NULL;
	vmstate_answer(call, NULL);
}

static void replay_done(struct migration *migration, const struct error *err)
{
	if (err)
		log_error("QEMU's half of the NVMe controllers could not be put back: %s",
			  err->message);
	migration->replayed = true;
	migration_step(migration, "QEMU's half");
	if (migration->homeward)
		migration_go_home(migration);
	else if (migration->resumed && migration->loaded)
		arrive(migration);
}

void migration_incoming_done(struct migration *migration, enum migration_action action,
			     const struct error *err)
{
	if (action == MIGRATION_ADOPT)
		adopt_done(migration, err);
	else if (action == MIGRATION_REPLAY)
		replay_done(migration, err);
	else if (err)
		log_warning("%s", err->message);
}

static void resume(struct migration *migration)
{
	migration->resumed = true;
	if (!migration->loaded) {
		log_error("the domain runs and no state of its NVMe disks has come: the guest will "
			  "have to reset its controllers");
		arrive(migration);
	} else if (!migration->replayed) {
		log_error("the domain runs before QEMU's half of the NVMe controllers is back");
		await_replay(migration);
	} else {
		arrive(migration);
	}
}

bool migration_incoming_event(struct migration *migration, const char *name, const char *status)
{
	if (string_equal(name, "RESUME")) {
		resume(migration);
	} else if (string_equal(status, "failed")) {
		give_back(migration);
	} else if (string_equal(status, "completed")) {
		migration->ops->loaded(migration->opaque);
	} else if (string_equal(status, "setup") && migration->loaded) {
		/* It was left paused and is on its way to the next host. */
		if (!migration->replayed)
			await_replay(migration);
		arrive(migration);
		return false;
	}
	return true;
}
