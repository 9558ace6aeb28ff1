// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/migration-internal.h"

#include <errno.h>

#include "base/clock.h"
#include "base/i18n.h"
#include "base/log.h"

/*
 * Theory of operation
 *
 * The source. QEMU's events and its calls on the bus drive it; vmstate.c sees to it that an event
 * that was sent before a call is handled before it.
 *
 *	what comes		what is done
 *	MIGRATION setup		ask QEMU how it migrates, message mode on, read QEMU's half of the devices
 *	MIGRATION_PASS, STOP	read QEMU's half again: the guest may have changed it, and after STOP
 *				nobody does any more, but QEMU may not find the time to answer
 *	STOP, if all is agreed	rest: the disks drain while QEMU copies the last of the memory, and
 *				nothing more is posted. No more than a head start: Id asks for all of it
 *				again. RESUME before Id ends it
 *	message mode is on,	see how many Ids the state will take, as each is time for which the
 *	  MIGRATION_PASS	guest stands still
 *	permit			the daemon has asked libvirt what this is
 *	Id, the first		all of the above is there, else error -> freeze -> collect -> locks are
 *				given back -> answer; the other Ids are answered likewise
 *	Save			what was collected
 *	RESUME after Id,	home: locks, for as long as it takes -> message mode off -> thaw.
 *	  failed, cancelled	RESUME before Id is no more than a `virsh resume`
 *	completed		nothing, until QEMU is gone or says RESUME
 *
 * QEMU's main loop stands still from Id to its answer, so nothing is asked of QEMU there: what the
 * monitor has not answered by then counts as a no. All that can fail fails before the answer of the
 * first Id; and a state that was not announced by setup (savevm, an event that was lost) fails
 * there. After the answer the disks are another host's for all that we know, until QEMU says
 * otherwise.
 *
 * The destination is in migration-incoming.c.
 */
#define PERMIT_US      (10u * 1000000)
#define PREPARATION_US (20u * 1000000) /* GDBus waits 25 s */
#define RETRY_US       100000
/* QEMU starts to watch its memory after it has said so; a little more is harmless. */
#define SINCE_MARGIN_US 10000
/* It has stopped before it says so. What is too much has to be carried. */
#define STOPPED_MARGIN_US 1000

static void go_home(struct migration *migration);
static void prepare(struct migration *migration);

void migration_start(struct migration *migration, enum migration_action action)
{
	migration->running[action] = true;
	migration->ops->start(migration->opaque, action, migration->since);
}

void migration_stands_still(struct migration *migration)
{
	standstill_begin(&migration->standstill, clock_us(CLOCK_MONOTONIC));
}

void migration_step(struct migration *migration, const char *what)
{
	standstill_step(&migration->standstill, what, clock_us(CLOCK_MONOTONIC));
}

static void log_standstill(const struct migration *migration, const char *what)
{
	char text[300];

	if (migration->standstill.began)
		log_info("%s: for the disks it stood still for %s", what,
			 standstill_describe(&migration->standstill, text, sizeof(text)));
}

/* QEMU's clock is the wall's. Never 0. */
static uint64_t monotonic_of(const struct monitor_time *when, uint64_t margin)
{
	/* In this order: whoever keeps us waiting in between makes it earlier. */
	uint64_t monotonic = clock_us(CLOCK_MONOTONIC), wall = clock_us(CLOCK_REALTIME);
	uint64_t then = when->seconds * 1000000 + when->micros;
	uint64_t age = (wall > then ? wall - then : 0) + margin;

	return monotonic > age ? monotonic - age : 1;
}

static void clear_problem(struct migration *migration)
{
	error_free(migration->problem);
	migration->problem = NULL;
}

static void set_problem(struct migration *migration, const struct error *err)
{
	if (!migration->problem)
		error_set(&migration->problem, err->code, "%s", err->message);
}

void migration_free_parts(struct migration *migration)
{
	unsigned i;

	for (i = 0; i < BLOB_PARTS; i++)
		blob_free(&migration->parts[i]);
	migration->part_count = 0;
}

/* @err NULL: success */
static void answer_calls(struct migration *migration, const struct error *err)
{
	unsigned i;

	migration->preparing = false;
	sd_event_source_set_enabled(migration->limit, SD_EVENT_OFF);
	for (i = 0; i < migration->call_count; i++)
		vmstate_answer(migration->calls[i], err);
	migration->call_count = 0;
}

