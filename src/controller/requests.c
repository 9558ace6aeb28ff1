// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/requests.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <uuid/uuid.h>

#include "base/log.h"
#include "control/channel.h"
#include "control/commands.h"
#include "controller/device.h"
#include "controller/message-mode.h"
#include "controller/state-file.h"

/* A device, and who waits for it to come or to go. */
struct entry {
	struct requests *requests;
	struct entry *next;
	unsigned index;
	struct device *device; /* NULL until it is ready */
	int relay_fd;	       /* until then */
	bool closing;
	struct control_request *coming, *going;
};

struct requests {
	sd_event *event;
	struct io_threads *threads;
	struct control_connection *connection; /* NULL: the keeper has gone */
	struct entry *entries;
	bool stopping;
	struct control_request *stop;
	struct control_request *leaving; /* message mode, of so many devices */
	unsigned leaving_count;

	struct control_request *freeze;
	unsigned freezing; /* devices that have not answered */
	int freeze_error;
};

/* A namespace on its way out. */
struct removal {
	struct control_request *request;
};

static void fail(struct control_request *request, int code, const char *sentence)
{
	struct error *err = NULL;

	error_set(&err, code, "%s", sentence);
	control_request_fail(request, err);
}

static struct entry *find_entry(struct requests *requests, uint64_t index)
{
	struct entry *entry;

	for (entry = requests->entries; entry; entry = entry->next)
		if (entry->index == index)
			return entry;
	return NULL;
}

static struct entry *find_ready(struct requests *requests, struct control_request *request,
				struct json_object *arguments)
{
	struct entry *entry = find_entry(requests, json_u64_or(arguments, "index", UINT64_MAX));

	if (entry && entry->device && !entry->closing)
		return entry;
	fail(request, ENOENT, "there is no such controller");
	return NULL;
}

static void remove_entry(struct entry *entry)
{
	struct entry **link = &entry->requests->entries;

	while (*link != entry)
		link = &(*link)->next;
	*link = entry->next;
	cleanup_close(&entry->relay_fd);
	free(entry);
}

static void end_when_empty(struct requests *requests)
{
	if (!requests->stopping || requests->entries)
		return;
	if (requests->stop) {
		control_request_reply(requests->stop, NULL);
		requests->stop = NULL;
	}
	sd_event_exit(requests->event, 0);
}

static void entry_closed(void *opaque)
{
	struct entry *entry = opaque;
	struct requests *requests = entry->requests;

	if (entry->going)
		control_request_reply(entry->going, NULL);
	remove_entry(entry);
	end_when_empty(requests);
}

/* A device that is not ready yet is closed by device_ready(). */
static void close_entry(struct entry *entry)
{
	if (entry->closing)
		return;
	entry->closing = true;
	if (entry->device)
		device_close(entry->device, entry_closed, entry);
}

static int connect_relay(struct entry *entry, struct error **errp)
{
	struct vfio_user_transport *transport;
	int fd = steal_fd(&entry->relay_fd);

	transport = vfio_user_transport_relay_new(fd);
	if (!transport)
		return error_set(errp, ENOMEM, "out of memory");
	return device_connect(entry->device, transport, errp);
}

static void device_ready(void *opaque, struct device *device, struct error *err)
{
	struct entry *entry = opaque;
	struct requests *requests = entry->requests;
	struct control_request *request = entry->coming;

	entry->coming = NULL;
	entry->device = device;
	if (device && !entry->closing)
		connect_relay(entry, &err);
	if (err) {
		control_request_fail(request, err);
	} else {
		struct json_object *result = json_object_new_object();

		json_add_u64(result, "state_bytes", state_file_travelling_size());
		control_request_reply(request, result);
	}
	if (!device) {
		remove_entry(entry);
		end_when_empty(requests);
	} else if (err || entry->closing) {
		entry->closing = false;
		close_entry(entry);
	}
}

static void device_disconnected(void *opaque, struct device *device)
{
	struct entry *entry = opaque;
	struct json_object *data = json_object_new_object();

	json_add_u64(data, "index", entry->index);
	if (entry->requests->connection)
		control_connection_event(entry->requests->connection, "closed", data);
	else
		json_object_put(data);
}

