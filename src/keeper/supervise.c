// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/i18n.h"
#include "base/log.h"
#include "keeper/carry.h"

/*
 * Theory of operation
 *
 * A controller may die at any time, and a guest must not notice more than a pause. The pidfd tells;
 * a successor is started at once, is handed every device and goes on where the state files stop.
 * All that stands in the way is answered before: calls to the dead process fail, and who made them
 * for somebody else waits (supervisor_wait()) and asks the successor.
 *
 * The successor is made of the same file as the dead one, by a descriptor: a package that was
 * upgraded meanwhile may have put another version at the path, which need not read the state.
 *
 * One that is replaced (supervisor_replace()) is frozen: it has nothing at the images, has given the
 * generation locks back and touches neither state nor guest memory, but for what a message or a
 * call has it do. When none is left it is stopped, so that it never runs again, and its successor
 * takes over at once. It is killed when that one serves: to take down the mappings of a large
 * guest's memory, page for page, costs the kernel more time than all the rest.
 *
 * crash-policy.h says when to give up. Then virtnvme-failed takes the devices over: a guest can
 * deal with a controller that says that it has failed; one that never answers takes the whole of
 * QEMU with it. There is no way back from there before the domain's next start: a guest that was
 * told so has forgotten the queues that are in the state file.
 *
 * A controller that hangs is left alone. Whether it is stopped, swapped out or waits for storage
 * cannot be told from here, and its successor would wait for the same. Not so the first of another
 * program, as long as it has not served: there is one that is known to work.
 */
#define STOP_TIMEOUT_US	 (60u * 1000000)
#define SERVE_TIMEOUT_US (2u * 1000000)

static const char *const state_names[] = {
	[CONTROLLER_NONE] = "none",	  [CONTROLLER_STARTING] = "starting",
	[CONTROLLER_RUNNING] = "running", [CONTROLLER_RESTARTING] = "restarting",
	[CONTROLLER_FAILED] = "failed",	  [CONTROLLER_STOPPING] = "stopping",
	[CONTROLLER_STOPPED] = "stopped",
};

const char *supervisor_state_name(const struct supervisor *supervisor)
{
	return state_names[supervisor->state];
}

pid_t supervisor_pid(const struct supervisor *supervisor)
{
	return supervisor->process ? supervisor->process->pid : 0;
}

const char *supervisor_reason(const struct supervisor *supervisor)
{
	return supervisor->reason ? supervisor->reason->message : NULL;
}

static void set_reason(struct supervisor *supervisor, struct error *err)
{
	error_free(supervisor->reason);
	supervisor->reason = err;
}

void supervisor_init(struct supervisor *supervisor, sd_event *event,
		     const struct keeper_config *config, const struct supervisor_ops *ops,
		     void *opaque)
{
	*supervisor = (struct supervisor){
		.event = event,
		.config = config,
		.ops = ops,
		.opaque = opaque,
		.program_fd = -1,
		.candidate_fd = -1,
		.previous_fd = -1,
	};
	supervisor->waiters_end = &supervisor->waiters;
}

static void drop_process(struct supervisor *supervisor)
{
	/* Calls that are open are answered in here, and must find nobody to call. */
	supervisor->connection = NULL;
	process_free(steal_pointer(supervisor->process));
}

/* Those who come while this runs wait for the next time. */
static void wake_waiters(struct supervisor *supervisor, const struct error *err)
{
	struct supervisor_waiter *list = supervisor->waiters;

	supervisor->waiters = NULL;
	supervisor->waiters_end = &supervisor->waiters;
	while (list) {
		struct supervisor_waiter *waiter = list;

		list = waiter->next;
		waiter->resume(waiter->opaque, err);
		free(waiter);
	}
}

static void drop_candidate(struct supervisor *supervisor)
{
	process_free(steal_pointer(supervisor->candidate));
	fd_close_all(&supervisor->candidate_fd, 1);
}

void supervisor_done(struct supervisor *supervisor)
{
	_cleanup_error_ struct error *err = NULL;

	supervisor->state = CONTROLLER_STOPPED;
	supervisor->restart_timer = sd_event_source_disable_unref(supervisor->restart_timer);
	supervisor->kill_timer = sd_event_source_disable_unref(supervisor->kill_timer);
	supervisor->serve_timer = sd_event_source_disable_unref(supervisor->serve_timer);
	drop_process(supervisor);
	drop_candidate(supervisor);
	process_free(steal_pointer(supervisor->retired));
	error_set(&err, ESHUTDOWN, _("the domain is ending"));
	wake_waiters(supervisor, err);
	set_reason(supervisor, NULL);
	cleanup_close(&supervisor->program_fd);
	cleanup_close(&supervisor->previous_fd);
}

