/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_SUPERVISE_H
#define KEEPER_SUPERVISE_H

#include "control/channel.h"
#include "keeper/config.h"

enum controller_state {
	CONTROLLER_NONE,
	CONTROLLER_RUNNING,
	CONTROLLER_STOPPING, /* it was told to */
	CONTROLLER_STOPPED,
	CONTROLLER_FAILED, /* it died, and nobody has taken its place */
};

/* The controller process of the moment. Generations are counted from 1. */
struct supervisor {
	sd_event *event;
	const struct keeper_config *config;
	enum controller_state state;
	unsigned generation;
	pid_t pid;
	int pidfd;
	sd_event_source *exit_source, *kill_timer;
	struct control_connection *connection; /* NULL when it is lost */
	/* The process has ended; expected: after supervisor_stop(). */
	void (*ended)(void *opaque, bool expected);
	void *opaque;
};

void supervisor_init(struct supervisor *supervisor, sd_event *event,
		     const struct keeper_config *config, void (*ended)(void *opaque, bool expected),
		     void *opaque);
void supervisor_done(struct supervisor *supervisor);

/** supervisor_start() - run the next generation; 0 or -errno with a sentence */
int supervisor_start(struct supervisor *supervisor, struct error **errp);

/**
 * supervisor_stop() - have it end its I/O and exit; ended() follows
 *
 * One that has not done so within a minute is killed.
 */
void supervisor_stop(struct supervisor *supervisor);

const char *supervisor_state_name(const struct supervisor *supervisor);

#endif
