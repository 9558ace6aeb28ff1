// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/monitor.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "qmp/qmp.h"

#define MAX_LINE  (1u * 1024 * 1024)
#define READ_SIZE 4096u

struct monitor {
	sd_event *event;
	struct listener *listener;
	int fd;
	sd_event_source *source;
	char *line; /* what has come of the next one */
	size_t length, room;
	bool skipping; /* the rest of a line that is too long */
	bool connected;
};

static void close_monitor(struct monitor *monitor)
{
	monitor->source = sd_event_source_disable_unref(monitor->source);
	if (monitor->fd >= 0)
		close(steal_fd(&monitor->fd));
	monitor->connected = false;
}

static int send_command(struct monitor *monitor, const char *name)
{
	_cleanup_free_ char *text = qmp_command(name, NULL);
	struct iovec iov[2];
	ssize_t n;

	if (!text)
		return -ENOMEM;
	iov[0] = (struct iovec){ text, strlen(text) };
	iov[1] = (struct iovec){ (char *)"\n", 1 };
	n = fd_send(monitor->fd, iov, 2, NULL, 0, MSG_DONTWAIT);
	return n < 0 ? n : 0;
}

static void log_event(struct json_object *message, const char *name)
{
	static const char *const known[] = { "MIGRATION", "STOP", "RESUME", "SHUTDOWN" };
	struct json_object *data = json_child(message, "data", json_type_object);
	const char *status = json_string_or(data, "status", NULL);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(known); i++)
		if (string_equal(name, known[i]))
			log_info("QEMU: %s%s%s", name, status ? " " : "", status ? status : "");
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
		log_event(message, event);
	} else if (json_child(message, "QMP", json_type_object)) {
		int r = send_command(monitor, "qmp_capabilities");

		if (r < 0)
			log_error("QEMU's monitor: %s", strerror(-r));
	} else if (json_child(message, "return", json_type_object)) {
		monitor->connected = true;
	} else {
		log_guest(LOG_WARNING, "QEMU's monitor: %.*s", (int)MIN(monitor->length, 500u),
			  monitor->line);
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

static void on_accepted(void *opaque, int fd)
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

struct monitor *monitor_new(sd_event *event, const struct listener_options *options,
			    struct error **errp)
{
	struct listener_options own = *options;
	struct monitor *monitor = calloc(1, sizeof(*monitor));

	if (!monitor) {
		error_set_errno(errp, ENOMEM, "%s", options->path);
		return NULL;
	}
	monitor->event = event;
	monitor->fd = -1;
	own.accepted = on_accepted;
	own.opaque = monitor;
	monitor->listener = listener_new(event, &own, errp);
	if (!monitor->listener) {
		free(monitor);
		return NULL;
	}
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
