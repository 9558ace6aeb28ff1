// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/i18n.h"
#include "base/log.h"
#include "keeper/carry.h"
#include "keeper/keeper.h"

/*
 * Theory of operation
 *
 * A controller of the installed version is started beside the one that runs. That one is frozen:
 * it finishes what is at the images, keeps the results and fetches no more, and from there on the
 * guest waits. The new one judges every state file. If it cannot read one, the old one thaws, and
 * but for the pause nothing has happened. If it can, the old one is ended and the new one takes
 * over as any successor does (supervise.c). If it does not come to serve, the old program does
 * again.
 *
 * Now the guest waits no longer, and this process becomes the installed keeper (execve): its
 * descriptors and children stay, and what it knows goes along as one JSON object (carry.h). The
 * installed one has said before that it can read it. What it cannot know is what has come or gone
 * in part, so a moment is waited for in which there is no such thing: requests are left in their
 * sockets meanwhile, those of QEMU and the controller's events come seldom. Nobody notices the
 * execve but who accesses a register just then, and waits some milliseconds. If it fails this one
 * goes on.
 *
 * The old controller may die by itself at any moment: then its successor is of the old version, and
 * the upgrade has failed.
 *
 * The installed programs are not known to work: one that does not answer in time is killed and the
 * old one goes on at once, whether or not the kernel gets rid of it soon. What it was asked is
 * answered when it is gone.
 */
#define QUIET_RETRY_US 500
#define QUIET_TRIES    4000
/* The guest does not notice the first, is frozen in the second, and in the third no register of its
 * controllers is served. */
#define START_LIMIT_US	   (5u * 1000000)
#define JUDGE_LIMIT_US	   (2u * 1000000)
#define CAN_ADOPT_LIMIT_US (2u * 1000000)

struct upgrade {
	struct keeper *keeper;
	struct control_request *request;
	unsigned generation; /* of the one that is replaced */
	unsigned starting;   /* installed programs that are still to say a word */
	pid_t asked;	     /* the keeper's; and whether it said so in time */
	sd_event_source *told, *tell_limit;
	unsigned judging; /* answers that are still to come */
	bool given_up;	  /* and nobody waits for them */
	sd_event_source *limit;
	struct error *err;
	uint64_t frozen_at; /* 0: it is not */
	uint64_t pause_us;
	pid_t candidate;
	sd_event_source *quiet_timer;
	unsigned tries;
};

static bool is_the_old_one(const struct upgrade *upgrade)
{
	const struct supervisor *supervisor = &upgrade->keeper->supervisor;

	return supervisor->generation == upgrade->generation &&
	       supervisor->state == CONTROLLER_RUNNING && !supervisor_lost(supervisor);
}

static void set_ended(struct error **errp)
{
	error_set(errp, EAGAIN, _("a controller process ended meanwhile; try again"));
}

/* Has it ended, or is ending. */
static void stop_asking(struct upgrade *upgrade, int *status)
{
	upgrade->told = sd_event_source_disable_unref(upgrade->told);
	upgrade->tell_limit = sd_event_source_disable_unref(upgrade->tell_limit);
	if (waitpid(upgrade->asked, status, 0) < 0)
		log_error("upgrade: the installed keeper is nobody's child");
}

static void free_upgrade(struct upgrade *upgrade)
{
	error_free(upgrade->err);
	sd_event_source_disable_unref(upgrade->quiet_timer);
	sd_event_source_disable_unref(upgrade->limit);
	free(upgrade);
}

static void fail(struct upgrade *upgrade, struct error *err)
{
	log_error("upgrade: %s", error_message(err));
	control_request_fail(upgrade->request, err);
	free_upgrade(upgrade);
}

static void on_thawed(void *opaque, struct json_object *result, const struct error *err)
{
	/* A controller that is gone has a successor, which is not frozen. */
	if (err && err->code != ECONNRESET && err->code != ECANCELED)
		log_error("upgrade: the controller does not go on: %s", err->message);
}

