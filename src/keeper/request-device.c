// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "base/i18n.h"
#include "keeper/keeper.h"
#include "keeper/requests-internal.h"

/* Controllers and disks come, change and go. */

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

/* A device_done: the controller's answer is ours. */
static void pass_on(void *opaque, struct json_object *result, const struct error *err)
{
	struct pending *pending = opaque;

	if (err)
		requests_fail_copy(pending->request, err);
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
		requests_fail_copy(pending->request, err);
		if (device)
			keeper_drop_device(pending->keeper, device);
	}
	free(pending);
}

void request_add_controller(struct keeper *keeper, struct control_request *request,
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

void request_remove_controller(struct keeper *keeper, struct control_request *request,
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

void request_add_namespace(struct keeper *keeper, struct control_request *request,
			   struct json_object *arguments)
{
	struct device *device = find_device(keeper, request, arguments);

	if (device)
		device_add_namespace(device, json_child(arguments, "namespace", json_type_object),
				     answer_empty, new_pending(keeper, request, 0));
}

void request_remove_namespace(struct keeper *keeper, struct control_request *request,
			      struct json_object *arguments)
{
	struct device *device = find_device(keeper, request, arguments);

	if (device)
		device_remove_namespace(device, json_u64_or(arguments, "nsid", 0), answer_empty,
					new_pending(keeper, request, 0));
}

void request_resize_namespace(struct keeper *keeper, struct control_request *request,
			      struct json_object *arguments)
{
	struct device *device = find_device(keeper, request, arguments);

	if (device)
		device_resize_namespace(device, json_u64_or(arguments, "nsid", 0),
					json_u64_or(arguments, "limit", 0), pass_on,
					new_pending(keeper, request, 0));
}

void request_set_block_size(struct keeper *keeper, struct control_request *request,
			    struct json_object *arguments)
{
	struct device *device = find_device(keeper, request, arguments);
	uint64_t nsid = json_u64_or(arguments, "nsid", 0);
	uint64_t block_size = json_u64_or(arguments, "block_size", 0);
	const struct device_namespace *ns;
	struct error *err = NULL;

	if (!device)
		return;
	ns = device_find_namespace(device, nsid);
	if (!ns || !block_size || device_next_block_size(ns) != block_size) {
		error_set(&err, EINVAL, _("nvme%un%llu is not being formatted to that"),
			  device->config.index, (unsigned long long)nsid);
		control_request_fail(request, err);
		return;
	}
	device_set_block_size(device, nsid, block_size, answer_empty,
			      new_pending(keeper, request, 0));
}

void request_set_iotune(struct keeper *keeper, struct control_request *request,
			struct json_object *arguments)
{
	struct device *device = find_device(keeper, request, arguments);

	if (device)
		device_set_iotune(device, json_u64_or(arguments, "nsid", 0),
				  json_child(arguments, "iotune", json_type_object), answer_empty,
				  new_pending(keeper, request, 0));
}
