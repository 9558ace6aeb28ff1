/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROL_CHANNEL_H
#define CONTROL_CHANNEL_H

#include <systemd/sd-event.h>

#include "base/fd.h"
#include "base/json.h"

/*
 * Messages of the control protocol (docs/control.md): a blocking call for the CLI and the hook, and
 * an asynchronous connection on sd-event for the daemon, the keeper and the controller.
 */

#define CONTROL_MAX_MESSAGE (4 * MiB)

/*
 * Blocking.
 */

/** control_connect() - a UNIX stream socket; the sentence for nobody listening is left to the
 * caller. -errno */
int control_connect(const char *path, int *ret_fd);

/**
 * control_call() - one request, one answer
 * @arguments: borrowed; NULL for none
 * @timeout_ms: for the whole; -1: none
 * @ret_result: the "result" object, owned by the caller; may be NULL
 *
 * Return: 0, or -errno with the peer's sentence or one of our own.
 */
int control_call(int fd, const char *command, struct json_object *arguments, int timeout_ms,
		 struct json_object **ret_result, struct error **errp);

/*
 * Asynchronous: everything on the event loop's thread. No callback runs inside
 * control_connection_call(), _event() or a request's answer; control_connection_free() calls done()
 * of the calls that are open, and not closed(). Any callback may free its connection. Descriptors
 * given to control_connection_call() stay the caller's. A peer with 64 unanswered requests is not
 * read until one is answered.
 */
struct control_connection;

/* A request that a handler must answer exactly once, now or later. Outlives a lost connection. */
struct control_request;

struct control_handler_ops {
	/*
	 * A request that the command table (commands.h) has found well-formed. @fds: owned by the
	 * handler now. Answer by control_request_reply() or control_request_fail().
	 */
	void (*request)(void *opaque, struct control_request *request, const char *command,
			struct json_object *arguments, int *fds, size_t fd_count);
	void (*event)(void *opaque, const char *event, struct json_object *data); /* may be NULL */
	void (*closed)(void *opaque); /* the connection is gone and freed after this; may be NULL */
};

/**
 * control_connection_new() - serve and use a connection
 * @fd: owned from here on
 * @role: CONTROL_DAEMON, _KEEPER or _CONTROLLER: which commands of the table are served here;
 * CONTROL_NONE: none
 */
struct control_connection *control_connection_new(sd_event *event, int fd, unsigned role,
						  const struct control_handler_ops *ops,
						  void *opaque);
void control_connection_free(struct control_connection *connection);

/** control_connection_peer() - SO_PEERCRED */
int control_connection_peer(struct control_connection *connection, pid_t *ret_pid, uid_t *ret_uid);

/**
 * control_connection_fd(), control_request_identify(), control_request_new() - for a process that
 * becomes another program and goes on with its connections: what to remember, and the request to
 * answer there
 */
int control_connection_fd(const struct control_connection *connection);
void control_request_identify(const struct control_request *request, int *ret_fd, uint64_t *ret_id);
struct control_request *control_request_new(struct control_connection *connection, uint64_t id);

/** control_connection_is_idle() - is nothing half said, and no answer owed or awaited?
 * @but: except to this request; may be NULL */
bool control_connection_is_idle(const struct control_connection *connection,
				const struct control_request *but);

/** control_connection_hold() - leave further requests in the socket, or go on reading them. What has
 * come in part is still read to its end. */
void control_connection_hold(struct control_connection *connection, bool hold);

void control_request_reply(struct control_request *request, struct json_object *result);
/** control_request_fail() - @err is freed */
void control_request_fail(struct control_request *request, struct error *err);

/**
 * control_connection_call() - ask the other end; @done runs later, once, also when the connection
 * is lost
 * @arguments: reference taken over; may be NULL
 * @done: @err is NULL on success, and borrowed like @result
 */
void control_connection_call(struct control_connection *connection, const char *command,
			     struct json_object *arguments, const int *fds, size_t fd_count,
			     void (*done)(void *opaque, struct json_object *result,
					  const struct error *err),
			     void *opaque);

/** control_connection_event() - tell the other end something; @data's reference is taken over */
void control_connection_event(struct control_connection *connection, const char *event,
			      struct json_object *data);

/** control_listen() - bind a UNIX stream socket at @path (an old one is replaced), with @mode;
 * returns the fd or -errno */
int control_listen(const char *path, unsigned mode);

#endif
