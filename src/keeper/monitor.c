// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/monitor.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/i18n.h"
#include "base/log.h"
#include "keeper/carry.h"
#include "qmp/qmp.h"

#define MAX_LINE  (1u * 1024 * 1024)
#define READ_SIZE 4096u

/* A command that QEMU has not answered. */
struct call {
	struct call *next;
	uint64_t id;
	char *command;
	monitor_done done;
	void *opaque;
};

struct monitor {
	sd_event *event;
	const struct monitor_ops *ops;
	void *opaque;
	struct listener *listener;
	int fd;
	sd_event_source *source;
	char *line; /* what has come of the next one */
	size_t length, room;
	bool skipping; /* the rest of a line that is too long */
	bool connected;
	struct call *calls;
	uint64_t last_id;
};

static void finish(struct call *call, struct json_object *result, const struct error *err)
{
	if (err)
		log_info("QEMU's monitor: %s: %s", call->command, err->message);
	call->done(call->opaque, result, err);
	free(call->command);
	free(call);
}

static void fail_call(struct call *call, int code, const char *sentence)
{
	_cleanup_error_ struct error *err = NULL;

	error_set(&err, code, "%s", sentence);
	finish(call, NULL, err);
}

static void close_monitor(struct monitor *monitor)
{
	monitor->source = sd_event_source_disable_unref(monitor->source);
	if (monitor->fd >= 0)
		close(steal_fd(&monitor->fd));
	monitor->connected = false;
	while (monitor->calls) {
		struct call *call = monitor->calls;

		monitor->calls = call->next;
		fail_call(call, ENOTCONN, _("QEMU has closed its monitor"));
	}
}

/* @arguments: borrowed */
static int send_command(struct monitor *monitor, const char *name, uint64_t id,
			struct json_object *arguments, int fd)
{
	_cleanup_json_ struct json_object *object = json_object_new_object();
	struct iovec iov[2];
	ssize_t n;

	json_add_string(object, "execute", name);
	json_add_u64(object, "id", id);
	if (arguments)
		json_add(object, "arguments", json_object_get(arguments));
	iov[0].iov_base = (char *)json_text(object);
	iov[0].iov_len = strlen(iov[0].iov_base);
	iov[1] = (struct iovec){ (char *)"\n", 1 };
	n = fd_send(monitor->fd, iov, 2, &fd, fd >= 0 ? 1 : 0, MSG_DONTWAIT);
	if (n < 0)
		return n;
	/* What has no room in an empty socket is no command of ours. */
	return (size_t)n == iov[0].iov_len + 1 ? 0 : -EAGAIN;
}

void monitor_execute(struct monitor *monitor, const char *command, struct json_object *arguments,
		     int fd, monitor_done done, void *opaque)
{
	_cleanup_json_ struct json_object *owned = arguments;
	struct call *call = calloc(1, sizeof(*call)), **link;
	int r;

	if (!call)
		abort(); /* nobody could be told */
	call->command = strdup(command);
	call->done = done;
	call->opaque = opaque;
	if (!monitor || !monitor->connected) {
		fail_call(call, ENOTCONN, _("QEMU's monitor is not connected"));
		return;
	}
	call->id = ++monitor->last_id;
	r = send_command(monitor, command, call->id, owned, fd);
	if (r < 0) {
		fail_call(call, -r, strerror(-r));
		return;
	}
	for (link = &monitor->calls; *link; link = &(*link)->next)
		;
	*link = call;
}

static struct call *take_call(struct monitor *monitor, uint64_t id)
{
	struct call **link = &monitor->calls, *call;

	while (*link && (*link)->id != id)
		link = &(*link)->next;
	call = *link;
	if (call)
		*link = call->next;
	return call;
}

static void handle_event(struct monitor *monitor, struct json_object *message, const char *name)
{
	static const char *const known[] = { "MIGRATION", "STOP", "RESUME", "SHUTDOWN" };
	struct json_object *data = json_child(message, "data", json_type_object);
	struct json_object *timestamp = json_child(message, "timestamp", json_type_object);
	const struct monitor_time when = {
		.seconds = json_u64_or(timestamp, "seconds", 0),
		.micros = json_u64_or(timestamp, "microseconds", 0),
	};
	const char *status = json_string_or(data, "status", NULL);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(known); i++)
		if (string_equal(name, known[i]))
			log_info("QEMU: %s%s%s", name, status ? " " : "", status ? status : "");
	monitor->ops->event(monitor->opaque, name, data, &when);
}

static void handle_answer(struct monitor *monitor, struct json_object *message)
{
	struct call *call = take_call(monitor, json_u64_or(message, "id", 0));
	_cleanup_json_ struct json_object *result = NULL;
	_cleanup_error_ struct error *err = NULL;

	if (call) {
		/* Its text, not the line's, which ends where the next begins. */
		qmp_parse_answer(json_text(message), &result, &err);
		finish(call, result, err);
	} else if (!monitor->connected && json_child(message, "return", json_type_object)) {
		monitor->connected = true;
		monitor->ops->connected(monitor->opaque);
	} else {
		log_guest(LOG_WARNING, "QEMU's monitor: %.500s", json_text(message));
	}
}

