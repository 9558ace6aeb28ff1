// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/requests.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/i18n.h"
#include "base/log.h"
#include "control/channel.h"
#include "control/commands.h"
#include "keeper/carry.h"
#include "keeper/keeper.h"
#include "keeper/upgrade.h"

#define MAX_CONNECTIONS	    16u
#define COUNTERS_TIMEOUT_US (2u * 1000000)

struct client {
	struct client *next;
	struct requests *requests;
	struct control_connection *connection;
};

struct requests {
	struct keeper *keeper;
	int fd;
	sd_event_source *source;
	struct client *clients;
	unsigned client_count;
};

/* A request that waits for the controller. */
struct pending {
	struct keeper *keeper;
	struct control_request *request;
	uint64_t index;
};

static struct pending *new_pending(struct keeper *keeper, struct control_request *request,
				   uint64_t index)
{
	struct pending *pending = malloc(sizeof(*pending));

	if (!pending)
		abort(); /* the daemon would wait for ever */
	*pending = (struct pending){ keeper, request, index };
	return pending;
}

static void fail_copy(struct control_request *request, const struct error *err)
{
	struct error *copy = NULL;

	error_set(&copy, err->code, "%s", err->message);
	control_request_fail(request, copy);
}

/* A device_done: the controller's answer is ours. */
static void pass_on(void *opaque, struct json_object *result, const struct error *err)
{
	struct pending *pending = opaque;

	if (err)
		fail_copy(pending->request, err);
	else
		control_request_reply(pending->request, json_object_get(result));
	free(pending);
}

static void answer_empty(void *opaque, struct json_object *result, const struct error *err)
{
	pass_on(opaque, NULL, err);
}

/* NULL after having refused. */
static struct device *find_device(struct keeper *keeper, struct control_request *request,
				  struct json_object *arguments)
{
	uint64_t index = json_u64_or(arguments, "index", UINT64_MAX);
	struct device *device = keeper_find_device(keeper, index);
	struct error *err = NULL;

	if (!device) {
		error_set(&err, ENOENT, _("there is no controller %llu"),
			  (unsigned long long)index);
		control_request_fail(request, err);
	}
	return device;
}

/*
 * status
 */
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

