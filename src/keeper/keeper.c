// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>

#include "base/i18n.h"
#include "base/log.h"
#include "keeper/io-errors.h"
#include "keeper/keep-alive.h"

/*
 * Theory of operation
 *
 * Starting: everything that can fail without the controller is done first and in one go; then the
 * controller gets its devices, asynchronously, and the ready line is written when it has all of
 * them.
 *
 * The end has one way, keeper_stop(), whoever wants it: QEMU is gone, somebody said stop, the start
 * failed. It closes the domain's connections, has the controller finish its I/O, and leaves the
 * loop when the process has ended. Only then are the images unlocked: nobody may open an image
 * that is still written to.
 *
 * An error of the guest's I/O is the controller's business; a controller that dies has a successor
 * (supervise.c), and this one holds what must outlive them as long as QEMU lives.
 */
#define START_TIMEOUT_US (20u * 1000000)

void keeper_report(int *ready_fd, const struct error *err)
{
	_cleanup_json_ struct json_object *line = json_object_new_object();

	if (*ready_fd < 0)
		return;
	if (err) {
		struct json_object *error = json_object_new_object();

		json_add_u64(error, "code", err->code);
		json_add_string(error, "message", err->message);
		json_add(line, "error", error);
	} else {
		json_add(line, "result", json_object_new_object());
	}
	if (dprintf(*ready_fd, "%s\n", json_text(line)) < 0)
		log_warning("nobody waits for the ready line");
	close(steal_fd(ready_fd));
}

struct device *keeper_find_device(struct keeper *keeper, uint64_t index)
{
	struct device *device = keeper->devices;

	while (device && device->config.index != index)
		device = device->next;
	return device;
}

struct device *keeper_add_device(struct keeper *keeper, struct json_object *json,
				 struct error **errp)
{
	const struct device_options options = {
		.event = keeper->event,
		.config = &keeper->config,
		.supervisor = &keeper->supervisor,
		.peer = &keeper->peer,
		.unlocked = migration_is_incoming(keeper->migration),
	};
	struct controller_config config;
	struct device *device, **link;

	/* Before the socket of the other one is replaced. */
	if (controller_config_parse(json, &config, errp) < 0)
		return NULL;
	if (keeper_find_device(keeper, config.index)) {
		error_set(errp, EEXIST, _("there is a controller %u already"), config.index);
		return NULL;
	}
	device = device_new(&options, json, errp);
	if (!device)
		return NULL;
	for (link = &keeper->devices; *link; link = &(*link)->next)
		;
	*link = device;
	return device;
}

void keeper_drop_device(struct keeper *keeper, struct device *device)
{
	struct device **link = &keeper->devices;

	while (*link != device)
		link = &(*link)->next;
	*link = device->next;
	device_free(device);
}

static void end_start(struct keeper *keeper, const struct error *err)
{
	if (keeper->phase != KEEPER_STARTING)
		return;
	keeper->start_timer = sd_event_source_disable_unref(keeper->start_timer);
	if (err) {
		log_error("%s", err->message);
		keeper_report(&keeper->ready_fd, err);
		keeper_stop(keeper, "the start failed");
		return;
	}
	keeper->phase = KEEPER_RUNNING;
	log_info("ready");
	keeper_report(&keeper->ready_fd, NULL);
}

static void on_device_adopted(void *opaque, struct json_object *result, const struct error *err)
{
	struct keeper *keeper = opaque;

	keeper->adopting--;
	if (err || keeper->adopting == 0)
		supervisor_adopted(&keeper->supervisor, err);
}

/* A new controller process: the first, a successor, or what stands in for one. */
static void adopt_devices(void *opaque, unsigned flags)
{
	struct keeper *keeper = opaque;
	struct device *device;

	if (migration_is_frozen(keeper->migration))
		flags |= DEVICE_FROZEN;
	if (migration_awaits_state(keeper->migration))
		flags |= DEVICE_FRESH;
	/* One more, so that the last word is not said while the others are being asked. */
	keeper->adopting = 1;
	for (device = keeper->devices; device; device = device->next) {
		keeper->adopting++;
		device_start(device, flags, on_device_adopted, keeper);
	}
	on_device_adopted(keeper, NULL, NULL);
}