bool supervisor_lost(const struct supervisor *supervisor)
{
	return !supervisor->connection ||
	       control_connection_peer(supervisor->connection, NULL, NULL) < 0;
}

bool supervisor_restarting(const struct supervisor *supervisor)
{
	return supervisor->state == CONTROLLER_RESTARTING ||
	       (supervisor->state == CONTROLLER_RUNNING &&
		(supervisor->candidate || supervisor_lost(supervisor)));
}

bool supervisor_wait(struct supervisor *supervisor,
		     void (*resume)(void *opaque, const struct error *err), void *opaque)
{
	struct supervisor_waiter *waiter;

	if (supervisor->state != CONTROLLER_RUNNING && supervisor->state != CONTROLLER_RESTARTING)
		return false;
	waiter = calloc(1, sizeof(*waiter));
	if (!waiter)
		abort(); /* nobody could be told */
	waiter->resume = resume;
	waiter->opaque = opaque;
	*supervisor->waiters_end = waiter;
	supervisor->waiters_end = &waiter->next;
	return true;
}

static void on_disconnected(void *opaque)
{
	struct supervisor *supervisor = opaque;

	supervisor->connection = NULL;
	/* Most often it has died and the pidfd is about to say so. One that lives on without its
	 * channel would end its devices in order, as if the guest had gone. */
	if (supervisor->state != CONTROLLER_STOPPING)
		process_kill(supervisor->process);
}

static void on_event(void *opaque, const char *event, struct json_object *data)
{
	struct supervisor *supervisor = opaque;

	supervisor->ops->event(supervisor->opaque, event, data);
}

static void on_ended(void *opaque, int status);

static struct process_options process_options(struct supervisor *supervisor, const char *program,
					      int program_fd)
{
	return (struct process_options){
		.event = supervisor->event,
		.config = supervisor->config,
		.program = program,
		.program_fd = program_fd,
		.is_controller = program != supervisor->config->failed_program,
		.event_sent = on_event,
		.disconnected = on_disconnected,
		.ended = on_ended,
		.opaque = supervisor,
	};
}

/* NULL with a sentence. */
static struct process *start_process(struct supervisor *supervisor, const char *program,
				     int program_fd, struct error **errp)
{
	const struct process_options options = process_options(supervisor, program, program_fd);

	return process_start(&options, errp);
}

static void set_process(struct supervisor *supervisor, struct process *process)
{
	supervisor->process = process;
	supervisor->connection = process->connection;
	supervisor->generation++;
}

/* 0 or -errno with a sentence. */
static int run(struct supervisor *supervisor, const char *program, int program_fd,
	       struct error **errp)
{
	struct process *process = start_process(supervisor, program, program_fd, errp);

	if (!process)
		return -EIO;
	set_process(supervisor, process);
	return 0;
}

static void adopt(struct supervisor *supervisor, unsigned flags)
{
	supervisor->adopting = true;
	supervisor->serving_since = 0;
	supervisor->ops->adopt(supervisor->opaque, flags);
}

/* There can be no controller any more. */
static void give_up(struct supervisor *supervisor)
{
	_cleanup_error_ struct error *err = NULL;
	struct error *reason = NULL;

	supervisor->state = CONTROLLER_FAILED;
	error_set(&reason, EIO, _("the controller process cannot be kept running: %s"),
		  supervisor_reason(supervisor));
	set_reason(supervisor, reason);
	log_error("%s", reason->message);
	log_error("the guest is told that its NVMe controllers have failed");
	if (run(supervisor, supervisor->config->failed_program, -1, &err) < 0) {
		log_error("%s", error_message(err));
		supervisor->ops->settled(supervisor->opaque, supervisor->reason, true);
		wake_waiters(supervisor, supervisor->reason);
		return;
	}
	adopt(supervisor, DEVICE_BARE);
}

static void died(struct supervisor *supervisor, bool fault);

