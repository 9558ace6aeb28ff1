// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/hand-over-internal.h"

#include <errno.h>

#include "base/i18n.h"
#include "control/channel.h"

#define QUIET_RETRY_US 500

/* A call whose answer ends an action. */
struct ending {
	struct hand_over *hand_over;
	enum migration_action action;
};

void hand_over_finished(struct hand_over *hand_over, enum migration_action action,
			const struct error *err)
{
	migration_done(hand_over->keeper->migration, action, err);
}

struct hand_over_job *hand_over_job_new(struct hand_over *hand_over, enum migration_action action)
{
	struct hand_over_job *job = calloc(1, sizeof(*job));
	unsigned i;

	if (!job)
		abort(); /* the guest would stay frozen */
	job->hand_over = hand_over;
	job->action = action;
	job->open = 1;
	for (i = 0; i < HAND_OVER_MAX_DEVICES; i++)
		job->overlays[i] = -1;
	return job;
}

void hand_over_job_end_one(struct hand_over_job *job, const struct error *err)
{
	if (err && !job->err)
		error_set(&job->err, err->code, "%s", err->message);
	if (--job->open)
		return;
	if (!job->err && job->finish)
		job->finish(job);
	hand_over_finished(job->hand_over, job->action, job->err);
	fd_close_all(job->overlays, HAND_OVER_MAX_DEVICES);
	error_free(job->err);
	free(job);
}

void hand_over_call_with(struct hand_over *hand_over, const char *command,
			 struct json_object *arguments, const int *fds, size_t fd_count,
			 device_done done, void *opaque)
{
	struct control_connection *connection = hand_over->keeper->supervisor.connection;
	_cleanup_error_ struct error *err = NULL;

	if (connection) {
		control_connection_call(connection, command, arguments, fds, fd_count, done,
					opaque);
		return;
	}
	json_object_put(arguments);
	error_set(&err, ENOTCONN, _("the controller process is not running"));
	done(opaque, NULL, err);
}

/* A call that outlives the controller. */
struct patient_call {
	struct hand_over *hand_over;
	const char *command;
	struct json_object *arguments;
	device_done done;
	void *opaque;
};

static void end_call(struct patient_call *call, struct json_object *result, const struct error *err)
{
	call->done(call->opaque, result, err);
	json_object_put(call->arguments);
	free(call);
}

static void place_call(struct patient_call *call);

static void on_successor(void *opaque, const struct error *err)
{
	if (err)
		end_call(opaque, NULL, err);
	else
		place_call(opaque);
}

static void on_called(void *opaque, struct json_object *result, const struct error *err)
{
	struct patient_call *call = opaque;
	struct supervisor *supervisor = &call->hand_over->keeper->supervisor;

	if (!err || !supervisor_lost(supervisor) ||
	    !supervisor_wait(supervisor, on_successor, call))
		end_call(call, result, err);
}

/*
 * A successor that is still getting its devices would answer for those that it has, and the others
 * would stay as they are: frozen, or in message mode.
 */
static void place_call(struct patient_call *call)
{
	struct supervisor *supervisor = &call->hand_over->keeper->supervisor;

	if (!supervisor_restarting(supervisor) || !supervisor_wait(supervisor, on_successor, call))
		hand_over_call_with(call->hand_over, call->command,
				    json_object_get(call->arguments), NULL, 0, on_called, call);
}

void hand_over_call(struct hand_over *hand_over, const char *command, struct json_object *arguments,
		    device_done done, void *opaque)
{
	struct patient_call *call = malloc(sizeof(*call));

	if (!call)
		abort(); /* the guest would stay frozen */
	*call = (struct patient_call){ hand_over, command, arguments, done, opaque };
	place_call(call);
}

struct json_object *hand_over_index(const struct device *device)
{
	struct json_object *arguments = json_object_new_object();

	json_add_u64(arguments, "index", device->config.index);
	return arguments;
}

static void on_answer(void *opaque, struct json_object *result, const struct error *err)
{
	struct ending *ending = opaque;

	/* Nobody needs to reach into QEMU any more. Not before this answer: the thaw may have been
	 * begun by what came from there. */
	if (ending->action == MIGRATION_THAW && !err)
		hand_over_end_replay(ending->hand_over);
	hand_over_finished(ending->hand_over, ending->action, err);
	free(ending);
}

static void call_and_end(struct hand_over *hand_over, enum migration_action action,
			 const char *command, struct json_object *arguments)
{
	struct ending *ending = malloc(sizeof(*ending));

	if (!ending)
		abort(); /* the guest would stay frozen */
	*ending = (struct ending){ hand_over, action };
	hand_over_call(hand_over, command, arguments, on_answer, ending);
}

/* The guest has been told that its controllers have failed: there is nothing that could go along,
 * and nothing that would have to go on. */
static bool has_failed(const struct hand_over *hand_over)
{
	return hand_over->keeper->supervisor.state == CONTROLLER_FAILED;
}

static void refuse_failed(struct hand_over *hand_over, enum migration_action action)
{
	const char *reason = supervisor_reason(&hand_over->keeper->supervisor);
	_cleanup_error_ struct error *err = NULL;

	error_set(&err, EIO,
		  _("the guest has lost its NVMe disks, %s; destroy the domain and start it again"),
		  reason ? reason : "");
	hand_over_finished(hand_over, action, err);
}

static void set_message_mode(struct hand_over *hand_over, bool enabled, uint64_t since)
{
	struct json_object *arguments = json_object_new_object();

	json_add_bool(arguments, "enabled", enabled);
	if (enabled)
		json_add_u64(arguments, "since", since);
	call_and_end(hand_over, enabled ? MIGRATION_MESSAGE_MODE_ON : MIGRATION_MESSAGE_MODE_OFF,
		     "message-mode", arguments);
}