static int on_start_timer(sd_event_source *source, uint64_t usec, void *opaque)
{
	_cleanup_error_ struct error *err = NULL;

	error_set(&err, ETIMEDOUT,
		  _("the controller process did not take its disks in time; "
		    "see the log"));
	end_start(opaque, err);
	return 0;
}

static void on_peer_gone(void *opaque)
{
	keeper_stop(opaque, "QEMU has ended");
}

static void on_settled(void *opaque, const struct error *err, bool lost)
{
	struct keeper *keeper = opaque;
	struct device *device;

	if (keeper->phase == KEEPER_STARTING)
		end_start(keeper, err);
	if (keeper->phase != KEEPER_RUNNING || !lost)
		return;
	/* Nobody will answer: a closed connection tells QEMU so at once, instead of having every
	 * access wait for its timeout with the guest standing still. */
	log_error("the domain's NVMe disks are gone until it is started again");
	for (device = keeper->devices; device; device = device->next)
		relay_close_client(device->relay);
}

/* The client did what the protocol forbids, and has been served for the last time. */
static void on_closed(struct device *device)
{
	if (!relay_has_client(device->relay))
		return;
	log_error("nvme%u: the controller has closed the connection", device->config.index);
	relay_close_client(device->relay);
}

static void on_controller_event(void *opaque, const char *event, struct json_object *data)
{
	struct keeper *keeper = opaque;
	struct device *device = keeper_find_device(keeper, json_u64_or(data, "index", UINT64_MAX));

	if (device && string_equal(event, "closed"))
		on_closed(device);
	else if (device && string_equal(event, "io-error"))
		io_errors_handle(keeper, device, data);
	else if (device && string_equal(event, "silent"))
		keep_alive_handle(keeper, device);
	else if (device && string_equal(event, "block-size"))
		formats_handle(keeper, device, data);
}

static void on_controller_stopped(void *opaque)
{
	struct keeper *keeper = opaque;

	sd_event_exit(keeper->event, 0);
}

static const struct supervisor_ops supervisor_ops = {
	.adopt = adopt_devices,
	.settled = on_settled,
	.event = on_controller_event,
	.stopped = on_controller_stopped,
};

static int on_sigterm(sd_event_source *source, const struct signalfd_siginfo *info, void *opaque)
{
	struct keeper *keeper = opaque;

	/* A machine that shuts down ends QEMU as well, and that ends us. */
	if (keeper->peer.pid)
		log_notice("SIGTERM ignored: QEMU uses these disks");
	else
		keeper_stop(keeper, "SIGTERM");
	return 0;
}

static void on_monitor_connected(void *opaque)
{
	struct keeper *keeper = opaque;

	hand_over_connected(keeper->hand_over);
}

static void on_monitor_event(void *opaque, const char *name, struct json_object *data,
			     const struct monitor_time *when)
{
	struct keeper *keeper = opaque;

	migration_event(keeper->migration, name, data, when);
	if (string_equal(name, "RESUME")) {
		keep_alive_resumed(keeper);
		io_errors_resumed(keeper);
	}
}

static const struct monitor_ops monitor_ops = { on_monitor_connected, on_monitor_event };

static void on_read_id(void *opaque, struct vmstate_call *call)
{
	struct keeper *keeper = opaque;

	migration_read_id(keeper->migration, call);
}

static int on_save(void *opaque, unsigned number, const void **ret_data, size_t *ret_size)
{
	struct keeper *keeper = opaque;

	return migration_save(keeper->migration, number, ret_data, ret_size);
}

static void on_load(void *opaque, unsigned number, const void *data, size_t size,
		    struct vmstate_call *call)
{
	struct keeper *keeper = opaque;

