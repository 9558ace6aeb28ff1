// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/qtest.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/log.h"

#define ID	 "virtnvme-qtest"
#define MAX_LINE 8192u

struct qtest {
	const struct qtest_ops *ops;
	void *opaque;
	int fd;
	sd_event_source *source;
	struct blob out;
	size_t sent;
	char line[MAX_LINE];
	size_t length;
};

static void write_out(struct qtest *qtest)
{
	while (qtest->sent < qtest->out.size) {
		ssize_t n = send(qtest->fd, qtest->out.data + qtest->sent,
				 qtest->out.size - qtest->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			break; /* full, or gone, which reading tells */
		qtest->sent += n;
	}
	if (qtest->sent == qtest->out.size)
		qtest->sent = qtest->out.size = 0;
	sd_event_source_set_io_events(qtest->source, EPOLLIN | (qtest->out.size ? EPOLLOUT : 0));
}

int qtest_send(struct qtest *qtest, const void *lines, size_t size)
{
	int r = blob_append(&qtest->out, lines, size);

	if (r == 0)
		write_out(qtest);
	return r;
}

static void take_bytes(struct qtest *qtest, const char *bytes, size_t size)
{
	for (; size; bytes++, size--) {
		if (*bytes != '\n') {
			if (qtest->length < MAX_LINE - 1)
				qtest->line[qtest->length++] = *bytes;
			continue;
		}
		qtest->line[qtest->length] = '\0';
		qtest->length = 0;
		qtest->ops->line(qtest->opaque, qtest->line);
	}
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct qtest *qtest = opaque;
	char bytes[4096];
	ssize_t n;

	if (revents & EPOLLOUT)
		write_out(qtest);
	n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (n > 0)
		take_bytes(qtest, bytes, n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		sd_event_source_set_enabled(source, SD_EVENT_OFF);
	return 0;
}

/* The monitor logs what goes wrong. */
static void ignore(void *opaque, struct json_object *result, const struct error *err)
{
}

static struct json_object *child(struct json_object *parent, const char *key)
{
	struct json_object *object = json_object_new_object();

	json_add(parent, key, object);
	return object;
}

static void introduce(struct monitor *monitor, int fd)
{
	struct json_object *arguments = json_object_new_object(), *data, *address;

	json_add_string(arguments, "fdname", ID);
	monitor_execute(monitor, "getfd", arguments, fd, ignore, NULL);

	arguments = json_object_new_object();
	json_add_string(arguments, "id", ID);
	data = child(arguments, "backend");
	json_add_string(data, "type", "socket");
	data = child(data, "data");
	json_add_bool(data, "server", false);
	address = child(data, "addr");
	json_add_string(address, "type", "fd");
	json_add_string(child(address, "data"), "str", ID);
	monitor_execute(monitor, "chardev-add", arguments, -1, ignore, NULL);

	arguments = json_object_new_object();
	json_add_string(arguments, "qom-type", "qtest");
	json_add_string(arguments, "id", ID);
	json_add_string(arguments, "chardev", ID);
	/* Else it writes each command to its stderr, which is the domain's log. */
	json_add_string(arguments, "log", "/dev/null");
	monitor_execute(monitor, "object-add", arguments, -1, ignore, NULL);
}

struct qtest *qtest_new(sd_event *event, struct monitor *monitor, const struct qtest_ops *ops,
			void *opaque, struct error **errp)
{
	struct qtest *qtest = calloc(1, sizeof(*qtest));
	int pair[2];
	int r;

	if (!qtest) {
		error_set_errno(errp, ENOMEM, "qtest");
		return NULL;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		error_set_errno(errp, errno, "qtest");
		free(qtest);
		return NULL;
	}
	qtest->ops = ops;
	qtest->opaque = opaque;
	qtest->fd = pair[0];
	r = sd_event_add_io(event, &qtest->source, qtest->fd, EPOLLIN, on_io, qtest);
	/* Before the monitor, which may say that the guest runs: what was done before it counts. */
	if (r >= 0)
		r = sd_event_source_set_priority(qtest->source, SD_EVENT_PRIORITY_IMPORTANT);
	if (r < 0) {
		error_set_errno(errp, -r, "qtest");
		qtest_free(qtest);
		close(pair[1]);
		return NULL;
	}
	introduce(monitor, pair[1]);
	close(pair[1]);
	return qtest;
}

void qtest_free(struct qtest *qtest)
{
	if (!qtest)
		return;
	sd_event_source_disable_unref(qtest->source);
	close(qtest->fd);
	blob_free(&qtest->out);
	free(qtest);
}
