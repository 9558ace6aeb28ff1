// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/requests.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/log.h"
#include "control/channel.h"
#include "control/commands.h"
#include "daemon/hooks.h"
#include "daemon/loop.h"
#include "daemon/pool.h"

/*
 * Theory of operation
 *
 * The main thread only moves messages. Hooks have threads of their own, enough for many domains
 * that start at once, and never wait for those of the other requests, which make libvirt calls and
 * may wait for a domain that is held by a hook.
 */

#define HOOK_THREADS	64
#define REQUEST_THREADS 4
#define MAX_CONNECTIONS 256

enum lane {
	LANE_REQUEST,
	LANE_HOOK,
};

static const struct {
	const char *command;
	request_fn run;
	enum lane lane;
} handlers[] = {
	{ "hook", hooks_answer, LANE_HOOK },
	{ "define", request_define, LANE_REQUEST },
	{ "attach-disk", request_attach_disk, LANE_REQUEST },
	{ "detach-disk", request_detach_disk, LANE_REQUEST },
	{ "resize", request_resize, LANE_REQUEST },
	{ "list", request_list, LANE_REQUEST },
	{ "info", request_info, LANE_REQUEST },
	{ "upgrade", request_upgrade, LANE_REQUEST },
	{ "unmanage", request_unmanage, LANE_REQUEST },
	{ "migrate-check", request_migrate_check, LANE_REQUEST },
	{ "host-status", request_host_status, LANE_REQUEST },
	{ "look", request_look, LANE_REQUEST },
};

static struct pool *lanes[2];
static unsigned connection_count;

/* A request on its way through a worker thread. */
struct job {
	struct control_request *request;
	struct json_object *arguments;
	request_fn run;
	struct json_object *result;
	struct error *err;
	int status;
};

static void job_answer(void *opaque)
{
	struct job *job = opaque;

	if (job->status < 0) {
		control_request_fail(job->request, job->err);
		json_object_put(job->result);
	} else {
		control_request_reply(job->request, job->result);
	}
	json_object_put(job->arguments);
	free(job);
}

static void job_run(void *opaque)
{
	struct job *job = opaque;

	job->status = job->run(job->arguments, &job->result, &job->err);
	loop_post(job_answer, job);
}

static void on_request(void *opaque, struct control_request *request, const char *command,
		       struct json_object *arguments, int *fds, size_t fd_count)
{
	struct error *err = NULL;
	struct job *job;
	size_t i;

	fd_close_all(fds, fd_count);
	for (i = 0; i < ARRAY_SIZE(handlers); i++)
		if (string_equal(handlers[i].command, command))
			break;
	job = i < ARRAY_SIZE(handlers) ? calloc(1, sizeof(*job)) : NULL;
	if (!job) {
		error_set_errno(&err, ENOSYS, "%s", command);
		control_request_fail(request, err);
		return;
	}
	job->request = request;
	/* A copy: json-c's reference counts are not for two threads. */
	if (!arguments || json_object_deep_copy(arguments, &job->arguments, NULL) < 0)
		job->arguments = json_object_new_object();
	job->run = handlers[i].run;
	if (pool_submit(lanes[handlers[i].lane], job_run, job) < 0) {
		job->status = error_set_errno(&job->err, ENOMEM, "%s", command);
		job_answer(job);
	}
}

static void on_closed(void *opaque)
{
	connection_count--;
}

static const struct control_handler_ops connection_ops = {
	.request = on_request,
	.closed = on_closed,
};

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	sd_event *event = sd_event_source_get_event(source);
	int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (peer < 0)
		return 0;
	if (connection_count >= MAX_CONNECTIONS) {
		log_guest(LOG_WARNING, "too many connections");
		close(peer);
		return 0;
	}
	if (control_connection_new(event, peer, CONTROL_DAEMON, &connection_ops, NULL))
		connection_count++;
	return 0;
}

int requests_serve(sd_event *event, int fd)
{
	lanes[LANE_HOOK] = pool_new("hook", HOOK_THREADS);
	lanes[LANE_REQUEST] = pool_new("request", REQUEST_THREADS);
	if (!lanes[LANE_HOOK] || !lanes[LANE_REQUEST])
		return -ENOMEM;
	return sd_event_add_io(event, NULL, fd, EPOLLIN, on_connection, NULL);
}
