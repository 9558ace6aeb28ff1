// SPDX-License-Identifier: LGPL-2.1-or-later
#include <unistd.h>

#include "keeper/keeper.h"
#include "keeper/requests-internal.h"

#define COUNTERS_TIMEOUT_US (2u * 1000000)

static struct json_object *find_counters(struct json_object *counters, uint64_t index,
					 uint64_t nsid)
{
	struct json_object *list = json_child(counters, "controllers", json_type_array);
	const char *key = "index";
	uint64_t wanted = index;
	size_t i;

	for (;;) {
		struct json_object *item = NULL;
		size_t count = list ? json_object_array_length(list) : 0;

		for (i = 0; i < count; i++) {
			item = json_object_array_get_idx(list, i);
			if (json_u64_or(item, key, UINT64_MAX) == wanted)
				break;
		}
		if (i == count)
			return NULL;
		if (wanted == nsid && string_equal(key, "nsid"))
			return item;
		list = json_child(item, "namespaces", json_type_array);
		key = "nsid";
		wanted = nsid;
	}
}

static struct json_object *describe_namespace(const struct device *device,
					      const struct device_namespace *ns,
					      struct json_object *counters)
{
	struct json_object *json = json_object_new_object(), *own, *iotune;

	json_add_u64(json, "nsid", ns->config.nsid);
	json_add_string(json, "target", ns->config.target);
	json_add_string(json, "type", ns->config.type_name);
	json_add_string(json, "source", ns->config.path);
	json_add_u64(json, "capacity", ns->capacity);
	json_add_u64(json, "block_size", ns->config.block_size);
	if (device_next_block_size(ns))
		json_add_u64(json, "next_block_size", device_next_block_size(ns));
	if (ns->config.reservations)
		json_add_bool(json, "persistent", ns->persistent);
	json_add_string(json, "problem", ns->problem);
	iotune = json_child(ns->json, "iotune", json_type_object);
	json_add(json, "iotune", iotune ? json_object_get(iotune) : json_object_new_object());
	own = find_counters(counters, device->config.index, ns->config.nsid);
	json_add(json, "counters", own ? json_object_get(own) : json_object_new_object());
	return json;
}

static struct json_object *describe_device(const struct device *device,
					   struct json_object *counters)
{
	struct json_object *json = json_object_new_object(), *list = json_object_new_array();
	const struct device_namespace *ns;

	json_add_u64(json, "index", device->config.index);
	json_add_bool(json, "connected", relay_has_client(device->relay));
	for (ns = device->namespaces; ns; ns = ns->next)
		json_object_array_add(list, describe_namespace(device, ns, counters));
	json_add(json, "namespaces", list);
	return json;
}

static struct json_object *describe(const struct keeper *keeper, struct json_object *counters)
{
	struct json_object *json = json_object_new_object(), *part, *threads;
	const struct device *device;
	struct monitor_time setup;
	bool connected = false;

	json_add_string(json, "uuid", keeper->config.uuid);
	json_add_string(json, "name", keeper->config.name);
	json_add_u64(json, "pid", getpid());
	json_add_string(json, "version", PACKAGE_VERSION);
	for (device = keeper->devices; device; device = device->next)
		connected = connected || relay_has_client(device->relay);
	part = json_object_new_object();
	json_add_u64(part, "pid", keeper->peer.pid);
	json_add_bool(part, "connected", connected);
	json_add_bool(part, "monitor", keeper->monitor && monitor_connected(keeper->monitor));
	json_add(json, "qemu", part);
	json_add_string(json, "migration", migration_state_name(keeper->migration));
	if (migration_awaits_permit(keeper->migration, &setup)) {
		part = json_object_new_object();
		json_add_u64(part, "seconds", setup.seconds);
		json_add_u64(part, "micros", setup.micros);
		json_add(json, "awaits_permit", part);
	}
	part = json_object_new_object();
	json_add_u64(part, "pid", supervisor_pid(&keeper->supervisor));
	json_add_u64(part, "generation", keeper->supervisor.generation);
	json_add_string(part, "state", supervisor_state_name(&keeper->supervisor));
	json_add_u64(part, "restarts", keeper->supervisor.restarts);
	json_add_string(part, "reason", supervisor_reason(&keeper->supervisor));
	threads = json_child(counters, "iothreads", json_type_array);
	if (threads)
		json_add(part, "iothreads", json_object_get(threads));
	json_add(json, "controller", part);
	part = json_object_new_array();
	for (device = keeper->devices; device; device = device->next)
		json_object_array_add(part, describe_device(device, counters));
	json_add(json, "controllers", part);
	return json;
}

/* A status that waits for the controller's counters, but not for ever. */
struct status {
	struct keeper *keeper;
	struct control_request *request; /* NULL: it is answered */
	sd_event_source *timer;
};

static void answer_status(struct status *status, struct json_object *counters)
{
	status->timer = sd_event_source_disable_unref(status->timer);
	if (status->request)
		control_request_reply(steal_pointer(status->request),
				      describe(status->keeper, counters));
}

static int on_status_timer(sd_event_source *source, uint64_t usec, void *opaque)
{
	answer_status(opaque, NULL);
	return 0;
}

static void on_counters(void *opaque, struct json_object *result, const struct error *err)
{
	struct status *status = opaque;

	answer_status(status, result);
	free(status);
}

void request_status(struct keeper *keeper, struct control_request *request,
		    struct json_object *arguments)
{
	struct status *status;

	if (!keeper->supervisor.connection || keeper->supervisor.state != CONTROLLER_RUNNING) {
		control_request_reply(request, describe(keeper, NULL));
		return;
	}
	status = calloc(1, sizeof(*status));
	if (!status)
		abort(); /* the daemon would wait for ever */
	status->keeper = keeper;
	status->request = request;
	/* One that hangs is worth a status more than any. */
	sd_event_add_time_relative(keeper->event, &status->timer, CLOCK_MONOTONIC,
				   COUNTERS_TIMEOUT_US, 0, on_status_timer, status);
	control_connection_call(keeper->supervisor.connection, "counters", NULL, NULL, 0,
				on_counters, status);
}