static void let_go_on(const struct upgrade *upgrade)
{
	struct supervisor *supervisor = &upgrade->keeper->supervisor;

	if (is_the_old_one(upgrade) && upgrade->frozen_at)
		control_connection_call(supervisor->connection, "thaw", NULL, NULL, 0, on_thawed,
					NULL);
	supervisor_discard(supervisor);
}

static void give_up(struct upgrade *upgrade, const struct error *why)
{
	struct error *err = NULL;

	error_set(&err, why->code, "%s", why->message);
	let_go_on(upgrade);
	fail(upgrade, err);
}

static int on_limit(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct upgrade *upgrade = opaque;
	struct error *err = NULL;

	error_set(&err, ETIMEDOUT,
		  _("the installed controller does not answer; the old one goes on"));
	log_error("upgrade: %s", error_message(err));
	upgrade->given_up = true;
	let_go_on(upgrade);
	control_request_fail(upgrade->request, err);
	return 0;
}

static void set_limit(struct upgrade *upgrade, uint64_t usec)
{
	upgrade->limit = sd_event_source_disable_unref(upgrade->limit);
	if (sd_event_add_time_relative(upgrade->keeper->event, &upgrade->limit, CLOCK_MONOTONIC,
				       usec, 0, on_limit, upgrade) < 0)
		log_error("upgrade: no timer");
}

/* It was answered after all, or is gone. */
static bool is_over(struct upgrade *upgrade)
{
	if (!upgrade->given_up)
		return false;
	free_upgrade(upgrade);
	return true;
}

static int try_to_become(sd_event_source *source, uint64_t usec, void *opaque);

/* Not before its pending calls have been made and this call is over. */
static int try_later(struct upgrade *upgrade)
{
	upgrade->quiet_timer = sd_event_source_disable_unref(upgrade->quiet_timer);
	return sd_event_add_time_relative(upgrade->keeper->event, &upgrade->quiet_timer,
					  CLOCK_MONOTONIC, QUIET_RETRY_US, 1, try_to_become,
					  upgrade);
}

/* A controller serves, or there will be none any more. */
static void on_replaced(void *opaque, const struct error *why)
{
	struct upgrade *upgrade = opaque;
	const struct supervisor *supervisor = &upgrade->keeper->supervisor;
	struct error *err = NULL;

	if (why)
		error_set(&err, why->code, "%s", why->message);
	else if (supervisor_pid(supervisor) != upgrade->candidate &&
		 supervisor->generation == upgrade->generation + 1)
		set_ended(&err);
	else if (supervisor_pid(supervisor) != upgrade->candidate)
		error_set(&err, EIO,
			  _("the installed controller does not go on (%s); the old one does"),
			  supervisor_reason(supervisor));
	upgrade->pause_us = clock_us(CLOCK_MONOTONIC) - upgrade->frozen_at;
	if (!err && try_later(upgrade) < 0)
		error_set(&err, ENOMEM, _("out of memory"));
	if (err)
		fail(upgrade, err);
}

/* Only returns when it fails. */
static void become_installed(struct upgrade *upgrade)
{
	struct keeper *keeper = upgrade->keeper;
	_cleanup_json_ struct json_object *json = keeper_save(keeper, upgrade->request);
	_cleanup_close_ int fd = memfd_create("virtnvme-keeper", 0);
	char option[32];
	const char *text;

	json_add_u64(json, "version", CARRY_VERSION);
	carry_fd(json, "lock", keeper->lock_fd);
	json_add_u64(json, "pause_us", upgrade->pause_us);
	text = json_text(json);
	snprintf(option, sizeof(option), "--adopt-fd=%d", fd);
	if (fd >= 0 && fd_write_full(fd, text, strlen(text)) == 0 && lseek(fd, 0, SEEK_SET) == 0) {
		const char *const arguments[] = { keeper->program, option, NULL };

		execv(keeper->program, (char *const *)arguments);
	}
	error_set_errno(&upgrade->err, errno,
			_("the controller is upgraded, and the keeper is not: cannot run %s"),
			keeper->program);
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
}

