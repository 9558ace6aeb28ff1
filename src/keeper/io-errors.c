// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/io-errors.h"

#include <stdio.h>

#include "base/log.h"
#include "keeper/keeper.h"

static void forget_problems(struct keeper *keeper)
{
	struct device *device;
	struct device_namespace *ns;

	for (device = keeper->devices; device; device = device->next)
		for (ns = device->namespaces; ns; ns = ns->next)
			free(steal_pointer(ns->problem));
}

static void on_retried(void *opaque, struct json_object *result, const struct error *err)
{
	if (err)
		log_info("commands that are held: %s", error_message(err));
}

/* Without a controller there is nothing held: its successor tries everything again. */
static void retry(struct keeper *keeper, bool give_up)
{
	struct control_connection *connection = keeper->supervisor.connection;
	struct json_object *arguments;

	forget_problems(keeper);
	if (!connection || keeper->supervisor.state != CONTROLLER_RUNNING)
		return;
	arguments = json_object_new_object();
	json_add_bool(arguments, "give_up", give_up);
	control_connection_call(connection, "retry", arguments, NULL, 0, on_retried, NULL);
}

static void on_stopped(void *opaque, struct json_object *result, const struct error *err)
{
	if (!err)
		return;
	log_error("cannot pause the domain, so it is told the error: %s", error_message(err));
	retry(opaque, true);
}

void io_errors_handle(struct keeper *keeper, struct device *device, struct json_object *data)
{
	struct device_namespace *ns = device_find_namespace(device, json_u64_or(data, "nsid", 0));
	const char *operation = json_string_or(data, "operation", "?");
	int code = MIN(json_u64_or(data, "code", 0), (uint64_t)4095);

	if (!ns)
		return;
	free(steal_pointer(ns->problem));
	if (asprintf(&ns->problem, "%s: %s", operation, strerror(code)) < 0)
		ns->problem = NULL;
	if (!keeper->monitor || !monitor_connected(keeper->monitor)) {
		log_guest(LOG_ERR,
			  "%s: %s failed: %s; QEMU's monitor is not there to pause the domain",
			  ns->config.target, operation, strerror(code));
		retry(keeper, true);
		return;
	}
	log_error("%s: %s failed: %s; the domain is paused until it is resumed", ns->config.target,
		  operation, strerror(code));
	monitor_execute(keeper->monitor, "stop", NULL, -1, on_stopped, keeper);
}

void io_errors_resumed(struct keeper *keeper)
{
	retry(keeper, false);
}