static void device_io_error(void *opaque, struct device *device, uint32_t nsid, enum block_op op,
			    int error)
{
	static const char *const names[] = { "read", "write", "flush", "write-zeroes", "discard" };
	struct entry *entry = opaque;
	struct json_object *data = json_object_new_object();

	json_add_u64(data, "index", entry->index);
	json_add_u64(data, "nsid", nsid);
	json_add_string(data, "operation", names[op]);
	json_add_u64(data, "code", error);
	if (entry->requests->connection)
		control_connection_event(entry->requests->connection, "io-error", data);
	else
		json_object_put(data);
}

static int parse_controller(struct json_object *arguments, struct nvme_controller_config *ret,
			    struct error **errp)
{
	const char *serial = json_string(arguments, "serial", errp);
	const char *uuid = json_string_or(arguments, "uuid", "");
	uint64_t queues = json_u64_or(arguments, "queues", 0);

	if (!serial)
		return -EINVAL;
	if (strlen(serial) >= sizeof(ret->serial))
		return error_set(errp, EINVAL, "the serial number \"%s\" is too long", serial);
	memcpy(ret->serial, serial, strlen(serial) + 1);
	if (uuid_parse(uuid, ret->uuid) < 0)
		return error_set(errp, EINVAL, "\"%s\" is not a UUID", uuid);
	if (queues < 1 || queues > 64)
		return error_set(errp, EINVAL, "there are 1 to 64 queues");
	ret->queues = queues;
	ret->cntlid = json_u64_or(arguments, "cntlid", 0);
	ret->frozen = json_bool_or(arguments, "frozen", false);
	ret->poison = json_bool_or(arguments, "poison", false);
	return 0;
}

static void add_controller(struct requests *requests, struct control_request *request,
			   struct json_object *arguments, int *fds, size_t fd_count)
{
	struct device_config config = { .index = json_u64_or(arguments, "index", 0) };
	struct device_events events = { .ready = device_ready,
					.disconnected = device_disconnected,
					.io_error = device_io_error };
	struct error *err = NULL;
	struct entry *entry;

	if (fd_count < 2) {
		fail(request, EINVAL, "a state file and a relay channel are needed");
		return;
	}
	if (find_entry(requests, config.index)) {
		fail(request, EEXIST, "there is a controller of that index");
		return;
	}
	if (parse_controller(arguments, &config.nvme, &err) < 0) {
		control_request_fail(request, err);
		return;
	}
	entry = calloc(1, sizeof(*entry));
	if (!entry) {
		fail(request, ENOMEM, "out of memory");
		return;
	}
	entry->requests = requests;
	entry->index = config.index;
	entry->coming = request;
	entry->relay_fd = steal_fd(&fds[1]);
	entry->next = requests->entries;
	requests->entries = entry;
	events.opaque = entry;
	if (!device_new(requests->event, requests->threads, &config, steal_fd(&fds[0]), &events,
			&err)) {
		control_request_fail(request, err);
		remove_entry(entry);
	}
}

static void leave_frozen(void *opaque, int error)
{
	close_entry(opaque);
}

