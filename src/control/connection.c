// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/i18n.h"
#include "base/log.h"
#include "control/channel.h"
#include "control/commands.h"
#include "control/frame.h"

/*
 * Theory of operation
 *
 * Everything happens on the thread of the event loop. A connection is counted: its owner has one
 * reference, which control_connection_free() or a lost connection gives back, each request that is
 * not yet answered has one, and so has the dispatch that is running, so that any callback may free
 * the connection. After the owner's reference is gone the socket is closed and answers go nowhere.
 *
 * A failure that shows while the owner is in one of our calls (a full queue, a broken pipe) is only
 * noted; the deferred source tells the owner afterwards, so that no callback runs inside his call.
 *
 * Memory is bounded: a peer with MAX_REQUESTS unanswered requests is not read until one is
 * answered, and one that does not take MAX_QUEUED bytes of answers is cut off.
 */
#define MAX_REQUESTS 64u
#define MAX_QUEUED   (8 * CONTROL_MAX_MESSAGE)

struct output {
	struct output *next;
	char *bytes;
	size_t size, done;
	int fds[FD_MAX_PASSED];
	size_t fd_count;
};

struct call {
	struct call *next;
	uint64_t id;
	struct error *err; /* it could not be sent */
	void (*done)(void *opaque, struct json_object *result, const struct error *err);
	void *opaque;
};

struct control_connection {
	unsigned references;
	int fd; /* -1 once it is closed */
	unsigned role;
	const struct control_handler_ops *ops;
	void *opaque;
	sd_event_source *io, *deferred;

	struct control_frame input;
	struct output *output, **output_end;
	size_t queued;
	unsigned requests; /* unanswered */
	bool held;
	struct call *calls, **calls_end;
	uint64_t last_id;
	int failure; /* -errno that the deferred source will act upon */
};

struct control_request {
	struct control_connection *connection;
	uint64_t id;
};

static void unref(struct control_connection *connection)
{
	if (--connection->references == 0)
		free(connection);
}

static void free_output(struct output *output)
{
	fd_close_all(output->fds, output->fd_count);
	free(output->bytes);
	free(output);
}

static bool in_the_middle(const struct control_connection *connection)
{
	return connection->input.done || connection->input.text;
}

static void update_events(struct control_connection *connection)
{
	uint32_t events = 0;

	if (connection->fd < 0)
		return;
	if (connection->requests < MAX_REQUESTS && (!connection->held || in_the_middle(connection)))
		events |= EPOLLIN;
	if (connection->output)
		events |= EPOLLOUT;
	sd_event_source_set_io_events(connection->io, events);
}

static void finish_call(struct call *call, struct json_object *result, const struct error *err)
{
	call->done(call->opaque, result, err);
	error_free(call->err);
	free(call);
}

/* Close the socket and tell everybody who waits for an answer. */
static void shut(struct control_connection *connection, int code)
{
	_cleanup_error_ struct error *err = NULL;

	if (connection->fd < 0)
		return;
	connection->io = sd_event_source_disable_unref(connection->io);
	connection->deferred = sd_event_source_disable_unref(connection->deferred);
	close(steal_fd(&connection->fd));
	control_frame_reset(&connection->input);
	while (connection->output) {
		struct output *output = connection->output;

		connection->output = output->next;
		free_output(output);
	}
	error_set(&err, code, _("the connection was lost before the answer"));
	while (connection->calls) {
		struct call *call = connection->calls;

		connection->calls = call->next;
		if (!connection->calls)
			connection->calls_end = &connection->calls;
		finish_call(call, NULL, call->err ? call->err : err);
	}
}

static void lose(struct control_connection *connection, int r)
{
	if (connection->fd < 0)
		return;
	if (r == -EPROTO || r == -EMSGSIZE || r == -ENOBUFS)
		log_guest(LOG_WARNING, "control connection closed: %s", strerror(-r));
	shut(connection, ECONNRESET);
	if (connection->ops && connection->ops->closed)
		connection->ops->closed(connection->opaque);
	unref(connection);
}

static void fail_later(struct control_connection *connection, int r)
{
	if (!connection->failure)
		connection->failure = r;
	sd_event_source_set_enabled(connection->deferred, SD_EVENT_ONESHOT);
}

/* 0 also when the socket is full. */
static int write_output(struct control_connection *connection)
{
	while (connection->output) {
		struct output *output = connection->output;
		struct iovec iov = { output->bytes + output->done, output->size - output->done };
		ssize_t n;

		n = fd_send(connection->fd, &iov, 1, output->fds, output->fd_count, MSG_DONTWAIT);
		if (n == -EAGAIN)
			break;
		if (n < 0)
			return n;
		fd_close_all(output->fds, output->fd_count);
		output->fd_count = 0;
		output->done += n;
		if (output->done < output->size)
			continue;
		connection->queued -= output->size;
		connection->output = output->next;
		if (!connection->output)
			connection->output_end = &connection->output;
		free_output(output);
	}
	return 0;
}