static int try_to_become(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct upgrade *upgrade = opaque;
	struct keeper *keeper = upgrade->keeper;

	/* As long as the kernel takes for the old one's memory: it is waited for here, or never. */
	if (keeper->phase == KEEPER_RUNNING && keeper->supervisor.retired &&
	    try_later(upgrade) >= 0)
		return 0;
	requests_hold(keeper->requests, true);
	if (keeper->phase != KEEPER_RUNNING)
		error_set(&upgrade->err, ESHUTDOWN, _("the domain is ending"));
	else if (migration_is_under_way(keeper->migration))
		error_set(&upgrade->err, EBUSY,
			  _("the controller is upgraded, and the keeper is not: a migration has "
			    "begun; try again when it is over"));
	else if (keeper_may_be_carried(keeper, upgrade->request))
		become_installed(upgrade);
	else if (upgrade->tries++ < QUIET_TRIES && try_later(upgrade) >= 0)
		return 0;
	else
		error_set(&upgrade->err, EAGAIN,
			  _("the controller is upgraded, and the keeper is not: QEMU or the "
			    "controller is in the middle of a message; try again"));
	requests_hold(keeper->requests, false);
	fail(upgrade, steal_pointer(upgrade->err));
	return 0;
}

void upgrade_go_on(struct control_request *request, uint64_t pause_us)
{
	struct json_object *answer;

	log_notice("this is virtnvme-keeper %s now", PACKAGE_VERSION);
	if (!request)
		return;
	answer = json_object_new_object();
	json_add_u64(answer, "pause_us", pause_us);
	control_request_reply(request, answer);
}

static bool has_handled_all(const struct keeper *keeper)
{
	const struct device *device;

	for (device = keeper->devices; device; device = device->next)
		if (!relay_is_handled(device->relay))
			return false;
	return true;
}

static void on_judged(void *opaque, struct json_object *result, const struct error *err)
{
	struct upgrade *upgrade = opaque;
	struct supervisor *supervisor = &upgrade->keeper->supervisor;

	if (err && !upgrade->err)
		error_set(&upgrade->err, err->code, _("the installed controller cannot go on: %s"),
			  err->message);
	if (--upgrade->judging || is_over(upgrade))
		return;
	upgrade->limit = sd_event_source_disable_unref(upgrade->limit);
	if (!upgrade->err && (!is_the_old_one(upgrade) || !supervisor_has_candidate(supervisor)))
		set_ended(&upgrade->err);
	if (upgrade->err) {
		give_up(upgrade, upgrade->err);
		return;
	}
	upgrade->candidate = supervisor->candidate->pid;
	supervisor_wait(supervisor, on_replaced, upgrade);
	supervisor_replace(supervisor, has_handled_all(upgrade->keeper));
}

static void on_frozen(void *opaque, struct json_object *result, const struct error *err)
{
	struct upgrade *upgrade = opaque;
	struct supervisor *supervisor = &upgrade->keeper->supervisor;
	const struct device *device;

	if (err) {
		upgrade->frozen_at = 0;
		give_up(upgrade, err);
		return;
	}
	/* One more, so that the last word is not said while the others are being asked. */
	upgrade->judging = 1;
	set_limit(upgrade, JUDGE_LIMIT_US);
	for (device = upgrade->keeper->devices; device && supervisor_has_candidate(supervisor);
	     device = device->next) {
		struct json_object *arguments = json_object_new_object();

		json_add_u64(arguments, "queues", device->config.queues);
		upgrade->judging++;
		control_connection_call(supervisor->candidate->connection, "judge-state", arguments,
					&device->state_fd, 1, on_judged, upgrade);
	}
	on_judged(upgrade, NULL, NULL);
}

/* Both installed programs are there, so that the guest does not wait for their start. */
static void on_started(struct upgrade *upgrade)
{
	struct json_object *arguments;

	if (--upgrade->starting || is_over(upgrade))
		return;
	upgrade->limit = sd_event_source_disable_unref(upgrade->limit);
	if (!upgrade->err && !is_the_old_one(upgrade))
		set_ended(&upgrade->err);
	if (upgrade->err) {
		give_up(upgrade, upgrade->err);
		return;
	}
	arguments = json_object_new_object();
	json_add_bool(arguments, "sync", false);
	upgrade->frozen_at = clock_us(CLOCK_MONOTONIC);
	control_connection_call(upgrade->keeper->supervisor.connection, "freeze", arguments, NULL,
				0, on_frozen, upgrade);
}

