// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/i18n.h"
#include "base/log.h"
#include "base/options.h"
#include "control/channel.h"
#include "control/commands.h"
#include "controller/sandbox.h"
#include "failed/device.h"

/*
 * What the keeper runs in a controller's place when there can be no controller. It is asked like
 * one, and knows what the end of its devices' lives takes: add-controller, counters, stop.
 */
#define PROGRAM	    "virtnvme-failed"
#define MAX_DEVICES 32u
#define MAX_QUEUES  64u

static unsigned long control_fd = ULONG_MAX, log_level = LOG_INFO;
static const char *user;

static const struct option_spec options[] = {
	{ "control-fd", 0, OPTION_NUMBER, N_("FD"),
	  N_("take devices from virtnvme-keeper on this descriptor"), &control_fd },
	{ "user", 'u', OPTION_STRING, N_("NAME"), N_("give up root for this user"), &user },
	{ "log-level", 0, OPTION_NUMBER, N_("N"),
	  N_("what is logged: 3 errors, 4 warnings, 6 information, 7 everything (6)"), &log_level },
	{},
};

static const struct option_program program = {
	.name = PROGRAM,
	.arguments = "",
	.summary = N_("NVMe controllers that say that they have failed"),
	.options = options,
};

struct failed {
	sd_event *event;
	struct control_connection *connection;
	struct failed_device *devices[MAX_DEVICES];
};

static void add_controller(struct failed *failed, struct control_request *request,
			   struct json_object *arguments, int *fds, size_t fd_count)
{
	uint64_t index = json_u64_or(arguments, "index", MAX_DEVICES);
	uint64_t queues = json_u64_or(arguments, "queues", 1);
	struct error *err = NULL;

	/* The state file, the relay channel, the bulk file. */
	if (index >= MAX_DEVICES || failed->devices[index] || fd_count < 2)
		error_set(&err, EINVAL, _("there is no room for this controller"));
	else
		failed->devices[index] = failed_device_new(
			failed->event, index, MIN(queues, MAX_QUEUES) + 1, steal_fd(&fds[1]), &err);
	if (err)
		control_request_fail(request, err);
	else
		control_request_reply(request, NULL);
}

static void on_request(void *opaque, struct control_request *request, const char *command,
		       struct json_object *arguments, int *fds, size_t fd_count)
{
	struct failed *failed = opaque;
	struct error *err = NULL;

	if (string_equal(command, "add-controller")) {
		add_controller(failed, request, arguments, fds, fd_count);
	} else if (string_equal(command, "stop")) {
		control_request_reply(request, NULL);
		sd_event_exit(failed->event, 0);
	} else {
		error_set(&err, EIO, _("the controller has failed"));
		control_request_fail(request, err);
	}
	fd_close_all(fds, fd_count);
}

static void on_closed(void *opaque)
{
	struct failed *failed = opaque;

	failed->connection = NULL;
	sd_event_exit(failed->event, 0);
}

static const struct control_handler_ops ops = { .request = on_request, .closed = on_closed };

static int serve(struct failed *failed, struct error **errp)
{
	const struct sandbox_options sandbox = { .user = user };
	int r;

	r = sandbox_enter(&sandbox, errp);
	if (r < 0)
		return r;
	r = sd_event_new(&failed->event);
	if (r < 0)
		return error_set_errno(errp, -r, _("cannot start"));
	failed->connection =
		control_connection_new(failed->event, control_fd, CONTROL_CONTROLLER, &ops, failed);
	if (!failed->connection)
		return error_set(errp, ENOMEM, _("out of memory"));
	return sd_event_loop(failed->event);
}

int main(int argc, char **argv)
{
	_cleanup_error_ struct error *err = NULL;
	struct failed failed = {};
	size_t i;
	int first, r;

	setlocale(LC_ALL, "");
	bindtextdomain(PACKAGE, VIRTNVME_LOCALE_DIR);
	textdomain(PACKAGE);
	r = options_parse(&program, argc, argv, &first, &err);
	if (r > 0)
		return EXIT_SUCCESS;
	if (r == 0 && (control_fd < 3 || control_fd > INT_MAX))
		r = error_set(&err, EINVAL, _("--control-fd is needed"));
	if (r == 0) {
		log_open(PROGRAM, log_level);
		sandbox_close_inherited(control_fd);
		signal(SIGPIPE, SIG_IGN);
		signal(SIGTERM, SIG_IGN); /* the keeper says when */
		r = serve(&failed, &err);
	}
	if (err)
		fprintf(stderr, PROGRAM ": %s\n", error_message(err));
	control_connection_free(failed.connection);
	for (i = 0; i < MAX_DEVICES; i++)
		if (failed.devices[i])
			failed_device_free(failed.devices[i]);
	sd_event_unref(failed.event);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
