// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>

#include "controller/message-mode.h"
#include "controller/requests-internal.h"
#include "controller/state-file.h"

/* Before and after another process goes on with the devices, here or on another host. */

static void one_left(void *opaque, bool still_on)
{
	struct requests *requests = opaque;
	struct control_request *request = requests->leaving;

	requests->leaving_count--;
	if (request && still_on) {
		requests->leaving = NULL;
		requests_fail(request, ECANCELED, "message mode was entered again");
	} else if (request && !requests->leaving_count) {
		requests->leaving = NULL;
		control_request_reply(request, NULL);
	}
}

static void enter_message_mode(struct requests *requests, struct control_request *request,
			       uint64_t since)
{
	struct entry *entry;

	/* One barrier for all. */
	io_threads_pause(requests->threads);
	for (entry = requests->entries; entry; entry = entry->next)
		if (entry->device)
			message_mode_enter(device_message_mode(entry->device), since);
	io_threads_resume(requests->threads);
	control_request_reply(request, NULL);
}

static void leave_message_mode(struct requests *requests, struct control_request *request)
{
	struct entry *entry;

	if (requests->leaving) {
		requests_fail(request, EALREADY, "message mode is being left already");
		return;
	}
	requests->leaving = request;
	requests->leaving_count = 1;
	for (entry = requests->entries; entry; entry = entry->next) {
		if (!entry->device)
			continue;
		requests->leaving_count++;
		message_mode_leave(device_message_mode(entry->device), one_left, requests);
	}
	one_left(requests, false);
}

void request_message_mode(struct requests *requests, struct control_request *request,
			  struct json_object *arguments, int *fds, size_t fd_count)
{
	uint64_t since = json_u64_or(arguments, "since", 0);

	if (!json_bool_or(arguments, "enabled", false))
		leave_message_mode(requests, request);
	else if (!since)
		requests_fail(request, EINVAL, "\"since\" is needed to enter message mode");
	else
		enter_message_mode(requests, request, since);
}

static void thaw_all(struct requests *requests)
{
	struct entry *entry;

	for (entry = requests->entries; entry; entry = entry->next)
		if (entry->device && !entry->closing)
			device_thaw(entry->device);
}

static void one_frozen(void *opaque, int error)
{
	struct requests *requests = opaque;
	struct control_request *request = requests->freeze;
	struct error *err = NULL;

	if (error)
		requests->freeze_error = error;
	if (--requests->freezing)
		return;
	requests->freeze = NULL;
	if (!requests->freeze_error) {
		control_request_reply(request, NULL);
		return;
	}
	thaw_all(requests);
	error_set_errno(&err, -requests->freeze_error, "cannot synchronise an image");
	control_request_fail(request, err);
}

void request_freeze(struct requests *requests, struct control_request *request,
		    struct json_object *arguments, int *fds, size_t fd_count)
{
	bool sync = json_bool_or(arguments, "sync", true);
	struct entry *entry;

	if (requests->freeze) {
		requests_fail(request, EALREADY, "freezing already");
		return;
	}
	for (entry = requests->entries; entry; entry = entry->next) {
		if (entry->device && !entry->closing)
			continue;
		requests_fail(request, EBUSY, "a controller is on its way");
		return;
	}
	requests->freeze = request;
	requests->freeze_error = 0;
	requests->freezing = 1; /* ours, until all are asked */
	for (entry = requests->entries; entry; entry = entry->next) {
		requests->freezing++;
		if (device_freeze(entry->device, sync, one_frozen, requests) < 0)
			one_frozen(requests, -EBUSY);
	}
	one_frozen(requests, 0);
}

void request_thaw(struct requests *requests, struct control_request *request,
		  struct json_object *arguments, int *fds, size_t fd_count)
{
	if (requests->freeze) {
		requests_fail(request, EBUSY, "freezing");
		return;
	}
	thaw_all(requests);
	control_request_reply(request, NULL);
}

void request_pci_config(struct requests *requests, struct control_request *request,
			struct json_object *arguments, int *fds, size_t fd_count)
{
	struct entry *entry = requests_find_ready(requests, request, arguments);
	struct json_object *result;
	uint8_t bytes[256];
	char hex[2 * sizeof(bytes) + 1];
	size_t i;

	if (!entry)
		return;
	device_read_pci_config(entry->device, bytes);
	for (i = 0; i < sizeof(bytes); i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
	result = json_object_new_object();
	json_add_string(result, "config", hex);
	control_request_reply(request, result);
}

void request_overlay_bound(struct requests *requests, struct control_request *request,
			   struct json_object *arguments, int *fds, size_t fd_count)
{
	struct entry *entry = requests_find_ready(requests, request, arguments);
	struct json_object *result;
	uint64_t bytes;

	if (!entry)
		return;
	bytes = device_overlay_bound(entry->device);
	result = json_object_new_object();
	if (bytes != UINT64_MAX)
		json_add_u64(result, "bytes", bytes);
	control_request_reply(request, result);
}

/* Whose overlay is in the file that comes along; NULL after having refused. */
static struct device *find_with_file(struct requests *requests, struct control_request *request,
				     struct json_object *arguments, size_t fd_count)
{
	struct entry *entry = requests_find_ready(requests, request, arguments);

	if (!entry)
		return NULL;
	if (fd_count)
		return entry->device;
	requests_fail(request, EINVAL, "a file is needed");
	return NULL;
}

void request_overlay_export(struct requests *requests, struct control_request *request,
			    struct json_object *arguments, int *fds, size_t fd_count)
{
	struct device *device = find_with_file(requests, request, arguments, fd_count);
	struct error *err = NULL;
	struct json_object *result;
	uint32_t ranges;
	uint64_t bytes;

	if (!device)
		return;
	if (device_export_overlay(device, fds[0], json_u64_or(arguments, "stopped", 0),
				  json_u64_or(arguments, "limit", 0), &ranges, &bytes, &err) < 0) {
		control_request_fail(request, err);
		return;
	}
	result = json_object_new_object();
	json_add_u64(result, "ranges", ranges);
	json_add_u64(result, "bytes", bytes);
	control_request_reply(request, result);
}

void request_overlay_apply(struct requests *requests, struct control_request *request,
			   struct json_object *arguments, int *fds, size_t fd_count)
{
	struct device *device = find_with_file(requests, request, arguments, fd_count);
	struct error *err = NULL;
	struct json_object *result;
	uint32_t ranges;

	if (!device)
		return;
	if (device_apply_overlay(device, fds[0], &ranges, &err) < 0) {
		control_request_fail(request, err);
		return;
	}
	result = json_object_new_object();
	json_add_u64(result, "ranges", ranges);
	control_request_reply(request, result);
}

/* Could this program go on with what another one has written? */
void request_judge_state(struct requests *requests, struct control_request *request,
			 struct json_object *arguments, int *fds, size_t fd_count)
{
	struct error *err = NULL;

	if (fd_count != 1)
		error_set(&err, EINVAL, "a state file is needed");
	else
		state_file_judge(fds[0], json_u64_or(arguments, "queues", 0), &err);
	if (err)
		control_request_fail(request, err);
	else
		control_request_reply(request, NULL);
}