static int queue_message(struct control_connection *connection, struct json_object *message,
			 const int *fds, size_t fd_count)
{
	struct output *output;
	size_t i;
	int r;

	if (connection->fd < 0)
		return -ECONNRESET;
	if (fd_count > FD_MAX_PASSED)
		return -EMSGSIZE;
	output = calloc(1, sizeof(*output));
	if (!output)
		return -ENOMEM;
	r = control_frame_build(message, &output->bytes, &output->size);
	for (i = 0; r == 0 && i < fd_count; i++) {
		output->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (output->fds[i] < 0)
			r = -errno;
		else
			output->fd_count++;
	}
	if (r < 0) {
		free_output(output);
		return r;
	}
	*connection->output_end = output;
	connection->output_end = &output->next;
	connection->queued += output->size;
	r = write_output(connection);
	if (r == 0 && connection->queued > MAX_QUEUED)
		r = -ENOBUFS;
	if (r < 0)
		fail_later(connection, r);
	update_events(connection);
	return 0;
}

static void answer(struct control_request *request, struct json_object *result,
		   struct json_object *error)
{
	struct control_connection *connection = request->connection;
	struct json_object *message = json_object_new_object();
	int r;

	json_add_u64(message, "id", request->id);
	if (error)
		json_add(message, "error", error);
	else
		json_add(message, "result", result ? result : json_object_new_object());
	connection->requests--;
	r = queue_message(connection, message, NULL, 0);
	/* A peer that gets no answer would wait for ever. */
	if (r < 0 && connection->fd >= 0)
		fail_later(connection, r);
	update_events(connection);
	json_object_put(message);
	free(request);
	unref(connection);
}

void control_request_reply(struct control_request *request, struct json_object *result)
{
	answer(request, result, NULL);
}

void control_request_fail(struct control_request *request, struct error *err)
{
	struct json_object *error = json_object_new_object();

	json_add_u64(error, "code", err ? err->code : EIO);
	json_add_string(error, "message", error_message(err));
	error_free(err);
	answer(request, NULL, error);
}

static void handle_request(struct control_connection *connection, uint64_t id, const char *name,
			   struct json_object *message)
{
	const struct control_command *command = control_command_find(connection->role, name);
	struct json_object *arguments = NULL;
	struct control_request *request;
	struct error *err = NULL;
	int fds[FD_MAX_PASSED];
	size_t fd_count = connection->input.fd_count;

	request = control_request_new(connection, id);
	if (!request) {
		fail_later(connection, -ENOMEM);
		return;
	}

	json_object_object_get_ex(message, "arguments", &arguments);
	if (!command)
		error_set(&err, EOPNOTSUPP, _("there is no command \"%.64s\" here"), name);
	else
		control_command_check(command, arguments, fd_count, &err);
	if (err) {
		control_request_fail(request, err);
		return;
	}
	memcpy(fds, connection->input.fds, fd_count * sizeof(int));
	connection->input.fd_count = 0;
	connection->ops->request(connection->opaque, request, command->name, arguments, fds,
				 fd_count);
}

static void handle_answer(struct control_connection *connection, uint64_t id,
			  struct json_object *message)
{
	_cleanup_error_ struct error *err = NULL;
	struct json_object *result = NULL;
	struct call **link, *call;

	for (link = &connection->calls; *link; link = &(*link)->next)
		if ((*link)->id == id)
			break;
	call = *link;
	if (!call) {
		log_guest(LOG_WARNING, "control answer to an unknown request");
		return;
	}
	*link = call->next;
	if (!*link)
		connection->calls_end = link;
	if (control_frame_answer(message, &result, &err) < 0)
		result = NULL;
	finish_call(call, result, err);
}