static void handle_status(struct keeper *keeper, struct control_request *request,
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

/*
 * The others
 */
static void on_device_added(void *opaque, struct json_object *result, const struct error *err)
{
	struct pending *pending = opaque;
	struct device *device = keeper_find_device(pending->keeper, pending->index);

	if (!err) {
		struct json_object *answer = json_object_new_object();

		json_add_string(answer, "socket", listener_path(device->listener));
		control_request_reply(pending->request, answer);
	} else {
		/* What the controller did take of it ends with its channel. */
		fail_copy(pending->request, err);
		if (device)
			keeper_drop_device(pending->keeper, device);
	}
	free(pending);
}

static void handle_add_controller(struct keeper *keeper, struct control_request *request,
				  struct json_object *arguments)
{
	struct error *err = NULL;
	struct device *device = keeper_add_device(
		keeper, json_child(arguments, "controller", json_type_object), &err);

	if (!device) {
		control_request_fail(request, err);
		return;
	}
	device_start(device, DEVICE_PATIENT, on_device_added,
		     new_pending(keeper, request, device->config.index));
}

static void on_device_removed(void *opaque, struct json_object *result, const struct error *err)
{
	struct pending *pending = opaque;
	struct device *device = keeper_find_device(pending->keeper, pending->index);

	if (!err && device)
		keeper_drop_device(pending->keeper, device);
	answer_empty(pending, NULL, err);
}

static void handle_remove_controller(struct keeper *keeper, struct control_request *request,
				     struct json_object *arguments)
{
	struct device *device = find_device(keeper, request, arguments);
	struct error *err = NULL;

	if (!device)
		return;
	if (listener_used(device->listener)) {
		error_set(&err, EBUSY,
			  _("QEMU has connected to controller %u, it can only be parked"),
			  device->config.index);
		control_request_fail(request, err);
		return;
	}
	device_remove(device, on_device_removed,
		      new_pending(keeper, request, device->config.index));
}

static void handle_add_namespace(struct keeper *keeper, struct control_request *request,
				 struct json_object *arguments)
{
	struct device *device = find_device(keeper, request, arguments);

	if (device)
		device_add_namespace(device, json_child(arguments, "namespace", json_type_object),
				     answer_empty, new_pending(keeper, request, 0));
}

static void handle_remove_namespace(struct keeper *keeper, struct control_request *request,
				    struct json_object *arguments)
{
	struct device *device = find_device(keeper, request, arguments);

	if (device)
		device_remove_namespace(device, json_u64_or(arguments, "nsid", 0), answer_empty,
					new_pending(keeper, request, 0));
}

static void handle_resize_namespace(struct keeper *keeper, struct control_request *request,
				    struct json_object *arguments)
{
	struct device *device = find_device(keeper, request, arguments);

	if (device)
		device_resize_namespace(device, json_u64_or(arguments, "nsid", 0),
					json_u64_or(arguments, "limit", 0), pass_on,
					new_pending(keeper, request, 0));
}

static void handle_set_iotune(struct keeper *keeper, struct control_request *request,
			      struct json_object *arguments)
{
	struct device *device = find_device(keeper, request, arguments);

	if (device)
		device_set_iotune(device, json_u64_or(arguments, "nsid", 0),
				  json_child(arguments, "iotune", json_type_object), answer_empty,
				  new_pending(keeper, request, 0));
}

static void handle_permit_migration(struct keeper *keeper, struct control_request *request,
				    struct json_object *arguments)
{
	const struct migration_permit permit = {
		.when = { json_u64_or(arguments, "seconds", 0),
			  json_u64_or(arguments, "micros", 0) },
		.refused = json_string_or(arguments, "refused", NULL),
	};

	log_info("the daemon %s the %s%s%s", permit.refused ? "refuses" : "permits",
		 json_string_or(arguments, "operation", "migration"), permit.refused ? ": " : "",
		 permit.refused ? permit.refused : "");
	migration_permit(keeper->migration, &permit);
	control_request_reply(request, NULL);
}

static void handle_upgrade(struct keeper *keeper, struct control_request *request,
			   struct json_object *arguments)
{
	upgrade_start(keeper, request);
}

static void handle_stop(struct keeper *keeper, struct control_request *request,
			struct json_object *arguments)
{
	control_request_reply(request, NULL);
	keeper_stop(keeper, "told to");
}

static const struct handler {
	const char *name;
	void (*handle)(struct keeper *keeper, struct control_request *request,
		       struct json_object *arguments);
	bool changes; /* what the guest has: not during a migration, which has described it */
} handlers[] = {
	{ "status", handle_status, false },
	{ "add-controller", handle_add_controller, true },
	{ "remove-controller", handle_remove_controller, true },
	{ "add-namespace", handle_add_namespace, true },
	{ "remove-namespace", handle_remove_namespace, true },
	{ "resize-namespace", handle_resize_namespace, true },
	{ "set-iotune", handle_set_iotune, true },
	{ "upgrade", handle_upgrade, true },
	{ "permit-migration", handle_permit_migration, false },
	{ "stop", handle_stop, false },
};

/* A request that came while no controller was there to be asked. */
struct delayed {
	struct keeper *keeper;
	struct control_request *request;
	struct json_object *arguments;
	const struct handler *handler;
};

/* The image has been resized already, and the destination looks at it when the state comes. */
static bool goes_along(const struct keeper *keeper, const struct handler *handler,
		       struct json_object *arguments)
{
	return handler->handle == handle_resize_namespace && !json_u64_or(arguments, "limit", 0) &&
	       !migration_keeps_state(keeper->migration);
}

static bool refuse_meanwhile(const struct keeper *keeper, struct control_request *request,
			     const struct handler *handler, struct json_object *arguments)
{
	struct error *err = NULL;

	if (!handler->changes || !migration_is_under_way(keeper->migration) ||
	    goes_along(keeper, handler, arguments))
		return false;
	error_set(&err, EBUSY,
		  _("a migration or save of the domain is under way; try "
		    "again when it is over"));
	control_request_fail(request, err);
	return true;
}

static void on_controller_back(void *opaque, const struct error *err)
{
	struct delayed *delayed = opaque;

	if (err)
		fail_copy(delayed->request, err);
	else if (!refuse_meanwhile(delayed->keeper, delayed->request, delayed->handler,
				   delayed->arguments))
		delayed->handler->handle(delayed->keeper, delayed->request, delayed->arguments);
	json_object_put(delayed->arguments);
	free(delayed);
}

static void delay(struct keeper *keeper, struct control_request *request,
		  struct json_object *arguments, const struct handler *handler)
{
	struct delayed *delayed = malloc(sizeof(*delayed));

	if (!delayed)
		abort(); /* the daemon would wait for ever */
	*delayed = (struct delayed){ keeper, request, json_object_get(arguments), handler };
	if (!supervisor_wait(&keeper->supervisor, on_controller_back, delayed))
		on_controller_back(delayed, NULL);
}

static void on_request(void *opaque, struct control_request *request, const char *command,
		       struct json_object *arguments, int *fds, size_t fd_count)
{
	struct client *client = opaque;
	struct keeper *keeper = client->requests->keeper;
	struct error *err = NULL;
	size_t i;

	if (keeper->phase != KEEPER_RUNNING && !string_equal(command, "status") &&
	    !string_equal(command, "stop")) {
		error_set(&err, EAGAIN, _("the keeper is starting or stopping"));
		control_request_fail(request, err);
		return;
	}
	for (i = 0; i < ARRAY_SIZE(handlers); i++)
		if (string_equal(command, handlers[i].name)) {
			if (refuse_meanwhile(keeper, request, &handlers[i], arguments))
				return;
			if (handlers[i].changes && keeper->supervisor.state == CONTROLLER_FAILED)
				fail_copy(request, keeper->supervisor.reason);
			else if (handlers[i].changes && supervisor_restarting(&keeper->supervisor))
				delay(keeper, request, arguments, &handlers[i]);
			else
				handlers[i].handle(keeper, request, arguments);
			return;
		}
	error_set(&err, EOPNOTSUPP, _("there is no command \"%s\" here"), command);
	control_request_fail(request, err);
}

static void on_closed(void *opaque)
{
	struct client *client = opaque;
	struct client **link = &client->requests->clients;

	while (*link != client)
		link = &(*link)->next;
	*link = client->next;
	client->requests->client_count--;
	free(client);
}

static const struct control_handler_ops client_ops = { .request = on_request, .closed = on_closed };

/* NULL: it was turned away. */
static struct control_connection *add_client(struct requests *requests, int fd)
{
	struct client *client = NULL;
	uid_t uid;

	if (requests->client_count < MAX_CONNECTIONS)
		client = calloc(1, sizeof(*client));
	if (!client) {
		close(fd);
		return NULL;
	}
	client->requests = requests;
	client->connection = control_connection_new(requests->keeper->event, fd, CONTROL_KEEPER,
						    &client_ops, client);
	if (!client->connection || control_connection_peer(client->connection, NULL, &uid) < 0 ||
	    (uid != 0 && uid != geteuid())) {
		control_connection_free(client->connection);
		free(client);
		return NULL;
	}
	client->next = requests->clients;
	requests->clients = client;
	requests->client_count++;
	return client->connection;
}

static int on_connection(sd_event_source *source, int listening, uint32_t revents, void *opaque)
{
	int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);

	if (fd >= 0)
		add_client(opaque, fd);
	return 0;
}

