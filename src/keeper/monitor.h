/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_MONITOR_H
#define KEEPER_MONITOR_H

#include "base/json.h"
#include "keeper/listener.h"

/*
 * QEMU's second QMP monitor, of which QEMU is the connecting end. It is always drained: a monitor
 * that nobody reads fills QEMU's memory.
 *
 * QEMU answers in its main loop, which stands still while it waits for us (an Id, a Save, a Load, a
 * register): whoever answers one of these must not wait for an answer of the monitor.
 */
struct monitor;

/* When an event was sent, by QEMU's wall clock. */
struct monitor_time {
	uint64_t seconds, micros;
};

struct monitor_ops {
	/* QEMU has greeted: commands may be sent. */
	void (*connected)(void *opaque);
	/* @data: borrowed, NULL where the event has none */
	void (*event)(void *opaque, const char *name, struct json_object *data,
		      const struct monitor_time *when);
};

/* Told once; @err: NULL on success, and borrowed like @result, which is what QEMU returned. */
typedef void (*monitor_done)(void *opaque, struct json_object *result, const struct error *err);

/** monitor_new() - serve @options->path; accepted and opaque are set here. NULL with a sentence */
struct monitor *monitor_new(sd_event *event, const struct listener_options *options,
			    const struct monitor_ops *ops, void *opaque, struct error **errp);

/** monitor_may_be_carried() - no answer is waited for */
bool monitor_may_be_carried(const struct monitor *monitor);

/** monitor_save() - for monitor_load() in the program that this process becomes */
struct json_object *monitor_save(const struct monitor *monitor);
struct monitor *monitor_load(sd_event *event, const struct listener_options *options,
			     const struct monitor_ops *ops, void *opaque, struct json_object *json,
			     struct error **errp);

/** monitor_free() - commands that are not answered are told so */
void monitor_free(struct monitor *monitor);

/** monitor_connected() - has QEMU greeted and accepted our capabilities? */
bool monitor_connected(const struct monitor *monitor);

/**
 * monitor_execute() - one command
 * @monitor: NULL: QEMU has ended, and what was asked of the controller is answered only now
 * @arguments: reference taken over; may be NULL
 * @fd: a descriptor for getfd, still the caller's; -1: none
 * @done: may run from inside, when the command cannot be sent
 */
void monitor_execute(struct monitor *monitor, const char *command, struct json_object *arguments,
		     int fd, monitor_done done, void *opaque);

#endif
