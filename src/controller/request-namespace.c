// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>

#include "base/cpuset.h"
#include "controller/namespace-spec.h"
#include "controller/namespaces.h"
#include "controller/requests-internal.h"

void request_add_namespace(struct requests *requests, struct control_request *request,
			   struct json_object *arguments, int *fds, size_t fd_count)
{
	struct entry *entry = requests_find_ready(requests, request, arguments);
	struct namespace_spec spec;
	const struct block_info *info;
	_cleanup_(reservation_fds_close) struct reservation_fds reservations = RESERVATION_FDS_NONE;
	_cleanup_close_ int lock_fd = -1;
	struct error *err = NULL;
	struct json_object *result;
	struct block *block;

	if (!entry)
		return;
	if (namespace_spec_from_json(json_child(arguments, "namespace", json_type_object), &spec,
				     &err) < 0)
		goto fail;
	if (spec.reservations && spec.persistence && fd_count > 3)
		reservations.durable = steal_fd(&fds[--fd_count]);
	if (spec.reservations && fd_count > 2) {
		reservations.watch = steal_fd(&fds[--fd_count]);
		reservations.file = steal_fd(&fds[--fd_count]);
	}
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
	if (namespaces_attach(device_namespaces(entry->device), &spec.nvme, block,
			      steal_fd(&lock_fd), reservation_fds_steal(&reservations), &err) < 0) {
		json_object_put(result);
		goto fail;
	}
	requests_introduce(requests);
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

void request_remove_namespace(struct requests *requests, struct control_request *request,
			      struct json_object *arguments, int *fds, size_t fd_count)
{
	struct entry *entry = requests_find_ready(requests, request, arguments);

	if (!entry)
		return;
	if (namespaces_detach(device_namespaces(entry->device), json_u64_or(arguments, "nsid", 0),
			      namespace_removed, request) < 0)
		requests_fail(request, ENOENT, "there is no such namespace");
	requests_introduce(requests);
}

void request_set_block_size(struct requests *requests, struct control_request *request,
			    struct json_object *arguments, int *fds, size_t fd_count)
{
	struct entry *entry = requests_find_ready(requests, request, arguments);
	uint64_t block_size = json_u64_or(arguments, "block_size", 0);
	int ret;

	if (!entry)
		return;
	ret = namespaces_set_block_size(device_namespaces(entry->device),
					json_u64_or(arguments, "nsid", 0),
					MIN(block_size, (uint64_t)UINT32_MAX));
	if (ret < 0)
		requests_fail(request, -ret, strerror(-ret));
	else
		control_request_reply(request, NULL);
}

void request_set_iotune(struct requests *requests, struct control_request *request,
			struct json_object *arguments, int *fds, size_t fd_count)
{
	struct entry *entry = requests_find_ready(requests, request, arguments);
	struct nvme_limits limits;
	int ret;

	if (!entry)
		return;
	namespace_spec_limits(json_child(arguments, "iotune", json_type_object), &limits);
	ret = namespaces_set_limits(device_namespaces(entry->device),
				    json_u64_or(arguments, "nsid", 0), &limits);
	if (ret < 0)
		requests_fail(request, -ret, strerror(-ret));
	else
		control_request_reply(request, NULL);
}

void request_retry(struct requests *requests, struct control_request *request,
		   struct json_object *arguments, int *fds, size_t fd_count)
{
	const struct entry *entry;

	for (entry = requests->entries; entry; entry = entry->next)
		if (entry->device && !entry->closing)
			device_retry(entry->device, json_bool_or(arguments, "give_up", false));
	control_request_reply(request, NULL);
}

void request_guest_ran(struct requests *requests, struct control_request *request,
		       struct json_object *arguments, int *fds, size_t fd_count)
{
	struct entry *entry = requests_find_ready(requests, request, arguments);

	if (!entry)
		return;
	device_guest_ran(entry->device, json_u64_or(arguments, "ms", 0));
	control_request_reply(request, NULL);
}

static struct json_object *describe_threads(const struct io_threads *threads)
{
	struct json_object *list = json_object_new_array();
	unsigned i;

	for (i = 0; i < io_threads_count(threads); i++) {
		const cpu_set_t *pin = io_threads_pin(threads, i);
		_cleanup_free_ char *wanted = pin ? cpuset_format(pin) : NULL, *runs = NULL;
		struct json_object *json = json_object_new_object();
		cpu_set_t set;

		json_add_u64(json, "iothread", i + 1);
		json_add_string(json, "cpuset", wanted);
		if (io_threads_affinity(threads, i, &set) == 0)
			runs = cpuset_format(&set);
		json_add_string(json, "affinity", runs);
		json_object_array_add(list, json);
	}
	return list;
}

void request_counters(struct requests *requests, struct control_request *request,
		      struct json_object *arguments, int *fds, size_t fd_count)
{
	struct json_object *result = json_object_new_object();
	struct json_object *list = json_object_new_array();
	const struct entry *entry;

	for (entry = requests->entries; entry; entry = entry->next)
		if (entry->device && !entry->closing)
			json_object_array_add(list, device_describe(entry->device));
	json_add(result, "controllers", list);
	json_add(result, "iothreads", describe_threads(requests->threads));
	control_request_reply(request, result);
}