struct json_object *requests_save(const struct requests *requests,
				  const struct control_request *request)
{
	struct json_object *json = json_object_new_object();
	uint64_t id;
	int fd;

	control_request_identify(request, &fd, &id);
	carry_fd(json, "listening", requests->fd);
	carry_fd(json, "client", fd);
	json_add_u64(json, "id", id);
	return json;
}

/* Listen on @fd. */
static struct requests *make_requests(struct keeper *keeper, int fd, struct error **errp)
{
	struct requests *requests = calloc(1, sizeof(*requests));
	int r = -ENOMEM;

	if (!requests)
		goto fail;
	requests->keeper = keeper;
	requests->fd = fd;
	r = fd;
	if (r >= 0)
		r = sd_event_add_io(keeper->event, &requests->source, requests->fd, EPOLLIN,
				    on_connection, requests);
	if (r >= 0)
		return requests;
fail:
	error_set_errno(errp, -r, _("cannot serve %s/keeper.sock"), keeper->config.runtime_dir);
	requests_free(requests);
	return NULL;
}

struct requests *requests_load(struct keeper *keeper, struct json_object *json,
			       struct control_request **ret_request, struct error **errp)
{
	struct requests *requests = make_requests(keeper, carried_fd(json, "listening"), errp);
	struct control_connection *connection;
	int client = carried_fd(json, "client");

	*ret_request = NULL;
	if (!requests || client < 0)
		return requests;
	connection = add_client(requests, client);
	if (connection)
		*ret_request = control_request_new(connection, json_u64_or(json, "id", 0));
	return requests;
}

struct requests *requests_new(struct keeper *keeper, struct error **errp)
{
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s/keeper.sock", keeper->config.runtime_dir) < 0) {
		path = NULL;
		error_set_errno(errp, ENOMEM, "%s", keeper->config.runtime_dir);
		return NULL;
	}
	return make_requests(keeper, control_listen(path, 0600), errp);
}

void requests_free(struct requests *requests)
{
	if (!requests)
		return;
	sd_event_source_disable_unref(requests->source);
	while (requests->clients) {
		struct client *client = requests->clients;

		requests->clients = client->next;
		control_connection_free(client->connection);
		free(client);
	}
	if (requests->fd >= 0)
		close(requests->fd);
	free(requests);
}
