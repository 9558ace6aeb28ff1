// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <uuid/uuid.h>

#include "controller/requests-internal.h"

static void remove_entry(struct entry *entry)
{
	struct entry **link = &entry->requests->entries;

	while (*link != entry)
		link = &(*link)->next;
	*link = entry->next;
	cleanup_close(&entry->relay_fd);
	free(entry);
}

static void entry_closed(void *opaque)
{
	struct entry *entry = opaque;
	struct requests *requests = entry->requests;

	if (entry->going)
		control_request_reply(entry->going, NULL);
	remove_entry(entry);
	requests_end_when_empty(requests);
}

/* A device that is not ready yet is closed by device_ready(). */
void request_controller_close(struct entry *entry)
{
	if (entry->closing)
		return;
	entry->closing = true;
	requests_introduce(entry->requests);
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
	requests_introduce(requests);
	if (err) {
		control_request_fail(request, err);
	} else {
		struct json_object *result = json_object_new_object();

		json_add_u64(result, "state_bytes", device_travelling_size(device));
		control_request_reply(request, result);
	}
	if (!device) {
		remove_entry(entry);
		requests_end_when_empty(requests);
	} else if (err || entry->closing) {
		entry->closing = false;
		request_controller_close(entry);
	}
}

/* @data: taken over, the index is added */
static void tell(struct entry *entry, const char *event, struct json_object *data)
{
	json_add_u64(data, "index", entry->index);
	if (entry->requests->connection)
		control_connection_event(entry->requests->connection, event, data);
	else
		json_object_put(data);
}

static void device_disconnected(void *opaque, struct device *device)
{
	tell(opaque, "closed", json_object_new_object());
}

static void device_silent(void *opaque, struct device *device)
{
	tell(opaque, "silent", json_object_new_object());
}

static void device_io_error(void *opaque, struct device *device, uint32_t nsid, enum block_op op,
			    int error)
{
	static const char *const names[] = { "read", "write", "flush", "write-zeroes", "discard" };
	struct json_object *data = json_object_new_object();

	json_add_u64(data, "nsid", nsid);
	json_add_string(data, "operation", names[op]);
	json_add_u64(data, "code", error);
	tell(opaque, "io-error", data);
}

static void device_block_size(void *opaque, struct device *device, uint32_t nsid,
			      uint32_t block_size)
{
	struct json_object *data = json_object_new_object();

	json_add_u64(data, "nsid", nsid);
	json_add_u64(data, "block_size", block_size);
	tell(opaque, "block-size", data);
}

static int parse_controller(struct json_object *arguments, struct nvme_controller_config *ret,
			    struct error **errp)
{
	const char *serial = json_string(arguments, "serial", errp);
	const char *uuid = json_string_or(arguments, "uuid", "");
	const char *subsystem = json_string_or(arguments, "subsystem", NULL);
	const char *doorbells = json_string_or(arguments, "doorbells", "auto");
	uint64_t queues = json_u64_or(arguments, "queues", 0);
	uint64_t cntlid = json_u64_or(arguments, "cntlid", 0);

	if (string_equal(doorbells, "trapped"))
		ret->doorbells = NVME_DOORBELLS_TRAPPED;
	if (!serial)
		return -EINVAL;
	if (strlen(serial) >= sizeof(ret->serial))
		return error_set(errp, EINVAL, "the serial number \"%s\" is too long", serial);
	memcpy(ret->serial, serial, strlen(serial) + 1);
	if (uuid_parse(uuid, ret->uuid) < 0)
		return error_set(errp, EINVAL, "\"%s\" is not a UUID", uuid);
	if (subsystem && uuid_parse(subsystem, ret->subsystem) < 0)
		return error_set(errp, EINVAL, "\"%s\" is not a UUID", subsystem);
	if (queues < 1 || queues > 64)
		return error_set(errp, EINVAL, "there are 1 to 64 queues");
	ret->queues = queues;
	if (cntlid > NVME_MAX_CNTLID)
		return error_set(errp, EINVAL, "a controller id is 0 to %u", NVME_MAX_CNTLID);
	ret->cntlid = cntlid;
	ret->frozen = json_bool_or(arguments, "frozen", false);
	ret->poison = json_bool_or(arguments, "poison", false);
	return 0;
}

void request_add_controller(struct requests *requests, struct control_request *request,
			    struct json_object *arguments, int *fds, size_t fd_count)
{
	struct device_config config = { .index = json_u64_or(arguments, "index", 0) };
	struct device_events events = { .ready = device_ready,
					.disconnected = device_disconnected,
					.io_error = device_io_error,
					.silent = device_silent,
					.block_size = device_block_size };
	struct error *err = NULL;
	struct entry *entry;

	if (fd_count < 2) {
		requests_fail(request, EINVAL, "a state file and a relay channel are needed");
		return;
	}
	if (requests_find(requests, config.index)) {
		requests_fail(request, EEXIST, "there is a controller of that index");
		return;
	}
	if (parse_controller(arguments, &config.nvme, &err) < 0) {
		control_request_fail(request, err);
		return;
	}
	entry = calloc(1, sizeof(*entry));
	if (!entry) {
		requests_fail(request, ENOMEM, "out of memory");
		return;
	}
	entry->requests = requests;
	entry->index = config.index;
	entry->coming = request;
	entry->relay_fd = steal_fd(&fds[1]);
	entry->next = requests->entries;
	requests->entries = entry;
	events.opaque = entry;
	if (!device_new(requests->event, requests->threads, &config, steal_fd(&fds[0]),
			fd_count > 3 ? steal_fd(&fds[3]) : -1, &events, &err)) {
		control_request_fail(request, err);
		remove_entry(entry);
	}
}

static void leave_frozen(void *opaque, int error)
{
	request_controller_close(opaque);
}

void request_remove_controller(struct requests *requests, struct control_request *request,
			       struct json_object *arguments, int *fds, size_t fd_count)
{
	struct entry *entry = requests_find_ready(requests, request, arguments);

	if (!entry)
		return;
	if (!json_bool_or(arguments, "keep_state", false)) {
		entry->going = request;
		request_controller_close(entry);
	} else if (device_freeze(entry->device, false, leave_frozen, entry) == 0) {
		entry->going = request;
	} else {
		requests_fail(request, EBUSY, "the controller is being frozen");
	}
}