/*
 * Doorbells that the guest has written, and QEMU has sent, belong to what is frozen. They are on
 * another channel than the command: it waits until the controller has handled them. A successor is
 * sent them again.
 */
static bool is_quiet(const struct hand_over *hand_over)
{
	const struct device *device;

	if (supervisor_restarting(&hand_over->keeper->supervisor))
		return false;
	for (device = hand_over->keeper->devices; device; device = device->next)
		if (!relay_is_quiet(device->relay))
			return false;
	return true;
}

static void on_frozen(void *opaque, struct json_object *result, const struct error *err);

static void freeze(struct hand_over *hand_over)
{
	if (has_failed(hand_over)) {
		refuse_failed(hand_over, hand_over->freezing);
		return;
	}
	if (is_quiet(hand_over)) {
		hand_over_call_with(hand_over, "freeze", NULL, NULL, 0, on_frozen, hand_over);
		return;
	}
	sd_event_source_set_time_relative(hand_over->quiet_timer, QUIET_RETRY_US);
	sd_event_source_set_enabled(hand_over->quiet_timer, SD_EVENT_ONESHOT);
}

static void on_frozen(void *opaque, struct json_object *result, const struct error *err)
{
	struct hand_over *hand_over = opaque;

	if (err && (supervisor_restarting(&hand_over->keeper->supervisor) || has_failed(hand_over)))
		freeze(hand_over);
	else
		hand_over_finished(hand_over, hand_over->freezing, err);
}

static int on_quiet_timer(sd_event_source *source, uint64_t usec, void *opaque)
{
	freeze(opaque);
	return 0;
}

static void start(void *opaque, enum migration_action action, uint64_t since)
{
	struct hand_over *hand_over = opaque;

	switch (action) {
	case MIGRATION_ASK_QEMU:
		hand_over_ask_qemu(hand_over);
		break;
	case MIGRATION_READ_PCI:
		hand_over_read_pci(hand_over);
		break;
	case MIGRATION_MESSAGE_MODE_ON:
		if (has_failed(hand_over))
			refuse_failed(hand_over, action);
		else
			set_message_mode(hand_over, true, since);
		break;
	case MIGRATION_MESSAGE_MODE_OFF:
		if (has_failed(hand_over))
			hand_over_finished(hand_over, action, NULL);
		else
			set_message_mode(hand_over, false, 0);
		break;
	case MIGRATION_COUNT_IDS:
		hand_over_count_ids(hand_over);
		break;
	case MIGRATION_REST:
	case MIGRATION_FREEZE:
		hand_over->freezing = action;
		freeze(hand_over);
		break;
	case MIGRATION_COLLECT:
		hand_over_collect(hand_over);
		break;
	case MIGRATION_THAW:
		if (has_failed(hand_over))
			hand_over_finished(hand_over, action, NULL);
		else
			call_and_end(hand_over, MIGRATION_THAW, "thaw", NULL);
		break;
	case MIGRATION_ADOPT:
		hand_over_adopt(hand_over);
		break;
	case MIGRATION_REPLAY:
		hand_over_begin_replay(hand_over);
		break;
	case MIGRATION_ABANDON:
		hand_over_abandon(hand_over);
		break;
	case MIGRATION_ACTIONS:
		break;
	}
}

static int lock(void *opaque, struct error **errp)
{
	struct hand_over *hand_over = opaque;
	struct device *device, *locked;
	int r = 0;

	for (device = hand_over->keeper->devices; device; device = device->next) {
		r = device_lock_images(device, errp);
		if (r < 0)
			break;
	}
	for (locked = hand_over->keeper->devices; r < 0 && locked != device; locked = locked->next)
		device_unlock_images(locked);
	return r;
}

static void unlock(void *opaque)
{
	struct hand_over *hand_over = opaque;
	struct device *device;

	for (device = hand_over->keeper->devices; device; device = device->next)
		device_unlock_images(device);
}

const struct migration_ops hand_over_ops = {
	.start = start,
	.lock = lock,
	.unlock = unlock,
	.judge = hand_over_judge,
	.loaded = hand_over_loaded,
};

void hand_over_connected(struct hand_over *hand_over)
{
	if (migration_is_incoming(hand_over->keeper->migration))
		hand_over_make_qtest(hand_over);
}

static sd_event_source *make_timer(sd_event *event, sd_event_time_handler_t handler, void *opaque)
{
	sd_event_source *source;

	if (sd_event_add_time(event, &source, CLOCK_MONOTONIC, 0, 1, handler, opaque) < 0)
		return NULL;
	sd_event_source_set_enabled(source, SD_EVENT_OFF);
	return source;
}

static int on_replay_timer(sd_event_source *source, uint64_t usec, void *opaque)
{
	hand_over_loaded(opaque);
	return 0;
}

struct hand_over *hand_over_new(struct keeper *keeper)
{
	struct hand_over *hand_over = calloc(1, sizeof(*hand_over));

	if (!hand_over)
		return NULL;
	hand_over->keeper = keeper;
	hand_over->quiet_timer = make_timer(keeper->event, on_quiet_timer, hand_over);
	hand_over->replay_timer = make_timer(keeper->event, on_replay_timer, hand_over);
	if (hand_over->quiet_timer && hand_over->replay_timer)
		return hand_over;
	hand_over_free(hand_over);
	return NULL;
}

void hand_over_free(struct hand_over *hand_over)
{
	if (!hand_over)
		return;
	hand_over_end_replay(hand_over);
	hand_over_forget_arrivals(hand_over);
	sd_event_source_disable_unref(hand_over->quiet_timer);
	sd_event_source_disable_unref(hand_over->replay_timer);
	free(hand_over);
}