static void begin(struct migration *migration)
{
	migration_start(migration, MIGRATION_ASK_QEMU);
	migration->message_mode = true;
	migration_start(migration, MIGRATION_MESSAGE_MODE_ON);
	migration_start(migration, MIGRATION_READ_PCI);
	prepare(migration);
}

static void announce(struct migration *migration, const struct monitor_time *when)
{
	clear_problem(migration);
	migration_free_parts(migration);
	migration->announced = true;
	migration->setup = *when;
	migration->since = monotonic_of(when, SINCE_MARGIN_US);
	migration->asked = migration->message_mode_on = false;
	migration->state = MIGRATION_SETUP;
	if (!migration->homeward)
		begin(migration);
}

/* It has come to nothing, or QEMU goes on after all. */
static void end(struct migration *migration)
{
	_cleanup_error_ struct error *err = NULL;

	error_set(&err, ECANCELED, _("the migration was given up"));
	answer_calls(migration, err);
	migration->announced = false;
	clear_problem(migration);
	migration_free_parts(migration);
	migration_step(migration, "waiting for QEMU");
	migration_go_home(migration);
}

void migration_go_home(struct migration *migration)
{
	migration->homeward = true;
	go_home(migration);
}

static void again_later(struct migration *migration, const struct error *err)
{
	if (err)
		log_guest(LOG_WARNING, "the disks stay frozen, trying again: %s", err->message);
	sd_event_source_set_time_relative(migration->retry, RETRY_US);
	sd_event_source_set_enabled(migration->retry, SD_EVENT_ONESHOT);
}

/* One step, and what ends comes here again. */
static void go_home(struct migration *migration)
{
	const bool *running = migration->running;

	if (!migration->homeward || running[MIGRATION_REST] || running[MIGRATION_FREEZE] ||
	    running[MIGRATION_COLLECT] || running[MIGRATION_MESSAGE_MODE_ON] ||
	    running[MIGRATION_MESSAGE_MODE_OFF] || running[MIGRATION_THAW] ||
	    running[MIGRATION_REPLAY])
		return;
	if (!migration->locked) {
		_cleanup_error_ struct error *err = NULL;

		if (migration->ops->lock(migration->opaque, &err) < 0) {
			again_later(migration, err);
			return;
		}
		migration->locked = true;
	}
	if (migration->message_mode) {
		migration_start(migration, MIGRATION_MESSAGE_MODE_OFF);
	} else if (migration->frozen || migration->resting) {
		migration_start(migration, MIGRATION_THAW);
	} else {
		migration->homeward = false;
		if (migration->announced) {
			begin(migration);
		} else {
			migration->state = MIGRATION_NONE;
			log_info("the disks are in use here");
			migration_step(migration, "thawing");
			log_standstill(migration, "the guest goes on");
			standstill_end(&migration->standstill);
		}
	}
}

static int on_retry(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct migration *migration = opaque;

	if (migration->load)
		migration_retry_load(migration);
	else if (migration->running[MIGRATION_REPLAY])
		migration_miss_replay(migration);
	else
		go_home(migration);
	return 0;
}

/*
 * Id
 */
static void fail_preparation(struct migration *migration, const struct error *err)
{
	_cleanup_error_ struct error *copy = NULL;

	error_set(&copy, err->code, "%s", err->message);
	log_error("the migration or save is refused: %s", copy->message);
	set_problem(migration, copy);
	migration_free_parts(migration);
	answer_calls(migration, copy);
	/* QEMU goes on with the guest. */
	migration->announced = false;
	migration_go_home(migration);
}

static void fail_with(struct migration *migration, int code, const char *sentence)
{
	_cleanup_error_ struct error *err = NULL;

	error_set(&err, code, "%s", sentence);
	fail_preparation(migration, err);
}

static bool is_permitted_now(const struct migration *migration)
{
	return migration->permit.seconds == migration->setup.seconds &&
	       migration->permit.micros == migration->setup.micros;
}

bool migration_awaits_permit(const struct migration *migration, struct monitor_time *ret_when)
{
	*ret_when = migration->setup;
	return migration->announced && !is_permitted_now(migration);
}