static void on_ready(void *opaque, struct json_object *result, const struct error *err)
{
	struct upgrade *upgrade = opaque;

	if (err && !upgrade->err)
		error_set(&upgrade->err, err->code,
			  _("the installed controller does not start: %s"), err->message);
	on_started(upgrade);
}

static int on_told(sd_event_source *source, int pidfd, uint32_t revents, void *opaque)
{
	struct upgrade *upgrade = opaque;
	int status = -1;

	stop_asking(upgrade, &status);
	if (status && !upgrade->err)
		error_set(&upgrade->err, EOPNOTSUPP,
			  _("the installed virtnvme-keeper cannot go on where this one stops "
			    "(state version %u)"),
			  CARRY_VERSION);
	on_started(upgrade);
	return 0;
}

static int on_tell_limit(sd_event_source *source, uint64_t usec, void *opaque)
{
	const struct upgrade *upgrade = opaque;

	kill(upgrade->asked, SIGKILL);
	return 0;
}

/* Does the installed keeper know what this one would hand it? on_told() follows; registers are
 * served meanwhile. */
static int ask_installed(struct upgrade *upgrade, struct error **errp)
{
	const struct keeper *keeper = upgrade->keeper;
	char option[32];
	const char *const arguments[] = { keeper->program, option, NULL };
	int pidfd;
	int r;

	snprintf(option, sizeof(option), "--can-adopt=%u", CARRY_VERSION);
	r = posix_spawn(&upgrade->asked, keeper->program, NULL, NULL, (char *const *)arguments,
			environ);
	if (r)
		return error_set_errno(errp, r, _("cannot run %s"), keeper->program);
	pidfd = syscall(SYS_pidfd_open, upgrade->asked, 0);
	r = pidfd < 0 ? -errno
		      : sd_event_add_io(keeper->event, &upgrade->told, pidfd, EPOLLIN, on_told,
					upgrade);
	if (r >= 0)
		sd_event_source_set_io_fd_own(upgrade->told, true);
	else if (pidfd >= 0)
		close(pidfd);
	if (r >= 0)
		r = sd_event_add_time_relative(keeper->event, &upgrade->tell_limit, CLOCK_MONOTONIC,
					       CAN_ADOPT_LIMIT_US, 0, on_tell_limit, upgrade);
	if (r >= 0)
		return 0;
	kill(upgrade->asked, SIGKILL);
	stop_asking(upgrade, NULL);
	return error_set_errno(errp, -r, _("cannot run %s"), keeper->program);
}

/* What was not remembered nobody can be told. */
static int check_relays(const struct keeper *keeper, struct error **errp)
{
	const struct device *device;

	for (device = keeper->devices; device; device = device->next)
		if (!relay_is_recoverable(device->relay))
			return error_set(errp, EOPNOTSUPP, _("controller %u cannot be handed over"),
					 device->config.index);
	return 0;
}

void upgrade_start(struct keeper *keeper, struct control_request *request)
{
	struct upgrade *upgrade = calloc(1, sizeof(*upgrade));
	struct error *err = NULL;

	if (!upgrade)
		abort(); /* the daemon would wait for ever */
	upgrade->keeper = keeper;
	upgrade->request = request;
	upgrade->generation = keeper->supervisor.generation;
	if (check_relays(keeper, &err) < 0 || supervisor_prepare(&keeper->supervisor, &err) < 0) {
		fail(upgrade, err);
		return;
	}
	if (ask_installed(upgrade, &err) < 0) {
		supervisor_discard(&keeper->supervisor);
		fail(upgrade, err);
		return;
	}
	upgrade->starting = 2;
	set_limit(upgrade, START_LIMIT_US);
	control_connection_call(keeper->supervisor.candidate->connection, "counters", NULL, NULL, 0,
				on_ready, upgrade);
}
