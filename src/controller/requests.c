// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/requests.h"

#include <errno.h>

#include "base/log.h"
#include "control/commands.h"
#include "controller/requests-internal.h"

void requests_fail(struct control_request *request, int code, const char *sentence)
{
	struct error *err = NULL;

	error_set(&err, code, "%s", sentence);
	control_request_fail(request, err);
}

struct entry *requests_find(struct requests *requests, uint64_t index)
{
	struct entry *entry;

	for (entry = requests->entries; entry; entry = entry->next)
		if (entry->index == index)
			return entry;
	return NULL;
}

static bool is_there(const struct entry *entry)
{
	return entry->device && !entry->closing;
}

struct entry *requests_find_ready(struct requests *requests, struct control_request *request,
				  struct json_object *arguments)
{
	struct entry *entry = requests_find(requests, json_u64_or(arguments, "index", UINT64_MAX));

	if (entry && is_there(entry))
		return entry;
	requests_fail(request, ENOENT, "there is no such controller");
	return NULL;
}

void requests_introduce(struct requests *requests)
{
	const struct entry *entry, *other;

	for (entry = requests->entries; entry; entry = entry->next) {
		struct nvme_peers peers = {};

		if (!is_there(entry))
			continue;
		for (other = requests->entries; other; other = other->next)
			if (is_there(other))
				nvme_controller_add_peer(device_controller(entry->device),
							 device_controller(other->device), &peers);
		nvme_controller_set_peers(device_controller(entry->device), &peers);
	}
}

void requests_end_when_empty(struct requests *requests)
{
	if (!requests->stopping || requests->entries)
		return;
	if (requests->stop) {
		control_request_reply(requests->stop, NULL);
		requests->stop = NULL;
	}
	sd_event_exit(requests->event, 0);
}

/* Drain and close all devices, then end the event loop with success. */
static void stop_all(struct requests *requests)
{
	struct entry *entry, *next;

	requests->stopping = true;
	for (entry = requests->entries; entry; entry = next) {
		next = entry->next;
		request_controller_close(entry);
	}
	requests_end_when_empty(requests);
}

static void stop(struct requests *requests, struct control_request *request,
		 struct json_object *arguments, int *fds, size_t fd_count)
{
	if (requests->stop) {
		requests_fail(request, EALREADY, "stopping already");
		return;
	}
	requests->stop = request;
	stop_all(requests);
}

static const struct {
	const char *name;
	request_fn *run;
} commands[] = {
	{ "add-controller", request_add_controller },
	{ "remove-controller", request_remove_controller },
	{ "add-namespace", request_add_namespace },
	{ "remove-namespace", request_remove_namespace },
	{ "resize-namespace", request_resize_namespace },
	{ "set-block-size", request_set_block_size },
	{ "set-iotune", request_set_iotune },
	{ "retry", request_retry },
	{ "guest-ran", request_guest_ran },
	{ "message-mode", request_message_mode },
	{ "judge-state", request_judge_state },
	{ "freeze", request_freeze },
	{ "thaw", request_thaw },
	{ "pci-config", request_pci_config },
	{ "overlay-bound", request_overlay_bound },
	{ "overlay-export", request_overlay_export },
	{ "overlay-apply", request_overlay_apply },
	{ "counters", request_counters },
	{ "stop", stop },
};

static void handle_request(void *opaque, struct control_request *request, const char *command,
			   struct json_object *arguments, int *fds, size_t fd_count)
{
	struct requests *requests = opaque;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (string_equal(commands[i].name, command))
			break;
	if (i == ARRAY_SIZE(commands))
		requests_fail(request, EOPNOTSUPP, "unknown command");
	else if (requests->stopping && commands[i].run != request_counters)
		requests_fail(request, ESHUTDOWN, "stopping");
	else
		commands[i].run(requests, request, arguments, fds, fd_count);
	fd_close_all(fds, fd_count);
}

static void keeper_gone(void *opaque)
{
	struct requests *requests = opaque;

	requests->connection = NULL;
	log_notice("the keeper has gone");
	stop_all(requests);
}

struct requests *requests_new(sd_event *event, struct io_threads *threads, int fd,
			      struct error **errp)
{
	static const struct control_handler_ops ops = { .request = handle_request,
							.closed = keeper_gone };
	struct requests *requests = calloc(1, sizeof(*requests));

	if (requests) {
		requests->event = event;
		requests->threads = threads;
		requests->connection =
			control_connection_new(event, fd, CONTROL_CONTROLLER, &ops, requests);
	} else {
		close(fd);
	}
	if (!requests || !requests->connection) {
		free(requests);
		error_set(errp, ENOMEM, "out of memory");
		return NULL;
	}
	return requests;
}

void requests_free(struct requests *requests)
{
	if (!requests)
		return;
	if (requests->connection)
		control_connection_free(requests->connection);
	free(requests);
}