	migration_load(keeper->migration, number, data, size, call);
}

static const struct vmstate_ops vmstate_ops = { on_read_id, on_save, on_load };

/* @saved: NULL: they are new ones */
static int make_domain_sockets(struct keeper *keeper, struct json_object *saved,
			       struct error **errp)
{
	_cleanup_free_ char *qmp = NULL, *bus = NULL;
	struct listener_options options = {
		.uid = keeper->config.uid,
		.gid = keeper->config.gid,
		.peer = &keeper->peer,
	};

	if (asprintf(&qmp, "%s/qmp.sock", keeper->config.runtime_dir) < 0)
		qmp = NULL;
	if (asprintf(&bus, "%s/bus.sock", keeper->config.runtime_dir) < 0)
		bus = NULL;
	if (!qmp || !bus)
		return error_set_errno(errp, ENOMEM, "%s", keeper->config.runtime_dir);
	options.path = qmp;
	keeper->monitor = saved ? monitor_load(keeper->event, &options, &monitor_ops, keeper,
					       json_child(saved, "monitor", json_type_object), errp)
				: monitor_new(keeper->event, &options, &monitor_ops, keeper, errp);
	if (!keeper->monitor)
		return -EIO;
	options.path = bus;
	keeper->vmstate = saved ? vmstate_load(keeper->event, &options, &vmstate_ops, keeper,
					       json_child(saved, "vmstate", json_type_object), errp)
				: vmstate_new(keeper->event, &options, &vmstate_ops, keeper, errp);
	return keeper->vmstate ? 0 : -EIO;
}

static int make_devices(struct keeper *keeper, struct error **errp)
{
	size_t i, count = json_object_array_length(keeper->config.controllers);

	for (i = 0; i < count; i++) {
		struct json_object *json = json_object_array_get_idx(keeper->config.controllers, i);

		if (!keeper_add_device(keeper, json, errp))
			return -EIO;
	}
	return 0;
}

/* What a new keeper and one that goes on have in common. */
static int init(struct keeper *keeper, sd_event *event, const struct keeper_config *config,
		struct error **errp)
{
	int r;

	*keeper = (struct keeper){ .event = event, .config = *config, .ready_fd = -1 };
	keep_alive_resumed(keeper);
	keeper->hand_over = hand_over_new(keeper);
	if (keeper->hand_over)
		keeper->migration = migration_new(event, keeper->config.incoming, &hand_over_ops,
						  keeper->hand_over);
	if (!keeper->migration)
		return error_set_errno(errp, ENOMEM, _("cannot start"));
	peer_init(&keeper->peer, event, keeper->config.peer_pidfile, on_peer_gone, keeper);
	supervisor_init(&keeper->supervisor, event, &keeper->config, &supervisor_ops, keeper);
	r = sd_event_add_signal(event, &keeper->sigterm, SIGTERM, on_sigterm, keeper);
	return r < 0 ? error_set_errno(errp, -r, _("cannot start")) : 0;
}

int keeper_start(struct keeper *keeper, sd_event *event, const struct keeper_config *config,
		 int ready_fd, struct error **errp)
{
	int r;

	r = init(keeper, event, config, errp);
	if (r < 0)
		return r;
	keeper->ready_fd = ready_fd;
	r = sd_event_add_time_relative(event, &keeper->start_timer, CLOCK_MONOTONIC,
				       START_TIMEOUT_US, 0, on_start_timer, keeper);
	if (r < 0)
		return error_set_errno(errp, -r, _("cannot start"));
	if ((r = make_devices(keeper, errp)) < 0 ||
	    (r = make_domain_sockets(keeper, NULL, errp)) < 0)
		return r;
	keeper->requests = requests_new(keeper, errp);
	if (!keeper->requests)
		return -EIO;
	return supervisor_start(&keeper->supervisor, errp);
}

