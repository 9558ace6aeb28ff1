/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_SUPERVISE_H
#define KEEPER_SUPERVISE_H

#include "keeper/crash-policy.h"
#include "keeper/process.h"

enum controller_state {
	CONTROLLER_NONE,
	CONTROLLER_STARTING, /* the first one gets its devices */
	CONTROLLER_RUNNING,
	CONTROLLER_RESTARTING, /* it died; a successor gets its devices, or will */
	CONTROLLER_FAILED,     /* virtnvme-failed stands in for it, or nobody does */
	CONTROLLER_STOPPING,   /* it was told to */
	CONTROLLER_STOPPED,
};

/* How a process gets its devices. */
enum device_start_flags {
	DEVICE_FROZEN = 1 << 0,	 /* it does nothing of the guest's before it is told to thaw */
	DEVICE_POISON = 1 << 1,	 /* the commands that its predecessor had in hand are failed */
	DEVICE_BARE = 1 << 2,	 /* it is not a controller and gets no images */
	DEVICE_PATIENT = 1 << 3, /* when it dies meanwhile, its successor's success is this one's */
	DEVICE_FRESH = 1 << 4,	 /* whatever a predecessor left in the state file, it did nothing */
};

struct supervisor_ops {
	/* There is a new process: hand it every device, then say supervisor_adopted(). Calls to
	 * its predecessor have all been answered. */
	void (*adopt)(void *opaque, unsigned flags);
	/* The devices are served; or, with @err, they are not: the first one did not come up, or
	 * virtnvme-failed plays them, or, with @lost, nobody does. */
	void (*settled)(void *opaque, const struct error *err, bool lost);
	/* The controller says something by itself. */
	void (*event)(void *opaque, const char *event, struct json_object *data);
	/* The end of what supervisor_stop() began. */
	void (*stopped)(void *opaque);
};

/* Somebody who waits for the controller to be there again. */
struct supervisor_waiter {
	struct supervisor_waiter *next;
	/* @err: there will be none */
	void (*resume)(void *opaque, const struct error *err);
	void *opaque;
};

/* The controller process of the moment. Generations are counted from 1. */
struct supervisor {
	sd_event *event;
	const struct keeper_config *config;
	const struct supervisor_ops *ops;
	void *opaque;

	enum controller_state state;
	unsigned generation;
	struct process *process;
	struct control_connection *connection; /* the process's; NULL when it is lost */
	int program_fd;			       /* what the controller of the moment was made of */
	int previous_fd; /* and its predecessor; -1: it has served, or there was no other program */
	struct process *candidate; /* of another program file; it waits for its turn */
	int candidate_fd;
	bool replacing;		 /* the process is ended for the candidate */
	struct process *retired; /* was frozen and stopped for it, and does not matter any more */
	bool adopting;
	bool condemned, fault; /* killed by us for `reason`, which is a fault of its own */
	uint64_t serving_since;
	struct crash_policy policy;
	struct crash_verdict verdict; /* about the last death */
	struct error *reason;	      /* of the last death */
	unsigned restarts;
	sd_event_source *restart_timer, *kill_timer, *serve_timer;
	struct supervisor_waiter *waiters, **waiters_end;
};

void supervisor_init(struct supervisor *supervisor, sd_event *event,
		     const struct keeper_config *config, const struct supervisor_ops *ops,
		     void *opaque);
void supervisor_done(struct supervisor *supervisor);

/** supervisor_start() - run the first generation; adopt() is called from within. 0 or -errno with a
 * sentence */
int supervisor_start(struct supervisor *supervisor, struct error **errp);

/** supervisor_adopted() - the process has its devices, or, @err, does not take them */
void supervisor_adopted(struct supervisor *supervisor, const struct error *err);

/** supervisor_distrust() - the controller broke a rule: what it did so far is as good as a crash */
void supervisor_distrust(struct supervisor *supervisor, const char *why);

/** supervisor_lost() - is there nobody to call? So a call that failed may have been lost. */
bool supervisor_lost(const struct supervisor *supervisor);

/** supervisor_restarting() - is a successor on its way, so that requests had better wait? */
bool supervisor_restarting(const struct supervisor *supervisor);

/**
 * supervisor_wait() - call back when the successor serves, or it is clear that there will be none
 *
 * Return: false when no successor is to be expected.
 */
bool supervisor_wait(struct supervisor *supervisor,
		     void (*resume)(void *opaque, const struct error *err), void *opaque);

/**
 * supervisor_prepare() - run what is installed now beside the controller, without devices
 *
 * Until it is discarded or has replaced the controller, requests had better wait.
 *
 * Return: 0, or -errno with a sentence.
 */
int supervisor_prepare(struct supervisor *supervisor, struct error **errp);

/** supervisor_has_candidate() - is it there and can be called? */
bool supervisor_has_candidate(const struct supervisor *supervisor);

/** supervisor_discard() - the candidate is not wanted; harmless without one */
void supervisor_discard(struct supervisor *supervisor);

/**
 * supervisor_replace() - end the controller, which is frozen, for the candidate, which takes over
 * @idle: it has handled all that it was sent, so the candidate need not wait for its end
 *
 * If that one is gone by then, or does not come to serve, a successor of the old program does.
 */
void supervisor_replace(struct supervisor *supervisor, bool idle);

/** supervisor_may_be_carried() - does a controller serve, without a word between it and us? */
bool supervisor_may_be_carried(const struct supervisor *supervisor);

/** supervisor_save() - for supervisor_load() in the program that this process becomes */
struct json_object *supervisor_save(const struct supervisor *supervisor);
int supervisor_load(struct supervisor *supervisor, struct json_object *json, struct error **errp);

/**
 * supervisor_stop() - have it end its I/O and exit; stopped() follows
 *
 * One that has not done so within a minute is killed.
 */
void supervisor_stop(struct supervisor *supervisor);

pid_t supervisor_pid(const struct supervisor *supervisor);
const char *supervisor_state_name(const struct supervisor *supervisor);

/** supervisor_reason() - why the controller of before died, or NULL */
const char *supervisor_reason(const struct supervisor *supervisor);

#endif