/* As far as it goes now. */
static void prepare(struct migration *migration)
{
	if (!migration->preparing)
		return;
	/* It has arrived a moment ago and has not run; QEMU, which waits for us, can do no more. */
	if (migration->running[MIGRATION_REPLAY]) {
		fail_with(migration, EAGAIN,
			  _("QEMU's half of the NVMe controllers is not back yet; try again"));
		return;
	}
	if (migration->homeward || migration->frozen || migration->running[MIGRATION_REST] ||
	    migration->running[MIGRATION_THAW] || migration->running[MIGRATION_FREEZE])
		return;
	if (migration->problem) {
		fail_preparation(migration, migration->problem);
	} else if (!migration->asked) {
		fail_with(migration, EAGAIN, _("QEMU has not said how it migrates; try again"));
	} else if (!is_permitted_now(migration)) {
		return;
	} else if (migration->refused) {
		fail_with(migration, EPERM, migration->refused);
	} else if (migration->message_mode_on) {
		migration_step(migration, "agreement");
		migration_start(migration, MIGRATION_FREEZE);
	}
}

static int on_limit(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct migration *migration = opaque;

	if (!migration->preparing)
		return 0;
	if (!is_permitted_now(migration)) {
		fail_with(migration, ETIMEDOUT,
			  _("virtnvmed has not agreed to it in time: is it running?"));
	} else if (!migration->late) {
		migration->late = true;
		sd_event_source_set_time_relative(source, PREPARATION_US - PERMIT_US);
		sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	} else {
		fail_with(migration, ETIMEDOUT,
			  _("the disks did not come to rest in time; try again with less load"));
	}
	return 0;
}

void migration_read_id(struct migration *migration, struct vmstate_call *call)
{
	_cleanup_error_ struct error *err = NULL;

	if (migration->state == MIGRATION_INCOMING || migration->state == MIGRATION_FROZEN) {
		vmstate_answer(call, NULL);
		return;
	}
	if (migration->problem && !migration->announced) {
		vmstate_answer(call, migration->problem);
		return;
	}
	if (!migration->announced || migration->call_count == ARRAY_SIZE(migration->calls)) {
		error_set(
			&err, EOPNOTSUPP,
			_("the domain has NVMe disks of virtnvme, whose state can only be saved by "
			  "libvirt's migrate and save"));
		log_guest(LOG_WARNING, "QEMU wants to save its state: refused: %s", err->message);
		vmstate_answer(call, err);
		return;
	}
	migration->calls[migration->call_count++] = call;
	if (migration->preparing)
		return;
	migration->preparing = true;
	migration->late = false;
	migration_stands_still(migration);
	sd_event_source_set_time_relative(migration->limit, PERMIT_US);
	sd_event_source_set_enabled(migration->limit, SD_EVENT_ONESHOT);
	prepare(migration);
}

int migration_save(struct migration *migration, unsigned number, const void **ret_data,
		   size_t *ret_size)
{
	if (migration->state != MIGRATION_FROZEN || number >= migration->part_count) {
		log_error("QEMU saves a state that it was not given");
		return -ENODATA;
	}
	*ret_data = migration->parts[number].data;
	*ret_size = migration->parts[number].size;
	if (++migration->saved_count == migration->part_count) {
		migration_step(migration, "saving");
		log_standstill(migration, "the guest leaves");
	}
	return 0;
}

/*
 * What comes
 */
void migration_permit(struct migration *migration, const struct migration_permit *permit)
{
	migration->permit = permit->when;
	free(migration->refused);
	migration->refused = permit->refused ? strdup(permit->refused) : NULL;
	prepare(migration);
}

static void handle_status(struct migration *migration, const char *status,
			  const struct monitor_time *when)
{
	/* Its last look at the dirty log is still to come; what it has executed since STOP, while it
	 * waited for libvirt, it will see. */
	if (string_equal(status, "device") && migration->stopped)
		migration->stopped = monotonic_of(when, STOPPED_MARGIN_US);
	if (string_equal(status, "setup")) {
		announce(migration, when);
	} else if (string_equal(status, "failed") || string_equal(status, "cancelled")) {
		/* On the way home it is the next one's, which has not begun. */
		if (migration->state != MIGRATION_NONE &&
		    (!migration->homeward || migration->announced))
			end(migration);
	} else if (string_equal(status, "completed")) {
		if (migration->state == MIGRATION_SETUP || migration->state == MIGRATION_ACTIVE)
			log_error("QEMU has migrated without the state of the NVMe disks");
		if (migration->state != MIGRATION_NONE)
			migration->state = MIGRATION_COMPLETED;
	} else if (migration->state == MIGRATION_SETUP) {
		migration->state = MIGRATION_ACTIVE;
	}
}