static void handle_line(struct monitor *monitor)
{
	_cleanup_json_ struct json_object *message = NULL;
	const char *event;

	message = json_parse(monitor->line, monitor->length, NULL);
	if (!message) {
		log_guest(LOG_WARNING, "QEMU's monitor: a line that is no JSON");
		return;
	}
	event = json_string_or(message, "event", NULL);
	if (event) {
		handle_event(monitor, message, event);
	} else if (json_child(message, "QMP", json_type_object)) {
		int r = send_command(monitor, "qmp_capabilities", ++monitor->last_id, NULL, -1);

		if (r < 0)
			log_error("QEMU's monitor: %s", strerror(-r));
	} else {
		handle_answer(monitor, message);
	}
}

static bool add_to_line(struct monitor *monitor, const char *bytes, size_t size)
{
	if (monitor->length + size > monitor->room) {
		size_t room = MAX(monitor->room * 2, monitor->length + size);
		char *larger = room <= 2 * MAX_LINE ? realloc(monitor->line, room) : NULL;

		if (!larger)
			return false;
		monitor->line = larger;
		monitor->room = room;
	}
	memcpy(monitor->line + monitor->length, bytes, size);
	monitor->length += size;
	return true;
}

static void take_bytes(struct monitor *monitor, const char *bytes, size_t size)
{
	while (size) {
		const char *end = memchr(bytes, '\n', size);
		size_t part = end ? (size_t)(end - bytes) : size;

		if (!monitor->skipping && !add_to_line(monitor, bytes, part)) {
			log_guest(LOG_WARNING, "QEMU's monitor: a line that is too long");
			monitor->skipping = true;
		}
		bytes += part;
		size -= part;
		if (!end)
			return;
		bytes++;
		size--;
		if (!monitor->skipping && monitor->length > 1) /* 1: a lone carriage return */
			handle_line(monitor);
		monitor->skipping = false;
		monitor->length = 0;
	}
}

static int on_input(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct monitor *monitor = opaque;
	char bytes[READ_SIZE];
	ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (n > 0) {
		take_bytes(monitor, bytes, n);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		log_info("QEMU has closed its monitor");
		close_monitor(monitor);
	}
	return 0;
}

static void use(void *opaque, int fd)
{
	struct monitor *monitor = opaque;
	int r;

	monitor->fd = fd;
	r = sd_event_add_io(monitor->event, &monitor->source, fd, EPOLLIN, on_input, monitor);
	if (r < 0) {
		log_error("QEMU's monitor: %s", strerror(-r));
		close_monitor(monitor);
	}
}

static struct monitor *make_monitor(sd_event *event, const struct listener_options *options,
				    const struct monitor_ops *ops, void *opaque,
				    struct json_object *saved, struct error **errp)
{
	struct listener_options own = *options;
	struct monitor *monitor = calloc(1, sizeof(*monitor));

	if (!monitor) {
		error_set_errno(errp, ENOMEM, "%s", options->path);
		return NULL;
	}
	monitor->event = event;
	monitor->ops = ops;
	monitor->opaque = opaque;
	monitor->fd = -1;
	own.accepted = use;
	own.opaque = monitor;
	monitor->listener =
		saved ? listener_load(event, &own, json_child(saved, "listener", json_type_object),
				      errp)
		      : listener_new(event, &own, errp);
	if (!monitor->listener) {
		free(monitor);
		return NULL;
	}
	return monitor;
}

struct monitor *monitor_new(sd_event *event, const struct listener_options *options,
			    const struct monitor_ops *ops, void *opaque, struct error **errp)
{
	return make_monitor(event, options, ops, opaque, NULL, errp);
}

bool monitor_may_be_carried(const struct monitor *monitor)
{
	return !monitor->calls;
}

struct json_object *monitor_save(const struct monitor *monitor)
{
	struct json_object *json = json_object_new_object();

	json_add(json, "listener", listener_save(monitor->listener));
	carry_fd(json, "fd", monitor->fd);
	carry_bytes(json, "line", monitor->line, monitor->length);
	json_add_bool(json, "skipping", monitor->skipping);
	json_add_bool(json, "connected", monitor->connected);
	json_add_u64(json, "last_id", monitor->last_id);
	return json;
}

struct monitor *monitor_load(sd_event *event, const struct listener_options *options,
			     const struct monitor_ops *ops, void *opaque, struct json_object *json,
			     struct error **errp)
{
	struct monitor *monitor = make_monitor(event, options, ops, opaque, json, errp);
	size_t length = carried_size(json, "line");
	int fd = carried_fd(json, "fd");

	if (!monitor)
		return NULL;
	monitor->line = malloc(length + 1);
	if (!monitor->line || carried_bytes(json, "line", monitor->line, length) < 0) {
		error_set(errp, EINVAL, "%s", options->path);
		monitor_free(monitor);
		return NULL;
	}
	monitor->length = length;
	monitor->room = length + 1;
	monitor->skipping = json_bool_or(json, "skipping", false);
	monitor->connected = json_bool_or(json, "connected", false);
	monitor->last_id = json_u64_or(json, "last_id", 0);
	if (fd >= 0)
		use(monitor, fd);
	return monitor;
}

void monitor_free(struct monitor *monitor)
{
	if (!monitor)
		return;
	close_monitor(monitor);
	listener_free(monitor->listener);
	free(monitor->line);
	free(monitor);
}

bool monitor_connected(const struct monitor *monitor)
{
	return monitor->connected;
}