bool keeper_may_be_carried(const struct keeper *keeper, const struct control_request *request)
{
	const struct device *device;

	for (device = keeper->devices; device; device = device->next)
		if (!relay_may_be_carried(device->relay))
			return false;
	return monitor_may_be_carried(keeper->monitor) &&
	       supervisor_may_be_carried(&keeper->supervisor) &&
	       requests_may_be_carried(keeper->requests, request) &&
	       !migration_is_under_way(keeper->migration);
}

struct json_object *keeper_save(const struct keeper *keeper, const struct control_request *request)
{
	struct json_object *json = json_object_new_object(), *list = json_object_new_array();
	const struct device *device;

	json_add(json, "config", json_object_get(keeper->config.json));
	json_add(json, "peer", peer_save(&keeper->peer));
	json_add(json, "supervisor", supervisor_save(&keeper->supervisor));
	json_add(json, "monitor", monitor_save(keeper->monitor));
	json_add(json, "vmstate", vmstate_save(keeper->vmstate));
	json_add(json, "requests", requests_save(keeper->requests, request));
	for (device = keeper->devices; device; device = device->next)
		json_object_array_add(list, device_save(device));
	json_add(json, "devices", list);
	return json;
}

static int load_devices(struct keeper *keeper, struct json_object *list, struct error **errp)
{
	const struct device_options options = {
		.event = keeper->event,
		.config = &keeper->config,
		.supervisor = &keeper->supervisor,
		.peer = &keeper->peer,
	};
	struct device **link = &keeper->devices;
	size_t i;

	for (i = 0; list && i < json_object_array_length(list); i++) {
		*link = device_load(&options, json_object_array_get_idx(list, i), errp);
		if (!*link)
			return -EIO;
		link = &(*link)->next;
	}
	return 0;
}

int keeper_load(struct keeper *keeper, sd_event *event, const struct keeper_config *config,
		struct json_object *json, struct control_request **ret_request, struct error **errp)
{
	int r;

	r = init(keeper, event, config, errp);
	if (r < 0)
		return r;
	keeper->phase = KEEPER_RUNNING;
	r = peer_load(&keeper->peer, json_child(json, "peer", json_type_object));
	if (r < 0)
		return error_set_errno(errp, -r, _("cannot watch QEMU"));
	if ((r = load_devices(keeper, json_child(json, "devices", json_type_array), errp)) < 0 ||
	    (r = make_domain_sockets(keeper, json, errp)) < 0 ||
	    (r = supervisor_load(&keeper->supervisor,
				 json_child(json, "supervisor", json_type_object), errp)) < 0)
		return r;
	keeper->requests = requests_load(keeper, json_child(json, "requests", json_type_object),
					 ret_request, errp);
	if (!keeper->requests)
		return -EIO;
	formats_look(keeper);
	return 0;
}

void keeper_stop(struct keeper *keeper, const char *why)
{
	struct device *device;

	if (keeper->phase == KEEPER_STOPPING)
		return;
	log_info("stopping: %s", why);
	keeper->phase = KEEPER_STOPPING;
	for (device = keeper->devices; device; device = device->next)
		relay_close_client(device->relay);
	monitor_free(steal_pointer(keeper->monitor));
	vmstate_free(steal_pointer(keeper->vmstate));
	supervisor_stop(&keeper->supervisor);
}

void keeper_done(struct keeper *keeper)
{
	formats_done(&keeper->formats);
	requests_free(keeper->requests);
	monitor_free(keeper->monitor);
	vmstate_free(keeper->vmstate);
	supervisor_done(&keeper->supervisor);
	while (keeper->devices)
		keeper_drop_device(keeper, keeper->devices);
	peer_done(&keeper->peer);
	hand_over_free(keeper->hand_over);
	migration_free(keeper->migration);
	sd_event_source_disable_unref(keeper->start_timer);
	sd_event_source_disable_unref(keeper->sigterm);
	json_object_put(keeper->config.json);
}