/* Shall the guest stand because its state is about to be asked for? */
static bool may_rest(const struct migration *migration)
{
	return migration->message_mode_on && is_permitted_now(migration) && !migration->refused &&
	       !migration->problem && !migration->homeward && !migration->resting &&
	       !migration->running[MIGRATION_REST] && !migration->running[MIGRATION_THAW];
}

/* At what QEMU tells at its leisure, before it takes what it was told last. */
static void look_again(struct migration *migration, bool stopped)
{
	migration_start(migration, MIGRATION_READ_PCI);
	if (stopped && may_rest(migration)) {
		migration->rest_is_over = false;
		migration_start(migration, MIGRATION_REST);
	} else if (!stopped && migration->message_mode_on) {
		migration_start(migration, MIGRATION_COUNT_IDS);
	}
}

/* The guest runs again, or has run since, and is still to be migrated. */
static void rest_no_more(struct migration *migration)
{
	migration->rest_is_over = true;
	if (migration->resting && !migration->preparing && !migration->homeward &&
	    !migration->running[MIGRATION_FREEZE] && !migration->running[MIGRATION_THAW])
		migration_start(migration, MIGRATION_THAW);
}

static void rest_done(struct migration *migration, const struct error *err)
{
	migration->resting = !err;
	/* A controller that has died, or is on its way, has to be asked again by Id. */
	if (err && err->code != ENOTCONN && err->code != EBUSY && migration->announced)
		set_problem(migration, err);
	if (migration->rest_is_over)
		rest_no_more(migration);
}

void migration_event(struct migration *migration, const char *name, struct json_object *data,
		     const struct monitor_time *when)
{
	const char *status = json_string_or(data, "status", "");
	bool is_status = string_equal(name, "MIGRATION");

	/* Whenever: a guest may stand long before it is migrated. */
	if (string_equal(name, "STOP"))
		migration->stopped = monotonic_of(when, STOPPED_MARGIN_US);
	else if (string_equal(name, "RESUME"))
		migration->stopped = 0;
	if (migration->state == MIGRATION_INCOMING &&
	    migration_incoming_event(migration, name, is_status ? status : NULL))
		return;
	if (is_status)
		handle_status(migration, status, when);
	else if ((string_equal(name, "STOP") || string_equal(name, "MIGRATION_PASS")) &&
		 migration->announced && !migration->preparing && !migration->frozen)
		look_again(migration, string_equal(name, "STOP"));
	else if (string_equal(name, "RESUME") && !migration->homeward &&
		 (migration->frozen || migration->state == MIGRATION_COMPLETED))
		end(migration);
	else if (string_equal(name, "RESUME"))
		rest_no_more(migration);
}

static void freeze_done(struct migration *migration, const struct error *err)
{
	if (err) {
		set_problem(migration, err);
		if (migration->preparing)
			fail_preparation(migration, err);
		return;
	}
	migration->frozen = true;
	migration->resting = false;
	migration_step(migration, "draining and syncing");
	if (migration->preparing)
		migration_start(migration, MIGRATION_COLLECT);
}

static void collect_done(struct migration *migration, const struct error *err)
{
	if (!migration->preparing) {
		migration_free_parts(migration);
		return;
	}
	if (err) {
		fail_preparation(migration, err);
		return;
	}
	migration->ops->unlock(migration->opaque);
	migration->locked = false;
	migration->state = MIGRATION_FROZEN;
	migration->saved_count = 0;
	migration_step(migration, "collecting");
	log_info("the disks' state is in QEMU's hands");
	answer_calls(migration, NULL);
}

