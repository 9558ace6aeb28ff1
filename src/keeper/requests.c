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
#include "keeper/requests-internal.h"
#include "keeper/upgrade.h"

#define MAX_CONNECTIONS 16u

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

void requests_fail_copy(struct control_request *request, const struct error *err)
{
	struct error *copy = NULL;

	error_set(&copy, err->code, "%s", err->message);
	control_request_fail(request, copy);
}

static void permit_migration(struct keeper *keeper, struct control_request *request,
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

static void upgrade(struct keeper *keeper, struct control_request *request,
		    struct json_object *arguments)
{
	upgrade_start(keeper, request);
}

static void stop(struct keeper *keeper, struct control_request *request,
		 struct json_object *arguments)
{
	control_request_reply(request, NULL);
	keeper_stop(keeper, "told to");
}

static const struct handler {
	const char *name;
	request_fn *handle;
	bool changes; /* what the guest has: not during a migration, which has described it */
} handlers[] = {
	{ "status", request_status, false },
	{ "add-controller", request_add_controller, true },
	{ "remove-controller", request_remove_controller, true },
	{ "add-namespace", request_add_namespace, true },
	{ "remove-namespace", request_remove_namespace, true },
	{ "resize-namespace", request_resize_namespace, true },
	{ "set-block-size", request_set_block_size, true },
	{ "set-iotune", request_set_iotune, true },
	{ "upgrade", upgrade, true },
	{ "permit-migration", permit_migration, false },
	{ "stop", stop, false },
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
	return handler->handle == request_resize_namespace && !json_u64_or(arguments, "limit", 0) &&
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
		requests_fail_copy(delayed->request, err);
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
				requests_fail_copy(request, keeper->supervisor.reason);
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

void requests_hold(struct requests *requests, bool hold)
{
	struct client *client;

	for (client = requests->clients; client; client = client->next)
		control_connection_hold(client->connection, hold);
	sd_event_source_set_enabled(requests->source, hold ? SD_EVENT_OFF : SD_EVENT_ON);
}

bool requests_may_be_carried(const struct requests *requests, const struct control_request *request)
{
	const struct client *client;

	for (client = requests->clients; client; client = client->next)
		if (!control_connection_is_idle(client->connection, request))
			return false;
	return true;
}

struct json_object *requests_save(const struct requests *requests,
				  const struct control_request *request)
{
	struct json_object *json = json_object_new_object();
	const struct client *client;
	int fd, others[MAX_CONNECTIONS];
	size_t count = 0;
	uint64_t id;

	control_request_identify(request, &fd, &id);
	carry_fd(json, "listening", requests->fd);
	carry_fd(json, "client", fd);
	json_add_u64(json, "id", id);
	for (client = requests->clients; client; client = client->next) {
		int other = control_connection_fd(client->connection);

		if (other != fd)
			others[count++] = other;
	}
	carry_fds(json, "others", others, count);
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
	int client = carried_fd(json, "client"), others[MAX_CONNECTIONS];
	size_t i, count;

	*ret_request = NULL;
	if (!requests)
		return NULL;
	count = carried_fds(json, "others", others, MAX_CONNECTIONS);
	for (i = 0; i < count; i++)
		add_client(requests, others[i]);
	if (client < 0)
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