/* Could this program go on with what another one has written? */
static void judge_state(struct requests *requests, struct control_request *request,
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

static void remove_controller(struct requests *requests, struct control_request *request,
			      struct json_object *arguments, int *fds, size_t fd_count)
{
	struct entry *entry = find_ready(requests, request, arguments);

	if (!entry)
		return;
	if (!json_bool_or(arguments, "keep_state", false)) {
		entry->going = request;
		close_entry(entry);
	} else if (device_freeze(entry->device, false, leave_frozen, entry) == 0) {
		entry->going = request;
	} else {
		fail(request, EBUSY, "the controller is being frozen");
	}
}

static void add_namespace(struct requests *requests, struct control_request *request,
			  struct json_object *arguments, int *fds, size_t fd_count)
{
	struct entry *entry = find_ready(requests, request, arguments);
	struct namespace_spec spec;
	const struct block_info *info;
	_cleanup_close_ int lock_fd = -1;
	struct error *err = NULL;
	struct json_object *result;
	struct block *block;

	if (!entry)
		return;
	if (namespace_spec_from_json(json_child(arguments, "namespace", json_type_object), &spec,
				     &err) < 0)
		goto fail;
	if (fd_count) {
		lock_fd = fcntl(fds[0], F_DUPFD_CLOEXEC, 3);
		if (lock_fd < 0) {
			error_set_errno(&err, errno, "cannot keep the image");
			goto fail;
		}
	}
	block = namespace_spec_open(&spec, fds, fd_count, &err);
	if (!block)
		goto fail;
	info = block_get_info(block);
	result = json_object_new_object();
	json_add_u64(result, "capacity", info->capacity);
	if (device_attach(entry->device, &spec.nvme, block, steal_fd(&lock_fd), &err) < 0) {
		json_object_put(result);
		goto fail;
	}
	json_add_u64(result, "block_size",
		     spec.nvme.block_size ? spec.nvme.block_size : MAX(info->block_size, 512u));
	control_request_reply(request, result);
	return;

fail:
	control_request_fail(request, err);
}

static void namespace_removed(void *opaque)
{
	control_request_reply(opaque, NULL);
}

static void remove_namespace(struct requests *requests, struct control_request *request,
			     struct json_object *arguments, int *fds, size_t fd_count)
{
	struct entry *entry = find_ready(requests, request, arguments);

	if (entry && device_detach(entry->device, json_u64_or(arguments, "nsid", 0),
				   namespace_removed, request) < 0)
		fail(request, ENOENT, "there is no such namespace");
}

static void resize_namespace(struct requests *requests, struct control_request *request,
			     struct json_object *arguments, int *fds, size_t fd_count)
{
	struct entry *entry = find_ready(requests, request, arguments);
	struct json_object *result;
	uint64_t capacity;
	int ret;

	if (!entry)
		return;
	ret = device_resize(entry->device, json_u64_or(arguments, "nsid", 0), &capacity);
	if (ret < 0) {
		fail(request, -ret, strerror(-ret));
		return;
	}
	result = json_object_new_object();
	json_add_u64(result, "capacity", capacity);
	control_request_reply(request, result);
}

static void set_iotune(struct requests *requests, struct control_request *request,
		       struct json_object *arguments, int *fds, size_t fd_count)
{
	struct entry *entry = find_ready(requests, request, arguments);
	struct nvme_limits limits;
	int ret;

	if (!entry)
		return;
	namespace_spec_limits(json_child(arguments, "iotune", json_type_object), &limits);
	ret = device_set_limits(entry->device, json_u64_or(arguments, "nsid", 0), &limits);
	if (ret < 0)
		fail(request, -ret, strerror(-ret));
	else
		control_request_reply(request, NULL);
}

static void retry(struct requests *requests, struct control_request *request,
		  struct json_object *arguments, int *fds, size_t fd_count)
{
	const struct entry *entry;

	for (entry = requests->entries; entry; entry = entry->next)
		if (entry->device && !entry->closing)
			device_retry(entry->device, json_bool_or(arguments, "give_up", false));
	control_request_reply(request, NULL);
}

static void one_left(void *opaque, bool still_on)
{
	struct requests *requests = opaque;
	struct control_request *request = requests->leaving;

	requests->leaving_count--;
	if (request && still_on) {
		requests->leaving = NULL;
		fail(request, ECANCELED, "message mode was entered again");
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
		fail(request, EALREADY, "message mode is being left already");
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

static void message_mode(struct requests *requests, struct control_request *request,
			 struct json_object *arguments, int *fds, size_t fd_count)
{
	uint64_t since = json_u64_or(arguments, "since", 0);

	if (!json_bool_or(arguments, "enabled", false))
		leave_message_mode(requests, request);
	else if (!since)
		fail(request, EINVAL, "\"since\" is needed to enter message mode");
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

static void freeze(struct requests *requests, struct control_request *request,
		   struct json_object *arguments, int *fds, size_t fd_count)
{
	bool sync = json_bool_or(arguments, "sync", true);
	struct entry *entry;

	if (requests->freeze) {
		fail(request, EALREADY, "freezing already");
		return;
	}
	for (entry = requests->entries; entry; entry = entry->next) {
		if (entry->device && !entry->closing)
			continue;
		fail(request, EBUSY, "a controller is on its way");
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

static void thaw(struct requests *requests, struct control_request *request,
		 struct json_object *arguments, int *fds, size_t fd_count)
{
	if (requests->freeze) {
		fail(request, EBUSY, "freezing");
		return;
	}
	thaw_all(requests);
	control_request_reply(request, NULL);
}

static void pci_config(struct requests *requests, struct control_request *request,
		       struct json_object *arguments, int *fds, size_t fd_count)
{
	struct entry *entry = find_ready(requests, request, arguments);
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

static void overlay_export(struct requests *requests, struct control_request *request,
			   struct json_object *arguments, int *fds, size_t fd_count)
{
	struct entry *entry = find_ready(requests, request, arguments);
	struct error *err = NULL;
	struct json_object *result;
	uint32_t ranges;
	uint64_t bytes;

	if (!entry)
		return;
	if (!fd_count) {
		fail(request, EINVAL, "a file is needed");
		return;
	}
	if (device_export_overlay(entry->device, fds[0], json_u64_or(arguments, "limit", 0),
				  &ranges, &bytes, &err) < 0) {
		control_request_fail(request, err);
		return;
	}
	result = json_object_new_object();
	json_add_u64(result, "ranges", ranges);
	json_add_u64(result, "bytes", bytes);
	control_request_reply(request, result);
}

static void overlay_apply(struct requests *requests, struct control_request *request,
			  struct json_object *arguments, int *fds, size_t fd_count)
{
	struct entry *entry = find_ready(requests, request, arguments);
	struct error *err = NULL;
	struct json_object *result;
	uint32_t ranges;

	if (!entry)
		return;
	if (!fd_count) {
		fail(request, EINVAL, "a file is needed");
		return;
	}
	if (device_apply_overlay(entry->device, fds[0], &ranges, &err) < 0) {
		control_request_fail(request, err);
		return;
	}
	result = json_object_new_object();
	json_add_u64(result, "ranges", ranges);
	control_request_reply(request, result);
}

static void counters(struct requests *requests, struct control_request *request,
		     struct json_object *arguments, int *fds, size_t fd_count)
{
	struct json_object *result = json_object_new_object();
	struct json_object *list = json_object_new_array();
	const struct entry *entry;

	for (entry = requests->entries; entry; entry = entry->next)
		if (entry->device && !entry->closing)
			json_object_array_add(list, device_describe(entry->device));
	json_add(result, "controllers", list);
	control_request_reply(request, result);
}

static void stop(struct requests *requests, struct control_request *request,
		 struct json_object *arguments, int *fds, size_t fd_count)
{
	if (requests->stop) {
		fail(request, EALREADY, "stopping already");
		return;
	}
	requests->stop = request;
	requests_stop(requests);
}

static const struct {
	const char *name;
	void (*run)(struct requests *requests, struct control_request *request,
		    struct json_object *arguments, int *fds, size_t fd_count);
} commands[] = {
	{ "add-controller", add_controller },
	{ "remove-controller", remove_controller },
	{ "add-namespace", add_namespace },
	{ "remove-namespace", remove_namespace },
	{ "resize-namespace", resize_namespace },
	{ "set-iotune", set_iotune },
	{ "retry", retry },
	{ "message-mode", message_mode },
	{ "judge-state", judge_state },
	{ "freeze", freeze },
	{ "thaw", thaw },
	{ "pci-config", pci_config },
	{ "overlay-export", overlay_export },
	{ "overlay-apply", overlay_apply },
	{ "counters", counters },
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
		fail(request, EOPNOTSUPP, "unknown command");
	else if (requests->stopping && commands[i].run != counters)
		fail(request, ESHUTDOWN, "stopping");
	else
		commands[i].run(requests, request, arguments, fds, fd_count);
	fd_close_all(fds, fd_count);
}

static void keeper_gone(void *opaque)
{
	struct requests *requests = opaque;

	requests->connection = NULL;
	log_notice("the keeper has gone");
	requests_stop(requests);
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

void requests_stop(struct requests *requests)
{
	struct entry *entry, *next;

	requests->stopping = true;
	for (entry = requests->entries; entry; entry = next) {
		next = entry->next;
		close_entry(entry);
	}
	end_when_empty(requests);
}

void requests_free(struct requests *requests)
{
	if (!requests)
		return;
	if (requests->connection)
		control_connection_free(requests->connection);
	free(requests);
}