static void restart(struct supervisor *supervisor)
{
	struct error *err = NULL;

	supervisor->restarts++;
	if (run(supervisor, supervisor->config->controller_program, supervisor->program_fd, &err) <
	    0) {
		log_error("%s", error_message(err));
		set_reason(supervisor, err);
		died(supervisor, false);
		return;
	}
	log_notice("controller %d takes over, generation %u%s", (int)supervisor_pid(supervisor),
		   supervisor->generation,
		   supervisor->verdict.poison ? "; commands in hand are failed" : "");
	adopt(supervisor, supervisor->verdict.poison ? DEVICE_POISON : 0);
}

static void ignore_disconnection(void *opaque)
{
}

static void on_retired_ended(void *opaque, int status)
{
	struct supervisor *supervisor = opaque;

	process_free(steal_pointer(supervisor->retired));
}

static void kill_retired(const struct supervisor *supervisor)
{
	if (supervisor->retired)
		process_kill(supervisor->retired);
}

static void on_candidate_ended(void *opaque, int status)
{
	struct supervisor *supervisor = opaque;

	log_info("the new controller ended: %s", process_describe_end(status));
	drop_candidate(supervisor);
	/* While the controller is being ended for it, they wait for a successor. */
	if (supervisor->state == CONTROLLER_RUNNING && !supervisor->replacing)
		wake_waiters(supervisor, NULL);
}

bool supervisor_has_candidate(const struct supervisor *supervisor)
{
	return supervisor->candidate && supervisor->candidate->connection;
}

int supervisor_prepare(struct supervisor *supervisor, struct error **errp)
{
	const char *program = supervisor->config->controller_program;

	supervisor->candidate_fd = open(program, O_RDONLY | O_CLOEXEC);
	supervisor->candidate = start_process(supervisor, program, supervisor->candidate_fd, errp);
	if (!supervisor->candidate) {
		fd_close_all(&supervisor->candidate_fd, 1);
		return -EIO;
	}
	supervisor->candidate->disconnected = ignore_disconnection;
	supervisor->candidate->ended = on_candidate_ended;
	return 0;
}

/* Not freed here: this may be inside a call to it. */
void supervisor_discard(struct supervisor *supervisor)
{
	if (supervisor->candidate)
		process_kill(supervisor->candidate);
}

/* Nobody but ourselves ends it; on_ended() follows. */
static void condemn(struct supervisor *supervisor, const char *why, bool fault)
{
	struct error *err = NULL;

	if (supervisor->condemned || !supervisor->process)
		return;
	error_set(&err, EIO, "%s", why);
	set_reason(supervisor, err);
	supervisor->condemned = true;
	supervisor->fault = fault;
	process_kill(supervisor->process);
}

static int on_serve_timer(sd_event_source *source, uint64_t usec, void *opaque)
{
	condemn(opaque, _("it does not answer"), false);
	return 0;
}

static void take_over(struct supervisor *supervisor)
{
	/* It may have died since. */
	if (!supervisor_has_candidate(supervisor)) {
		drop_candidate(supervisor);
		restart(supervisor);
		return;
	}
	supervisor->previous_fd = supervisor->program_fd;
	supervisor->program_fd = steal_fd(&supervisor->candidate_fd);
	supervisor->candidate->disconnected = on_disconnected;
	supervisor->candidate->ended = on_ended;
	set_process(supervisor, steal_pointer(supervisor->candidate));
	log_notice("controller %d replaces it, generation %u", (int)supervisor_pid(supervisor),
		   supervisor->generation);
	if (sd_event_add_time_relative(supervisor->event, &supervisor->serve_timer, CLOCK_MONOTONIC,
				       SERVE_TIMEOUT_US, 0, on_serve_timer, supervisor) < 0)
		log_error("no timer for the installed controller");
	adopt(supervisor, 0);
}

/* It says nothing and is told nothing from here on. */
static void retire(struct supervisor *supervisor)
{
	struct process *process = steal_pointer(supervisor->process);

	process_stop(process);
	process->ended = on_retired_ended;
	supervisor->retired = process;
	supervisor->state = CONTROLLER_RESTARTING; /* for those who are told now */
	supervisor->connection = NULL;
	control_connection_free(steal_pointer(process->connection));
}

void supervisor_replace(struct supervisor *supervisor, bool idle)
{
	if (!idle || supervisor->retired || supervisor_lost(supervisor) ||
	    !control_connection_is_idle(supervisor->connection, NULL)) {
		supervisor->replacing = true;
		process_kill(supervisor->process);
		return;
	}
	retire(supervisor);
	take_over(supervisor);
}

