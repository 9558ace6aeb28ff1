// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/keep-alive.h"

#include "base/clock.h"
#include "base/log.h"
#include "keeper/keeper.h"

/*
 * Theory of operation
 *
 * The guest has run since the last RESUME that we know of, or at least since we began to look, if it
 * runs now, which QEMU is asked for. Both come by the same monitor and in order, so a RESUME that is
 * on its way is before the answer. When QEMU cannot be asked, the guest is taken to be stopped.
 */

struct question {
	struct keeper *keeper;
	unsigned index;
};

static void on_told(void *opaque, struct json_object *result, const struct error *err)
{
	if (err)
		log_debug("guest-ran: %s", error_message(err));
}

static void tell(struct keeper *keeper, unsigned index, uint64_t ms)
{
	struct control_connection *connection = keeper->supervisor.connection;
	struct json_object *arguments;

	/* A successor begins a new period by itself. */
	if (!connection || keeper->supervisor.state != CONTROLLER_RUNNING)
		return;
	arguments = json_object_new_object();
	json_add_u64(arguments, "index", index);
	json_add_u64(arguments, "ms", ms);
	control_connection_call(connection, "guest-ran", arguments, NULL, 0, on_told, NULL);
}

static void on_status(void *opaque, struct json_object *result, const struct error *err)
{
	_cleanup_free_ struct question *question = opaque;
	struct keeper *keeper = question->keeper;
	bool runs = !err && json_bool_or(result, "running", false);

	tell(keeper, question->index,
	     runs ? clock_ms(CLOCK_MONOTONIC) - keeper->running_since_ms : 0);
}

void keep_alive_handle(struct keeper *keeper, struct device *device)
{
	struct question *question = calloc(1, sizeof(*question));

	if (!question || !keeper->monitor || !monitor_connected(keeper->monitor)) {
		free(question);
		tell(keeper, device->config.index, 0);
		return;
	}
	question->keeper = keeper;
	question->index = device->config.index;
	monitor_execute(keeper->monitor, "query-status", NULL, -1, on_status, question);
}

void keep_alive_resumed(struct keeper *keeper)
{
	keeper->running_since_ms = clock_ms(CLOCK_MONOTONIC);
}