static int handle_message(struct control_connection *connection)
{
	_cleanup_json_ struct json_object *message = control_frame_parse(&connection->input, NULL);
	const char *command, *event;
	uint64_t id;
	bool has_id;

	if (!message)
		return -EPROTO;
	has_id = json_u64(message, "id", &id, NULL) == 0;
	command = json_string_or(message, "command", NULL);
	event = json_string_or(message, "event", NULL);
	if (has_id && command)
		handle_request(connection, id, command, message);
	else if (has_id)
		handle_answer(connection, id, message);
	else if (!event)
		return -EPROTO;
	else if (connection->ops && connection->ops->event)
		connection->ops->event(connection->opaque, event,
				       json_child(message, "data", json_type_object));
	return 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct control_connection *connection = opaque;
	int r = 0;

	connection->references++;
	if (revents & EPOLLOUT) {
		r = write_output(connection);
		update_events(connection);
	}
	if (r == 0 && (revents & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
		r = control_frame_receive(&connection->input, connection->fd);
		if (r == 1) {
			r = handle_message(connection);
			control_frame_reset(&connection->input);
			update_events(connection);
		} else if (r == -EAGAIN) {
			r = 0;
		}
	}
	if (r < 0)
		lose(connection, r);
	unref(connection);
	return 0;
}

static int on_deferred(sd_event_source *source, void *opaque)
{
	struct control_connection *connection = opaque;
	struct call **link = &connection->calls;

	connection->references++;
	while (connection->fd >= 0 && *link) {
		struct call *call = *link;

		if (!call->err) {
			link = &call->next;
			continue;
		}
		*link = call->next;
		if (!*link)
			connection->calls_end = link;
		finish_call(call, NULL, call->err);
		link = &connection->calls; /* done() may have changed the list */
	}
	if (connection->failure)
		lose(connection, connection->failure);
	unref(connection);
	return 0;
}

struct control_connection *control_connection_new(sd_event *event, int fd, unsigned role,
						  const struct control_handler_ops *ops,
						  void *opaque)
{
	struct control_connection *connection = calloc(1, sizeof(*connection));

	if (!connection) {
		close(fd);
		return NULL;
	}
	connection->references = 1;
	connection->fd = fd;
	connection->role = role;
	connection->ops = ops;
	connection->opaque = opaque;
	connection->output_end = &connection->output;
	connection->calls_end = &connection->calls;
	if (fd_set_nonblock(fd, true) < 0 ||
	    sd_event_add_io(event, &connection->io, fd, EPOLLIN, on_io, connection) < 0 ||
	    sd_event_add_defer(event, &connection->deferred, on_deferred, connection) < 0 ||
	    sd_event_source_set_enabled(connection->deferred, SD_EVENT_OFF) < 0) {
		control_connection_free(connection);
		return NULL;
	}
	return connection;
}

void control_connection_free(struct control_connection *connection)
{
	if (!connection || connection->fd < 0)
		return;
	shut(connection, ECANCELED);
	unref(connection);
}

int control_connection_peer(struct control_connection *connection, pid_t *ret_pid, uid_t *ret_uid)
{
	struct ucred credentials;
	socklen_t len = sizeof(credentials);

	if (connection->fd < 0)
		return -ENOTCONN;
	if (getsockopt(connection->fd, SOL_SOCKET, SO_PEERCRED, &credentials, &len) < 0)
		return -errno;
	if (ret_pid)
		*ret_pid = credentials.pid;
	if (ret_uid)
		*ret_uid = credentials.uid;
	return 0;
}

int control_connection_fd(const struct control_connection *connection)
{
	return connection->fd;
}

bool control_connection_is_idle(const struct control_connection *connection,
				const struct control_request *but)
{
	unsigned owed = but && but->connection == connection ? 1 : 0;

	return connection->fd >= 0 && !connection->failure && !connection->calls &&
	       !connection->output && connection->requests == owed && !in_the_middle(connection);
}

void control_connection_hold(struct control_connection *connection, bool hold)
{
	connection->held = hold;
	update_events(connection);
}

void control_request_identify(const struct control_request *request, int *ret_fd, uint64_t *ret_id)
{
	*ret_fd = request->connection->fd;
	*ret_id = request->id;
}

struct control_request *control_request_new(struct control_connection *connection, uint64_t id)
{
	struct control_request *request = malloc(sizeof(*request));

	if (!request)
		return NULL;
	request->connection = connection;
	request->id = id;
	connection->references++;
	connection->requests++;
	return request;
}

void control_connection_call(struct control_connection *connection, const char *command,
			     struct json_object *arguments, const int *fds, size_t fd_count,
			     void (*done)(void *opaque, struct json_object *result,
					  const struct error *err),
			     void *opaque)
{
	_cleanup_json_ struct json_object *message = NULL;
	struct call *call = calloc(1, sizeof(*call));
	int r;

	if (!call)
		abort(); /* nobody is left to be told */
	call->id = ++connection->last_id;
	call->done = done;
	call->opaque = opaque;
	*connection->calls_end = call;
	connection->calls_end = &call->next;
	message = control_frame_request(call->id, command, arguments);
	r = queue_message(connection, message, fds, fd_count);
	if (r < 0) {
		error_set_errno(&call->err, -r, _("cannot call \"%s\""), command);
		if (connection->deferred)
			sd_event_source_set_enabled(connection->deferred, SD_EVENT_ONESHOT);
	}
}

void control_connection_event(struct control_connection *connection, const char *event,
			      struct json_object *data)
{
	_cleanup_json_ struct json_object *message = json_object_new_object();
	int r;

	json_add_string(message, "event", event);
	if (data)
		json_add(message, "data", data);
	r = queue_message(connection, message, NULL, 0);
	if (r < 0 && connection->fd >= 0)
		log_guest(LOG_WARNING, "control event not sent: %s", strerror(-r));
}