/* What has never served is at fault itself, whatever the guest did; and nothing is worse than
 * before. */
static void go_back(struct supervisor *supervisor)
{
	log_error("the installed controller does not take over: %s", supervisor_reason(supervisor));
	close(supervisor->program_fd);
	supervisor->program_fd = steal_fd(&supervisor->previous_fd);
	supervisor->verdict = (struct crash_verdict){};
	restart(supervisor);
}

bool supervisor_may_be_carried(const struct supervisor *supervisor)
{
	return supervisor->state == CONTROLLER_RUNNING && !supervisor->candidate &&
	       supervisor->connection && control_connection_is_idle(supervisor->connection, NULL);
}

struct json_object *supervisor_save(const struct supervisor *supervisor)
{
	struct json_object *json = json_object_new_object();

	json_add(json, "process", process_save(supervisor->process));
	carry_fd(json, "program", supervisor->program_fd);
	json_add_u64(json, "serving_since", supervisor->serving_since);
	json_add_u64(json, "generation", supervisor->generation);
	json_add_u64(json, "restarts", supervisor->restarts);
	json_add_string(json, "reason", supervisor_reason(supervisor));
	return json;
}

int supervisor_load(struct supervisor *supervisor, struct json_object *json, struct error **errp)
{
	const char *reason = json_string_or(json, "reason", NULL);
	const struct process_options options =
		process_options(supervisor, supervisor->config->controller_program, -1);

	supervisor->generation = json_u64_or(json, "generation", 0);
	supervisor->restarts = json_u64_or(json, "restarts", 0);
	if (reason)
		error_set(&supervisor->reason, EIO, "%s", reason);
	supervisor->state = CONTROLLER_RUNNING;
	supervisor->serving_since = json_u64_or(json, "serving_since", 0);
	supervisor->program_fd = carried_fd(json, "program");
	supervisor->process =
		process_load(&options, json_child(json, "process", json_type_object), errp);
	if (!supervisor->process)
		return -EIO;
	supervisor->connection = supervisor->process->connection;
	return 0;
}

static int on_restart_timer(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct supervisor *supervisor = opaque;

	supervisor->restart_timer = sd_event_source_disable_unref(supervisor->restart_timer);
	restart(supervisor);
	return 0;
}

/* The reason is set. */
static void died(struct supervisor *supervisor, bool fault)
{
	uint64_t served = supervisor->serving_since
				  ? clock_us(CLOCK_MONOTONIC) - supervisor->serving_since
				  : 0;

	supervisor->state = CONTROLLER_RESTARTING;
	supervisor->verdict = crash_policy_judge(&supervisor->policy, served, fault);
	supervisor->serving_since = 0;
	if (supervisor->verdict.give_up)
		give_up(supervisor);
	else if (supervisor->verdict.delay_us == 0 ||
		 sd_event_add_time_relative(supervisor->event, &supervisor->restart_timer,
					    CLOCK_MONOTONIC, supervisor->verdict.delay_us, 0,
					    on_restart_timer, supervisor) < 0)
		restart(supervisor);
}

/* Nobody outside sends the others. */
static bool is_fault(int status)
{
	return !WIFSIGNALED(status) || (WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGTERM);
}

static void on_ended(void *opaque, int status)
{
	struct supervisor *supervisor = opaque;
	enum controller_state state = supervisor->state;
	bool replaced = supervisor->replacing;
	struct error *err = NULL;
	bool fault;

	log_write(state == CONTROLLER_STOPPING || replaced ? LOG_INFO : LOG_ERR,
		  "the controller is gone: %s", process_describe_end(status));
	supervisor->adopting = false;
	kill_retired(supervisor);
	supervisor->kill_timer = sd_event_source_disable_unref(supervisor->kill_timer);
	supervisor->serve_timer = sd_event_source_disable_unref(supervisor->serve_timer);
	if (!supervisor->condemned && !replaced && state != CONTROLLER_FAILED) {
		error_set(&err, EIO, "%s", process_describe_end(status));
		set_reason(supervisor, err);
	}
	supervisor->replacing = false;
	if (state == CONTROLLER_RUNNING)
		supervisor->state = CONTROLLER_RESTARTING; /* for those who are told now */
	fault = supervisor->condemned ? supervisor->fault : is_fault(status);
	supervisor->condemned = false;
	drop_process(supervisor);
	switch (state) {
	case CONTROLLER_STARTING:
		supervisor->state = CONTROLLER_STOPPED;
		supervisor->ops->settled(supervisor->opaque, supervisor->reason, true);
		break;
	case CONTROLLER_RUNNING:
	case CONTROLLER_RESTARTING:
		if (replaced)
			take_over(supervisor);
		else if (supervisor->previous_fd >= 0)
			go_back(supervisor);
		else
			died(supervisor, fault);
		break;
	case CONTROLLER_FAILED:
		supervisor->ops->settled(supervisor->opaque, supervisor->reason, true);
		break;
	default:
		supervisor->state = CONTROLLER_STOPPED;
		supervisor->ops->stopped(supervisor->opaque);
	}
}

