/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_PROCESS_H
#define KEEPER_PROCESS_H

#include "control/channel.h"
#include "keeper/config.h"

/*
 * A process that serves the domain's devices: a controller, or what stands in for one. Watched by
 * pidfd, talked to over its control channel.
 */
struct process {
	pid_t pid;
	int pidfd;
	sd_event_source *exit_source;
	struct control_connection *connection; /* NULL when it is lost */
	void (*event_sent)(void *opaque, const char *event, struct json_object *data);
	void (*disconnected)(void *opaque);
	void (*ended)(void *opaque, int status);
	void *opaque;
};

struct process_options {
	sd_event *event;
	const struct keeper_config *config;
	const char *program;
	int program_fd;	    /* what is executed; -1: what is at the path */
	bool is_controller; /* it is told how to do I/O */
	/* It says something by itself. */
	void (*event_sent)(void *opaque, const char *event, struct json_object *data);
	/* The control channel is lost; the process may live. */
	void (*disconnected)(void *opaque);
	/* The process has ended and was waited for; @status as of waitpid(). process_free() is due. */
	void (*ended)(void *opaque, int status);
	void *opaque;
};

/** process_start() - NULL with a sentence */
struct process *process_start(const struct process_options *options, struct error **errp);

/** process_save() - for process_load() in the program that we become, whose child it is then; no
 * call is open */
struct json_object *process_save(const struct process *process);
struct process *process_load(const struct process_options *options, struct json_object *json,
			     struct error **errp);

/** process_free() - kill it when it lives, and wait for it. Open calls are answered first. */
void process_free(struct process *process);

/** process_stop() - SIGSTOP: it does not run again before process_kill() */
void process_stop(const struct process *process);

/** process_kill() - SIGKILL; ended() follows */
void process_kill(const struct process *process);

/** process_describe_end() - @status in words, for logs and sentences; a static buffer */
const char *process_describe_end(int status);

#endif