void migration_done(struct migration *migration, enum migration_action action,
		    const struct error *err)
{
	migration->running[action] = false;
	switch (action) {
	case MIGRATION_ASK_QEMU:
		migration->asked = !err;
		if (err && migration->announced)
			set_problem(migration, err);
		break;
	case MIGRATION_MESSAGE_MODE_ON:
		migration->message_mode_on = !err;
		if (err && migration->announced)
			set_problem(migration, err);
		else if (!err && migration->announced && !migration->preparing)
			migration_start(migration, MIGRATION_COUNT_IDS);
		break;
	case MIGRATION_MESSAGE_MODE_OFF:
		migration->message_mode = err;
		break;
	case MIGRATION_REST:
		rest_done(migration, err);
		break;
	case MIGRATION_FREEZE:
		freeze_done(migration, err);
		break;
	case MIGRATION_COLLECT:
		collect_done(migration, err);
		break;
	case MIGRATION_THAW:
		migration->frozen = migration->frozen && err;
		migration->resting = migration->resting && err;
		break;
	case MIGRATION_READ_PCI: /* judged by MIGRATION_COLLECT */
	case MIGRATION_COUNT_IDS:
		return;
	default:
		migration_incoming_done(migration, action, err);
		return;
	}
	prepare(migration);
	if (!migration->homeward)
		return;
	if (err && (action == MIGRATION_MESSAGE_MODE_OFF || action == MIGRATION_THAW))
		again_later(migration, err);
	else
		go_home(migration);
}

void migration_set_parts(struct migration *migration, struct blob *parts, unsigned count)
{
	migration_free_parts(migration);
	memcpy(migration->parts, parts, count * sizeof(*parts));
	migration->part_count = count;
}

struct migration *migration_new(sd_event *event, bool incoming, const struct migration_ops *ops,
				void *opaque)
{
	struct migration *migration = calloc(1, sizeof(*migration));

	if (!migration)
		return NULL;
	migration->ops = ops;
	migration->opaque = opaque;
	migration->state = incoming ? MIGRATION_INCOMING : MIGRATION_NONE;
	migration->frozen = incoming;
	migration->locked = !incoming;
	if (sd_event_add_time(event, &migration->retry, CLOCK_MONOTONIC, 0, 1, on_retry,
			      migration) < 0 ||
	    sd_event_add_time(event, &migration->limit, CLOCK_MONOTONIC, 0, 1, on_limit,
			      migration) < 0) {
		migration_free(migration);
		return NULL;
	}
	sd_event_source_set_enabled(migration->retry, SD_EVENT_OFF);
	sd_event_source_set_enabled(migration->limit, SD_EVENT_OFF);
	return migration;
}

void migration_free(struct migration *migration)
{
	_cleanup_error_ struct error *err = NULL;

	if (!migration)
		return;
	error_set(&err, ESHUTDOWN, _("the keeper ends"));
	if (migration->limit)
		answer_calls(migration, err);
	if (migration->load)
		vmstate_answer(migration->load, err);
	sd_event_source_disable_unref(migration->retry);
	sd_event_source_disable_unref(migration->limit);
	migration_free_parts(migration);
	clear_problem(migration);
	free(migration->refused);
	free(migration);
}

const char *migration_state_name(const struct migration *migration)
{
	static const char *const names[] = {
		[MIGRATION_NONE] = "none",     [MIGRATION_INCOMING] = "incoming",
		[MIGRATION_SETUP] = "setup",   [MIGRATION_ACTIVE] = "active",
		[MIGRATION_FROZEN] = "frozen", [MIGRATION_COMPLETED] = "completed",
	};

	return names[migration->state];
}

bool migration_is_incoming(const struct migration *migration)
{
	return migration->state == MIGRATION_INCOMING;
}

bool migration_is_frozen(const struct migration *migration)
{
	/* Not while it is being frozen: it has to see the end of what its predecessor had begun. */
	return migration->frozen;
}

bool migration_awaits_state(const struct migration *migration)
{
	return migration->state == MIGRATION_INCOMING && !migration->locked;
}

bool migration_is_under_way(const struct migration *migration)
{
	return migration->state != MIGRATION_NONE;
}

uint64_t migration_stopped(const struct migration *migration)
{
	return migration->stopped;
}

bool migration_keeps_state(const struct migration *migration)
{
	if (migration->state == MIGRATION_NONE)
		return false;
	return migration->preparing || migration->homeward || migration->frozen ||
	       (migration->state != MIGRATION_SETUP && migration->state != MIGRATION_ACTIVE);
}