int supervisor_start(struct supervisor *supervisor, struct error **errp)
{
	const char *program = supervisor->config->controller_program;
	int r;

	supervisor->program_fd = open(program, O_RDONLY | O_CLOEXEC);
	r = run(supervisor, program, supervisor->program_fd, errp);
	if (r < 0)
		return r;
	log_info("controller %d runs", (int)supervisor_pid(supervisor));
	supervisor->state = CONTROLLER_STARTING;
	adopt(supervisor, 0);
	return 0;
}

void supervisor_adopted(struct supervisor *supervisor, const struct error *err)
{
	/* It died of it: its end was told, or will be. */
	if (!supervisor->adopting)
		return;
	supervisor->adopting = false;
	supervisor->serve_timer = sd_event_source_disable_unref(supervisor->serve_timer);
	kill_retired(supervisor);
	if (err && supervisor->state == CONTROLLER_STARTING) {
		supervisor->ops->settled(supervisor->opaque, err, false);
		return;
	}
	if (supervisor->state == CONTROLLER_FAILED) {
		if (err)
			log_error("%s", err->message);
		supervisor->ops->settled(supervisor->opaque, supervisor->reason, false);
		wake_waiters(supervisor, supervisor->reason);
		return;
	}
	if (err && supervisor_lost(supervisor)) {
		process_kill(supervisor->process); /* it is dying; its end will say more */
		return;
	}
	if (err) {
		log_error("the controller does not take its devices: %s", err->message);
		condemn(supervisor, err->message, false);
		return;
	}
	supervisor->state = CONTROLLER_RUNNING;
	if (supervisor->previous_fd >= 0)
		close(steal_fd(&supervisor->previous_fd));
	supervisor->serving_since = clock_us(CLOCK_MONOTONIC);
	supervisor->ops->settled(supervisor->opaque, NULL, false);
	wake_waiters(supervisor, NULL);
}

void supervisor_distrust(struct supervisor *supervisor, const char *why)
{
	if (supervisor->state == CONTROLLER_RUNNING || supervisor->state == CONTROLLER_RESTARTING)
		condemn(supervisor, why, true);
}

static int on_kill_timer(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct supervisor *supervisor = opaque;

	log_error("controller %d does not stop and is killed", (int)supervisor_pid(supervisor));
	process_kill(supervisor->process);
	return 0;
}

/* Whether it answered or the channel was lost: closing the channel ends it. */
static void on_stopped(void *opaque, struct json_object *result, const struct error *err)
{
	struct supervisor *supervisor = opaque;

	if (err && err->code != ECANCELED && err->code != ECONNRESET)
		log_error("controller %d: stop: %s", (int)supervisor_pid(supervisor), err->message);
	if (supervisor->connection && (!err || err->code != ECANCELED)) {
		supervisor->connection = NULL;
		control_connection_free(steal_pointer(supervisor->process->connection));
	}
}

void supervisor_stop(struct supervisor *supervisor)
{
	supervisor->restart_timer = sd_event_source_disable_unref(supervisor->restart_timer);
	supervisor->serve_timer = sd_event_source_disable_unref(supervisor->serve_timer);
	supervisor->adopting = false;
	if (!supervisor->process) {
		supervisor->state = CONTROLLER_STOPPED;
		supervisor->ops->stopped(supervisor->opaque);
		return;
	}
	supervisor->state = CONTROLLER_STOPPING;
	sd_event_add_time_relative(supervisor->event, &supervisor->kill_timer, CLOCK_MONOTONIC,
				   STOP_TIMEOUT_US, 0, on_kill_timer, supervisor);
	if (supervisor->connection)
		control_connection_call(supervisor->connection, "stop", NULL, NULL, 0, on_stopped,
					supervisor);
}
