// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/device.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/i18n.h"
#include "base/log.h"
#include "base/relay-frame.h"
#include "keeper/carry.h"
#include "keeper/device-internal.h"

struct device_namespace *device_find_namespace(struct device *device, uint32_t nsid)
{
	struct device_namespace *ns = device->namespaces;

	while (ns && ns->config.nsid != nsid)
		ns = ns->next;
	return ns;
}

static void free_namespace(struct device_namespace *ns)
{
	image_release(&ns->image);
	json_object_put(ns->json);
	free(ns->problem);
	free(ns);
}

void device_drop_namespace(struct device *device, uint32_t nsid)
{
	struct device_namespace **link = &device->namespaces, *ns;

	while (*link && (*link)->config.nsid != nsid)
		link = &(*link)->next;
	ns = *link;
	if (!ns)
		return;
	*link = ns->next;
	free_namespace(ns);
}

struct device_namespace *device_new_namespace(struct device *device, struct json_object *json,
					      bool locked, struct error **errp)
{
	struct device_namespace *ns = calloc(1, sizeof(*ns)), **link;

	if (!ns) {
		error_set_errno(errp, ENOMEM, "namespace");
		return NULL;
	}
	ns->image.lock_fd = -1;
	ns->json = json_object_get(json);
	if (namespace_config_parse(json, &ns->config, errp) < 0)
		goto fail;
	if (device_find_namespace(device, ns->config.nsid)) {
		error_set(errp, EEXIST, _("controller %u has a namespace %u already"),
			  device->config.index, ns->config.nsid);
		goto fail;
	}
	if ((locked ? image_acquire : image_hold)(&ns->image, &ns->config, errp) < 0)
		goto fail;
	for (link = &device->namespaces; *link; link = &(*link)->next)
		;
	*link = ns;
	return ns;
fail:
	free_namespace(ns);
	return NULL;
}

static void on_client(void *opaque, int fd)
{
	struct device *device = opaque;
	int r = relay_set_client(device->relay, fd);

	if (r < 0)
		log_error("nvme%u: %s", device->config.index, strerror(-r));
	else
		log_info("nvme%u: QEMU is connected", device->config.index);
}

static void on_client_closed(void *opaque)
{
	struct device *device = opaque;

	log_info("nvme%u: QEMU has closed the connection", device->config.index);
}

/* At the end of file the process ends as well, or has, or will say that it has ended the device. */
static void on_controller_closed(void *opaque, const char *why)
{
	struct device *device = opaque;

	if (device->removing || !why)
		return;
	log_error("nvme%u: the controller broke a rule: %s", device->config.index, why);
	supervisor_distrust(device->supervisor, why);
}

static const struct relay_ops relay_ops = { on_client_closed, on_controller_closed };

/* @saved: NULL: it is a new one */
static int make_socket(struct device *device, const struct device_options *options,
		       struct json_object *saved, struct error **errp)
{
	_cleanup_free_ char *path = NULL;
	struct listener_options listener = {
		.uid = options->config->uid,
		.gid = options->config->gid,
		.peer = options->peer,
		.accepted = on_client,
		.opaque = device,
	};

	if (asprintf(&path, "%s/nvme%u.sock", options->config->runtime_dir, device->config.index) <
	    0) {
		path = NULL;
		return error_set_errno(errp, ENOMEM, "nvme%u", device->config.index);
	}
	listener.path = path;
	device->listener = saved ? listener_load(options->event, &listener, saved, errp)
				 : listener_new(options->event, &listener, errp);
	return device->listener ? 0 : -EIO;
}

struct device *device_new(const struct device_options *options, struct json_object *json,
			  struct error **errp)
{
	struct device *device = calloc(1, sizeof(*device));
	size_t i, count;

	if (!device) {
		error_set_errno(errp, ENOMEM, "controller");
		return NULL;
	}
	device->supervisor = options->supervisor;
	device->json = json_object_get(json);
	device->state_fd = device->doorbell_fd = -1;
	if (controller_config_parse(json, &device->config, errp) < 0)
		goto fail;
	count = device->config.namespaces ? json_object_array_length(device->config.namespaces) : 0;
	for (i = 0; i < count; i++)
		if (!device_new_namespace(device,
					  json_object_array_get_idx(device->config.namespaces, i),
					  !options->unlocked, errp))
			goto fail;
	device->state_fd = memfd_create("virtnvme-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (device->state_fd < 0) {
		error_set_errno(errp, errno, _("cannot create the state file"));
		goto fail;
	}
	if (string_equal(device->config.doorbells, "mapped")) {
		device->doorbell_fd = fd_sealed_memfd("virtnvme-doorbells", RELAY_DOORBELLS_SIZE);
		if (device->doorbell_fd < 0) {
			error_set_errno(errp, -device->doorbell_fd,
					_("cannot create the state file"));
			goto fail;
		}
	}
	device->relay = relay_new(options->event, device->config.index, &relay_ops, device);
	if (!device->relay) {
		error_set_errno(errp, ENOMEM, _("cannot create the relay"));
		goto fail;
	}
	if (make_socket(device, options, NULL, errp) < 0)
		goto fail;
	return device;
fail:
	device_free(device);
	return NULL;
}

static struct json_object *save_namespace(const struct device_namespace *ns)
{
	struct json_object *json = json_object_new_object();

	json_add(json, "config", json_object_get(ns->json));
	carry_fd(json, "lock", ns->image.lock_fd);
	json_add_u64(json, "capacity", ns->capacity);
	json_add_bool(json, "persistent", ns->persistent);
	json_add_string(json, "problem", ns->problem);
	return json;
}

struct json_object *device_save(const struct device *device)
{
	struct json_object *json = json_object_new_object(), *list = json_object_new_array();
	const struct device_namespace *ns;

	json_add(json, "config", json_object_get(device->json));
	carry_fd(json, "state", device->state_fd);
	carry_fd(json, "doorbells", device->doorbell_fd);
	json_add(json, "listener", listener_save(device->listener));
	json_add(json, "relay", relay_save(device->relay));
	json_add_u64(json, "state_bytes", device->state_bytes);
	for (ns = device->namespaces; ns; ns = ns->next)
		json_object_array_add(list, save_namespace(ns));
	json_add(json, "namespaces", list);
	return json;
}

static int load_namespace(struct device *device, struct json_object *json, struct error **errp)
{
	struct device_namespace *ns = calloc(1, sizeof(*ns)), **link;
	const char *problem = json_string_or(json, "problem", NULL);

	if (!ns)
		return error_set_errno(errp, ENOMEM, "namespace");
	ns->image.lock_fd = carried_fd(json, "lock");
	ns->capacity = json_u64_or(json, "capacity", 0);
	ns->persistent = json_bool_or(json, "persistent", false);
	ns->problem = problem ? strdup(problem) : NULL;
	ns->json = json_object_get(json_child(json, "config", json_type_object));
	for (link = &device->namespaces; *link; link = &(*link)->next)
		;
	*link = ns;
	return namespace_config_parse(ns->json, &ns->config, errp);
}

struct device *device_load(const struct device_options *options, struct json_object *json,
			   struct error **errp)
{
	struct json_object *list = json_child(json, "namespaces", json_type_array);
	struct device *device = calloc(1, sizeof(*device));
	size_t i;
	int r;

	if (!device) {
		error_set_errno(errp, ENOMEM, "controller");
		return NULL;
	}
	device->supervisor = options->supervisor;
	device->json = json_object_get(json_child(json, "config", json_type_object));
	device->state_fd = carried_fd(json, "state");
	device->doorbell_fd = carried_fd(json, "doorbells");
	device->state_bytes = json_u64_or(json, "state_bytes", 0);
	r = controller_config_parse(device->json, &device->config, errp);
	for (i = 0; r == 0 && list && i < json_object_array_length(list); i++)
		r = load_namespace(device, json_object_array_get_idx(list, i), errp);
	if (r < 0)
		goto fail;
	device->relay = relay_new(options->event, device->config.index, &relay_ops, device);
	r = device->relay ? relay_load(device->relay, json_child(json, "relay", json_type_object))
			  : -ENOMEM;
	if (r < 0) {
		error_set_errno(errp, -r, _("cannot create the relay"));
		goto fail;
	}
	if (make_socket(device, options, json_child(json, "listener", json_type_object), errp) < 0)
		goto fail;
	return device;
fail:
	device_free(device);
	return NULL;
}

void device_free(struct device *device)
{
	if (!device)
		return;
	listener_free(device->listener);
	relay_free(device->relay);
	while (device->namespaces) {
		struct device_namespace *ns = device->namespaces;

		device->namespaces = ns->next;
		free_namespace(ns);
	}
	cleanup_close(&device->state_fd);
	cleanup_close(&device->doorbell_fd);
	json_object_put(device->json);
	free(device);
}

int device_lock_images(struct device *device, struct error **errp)
{
	struct device_namespace *ns, *locked;
	int r = 0;

	for (ns = device->namespaces; ns && r == 0; ns = ns->next) {
		r = image_lock(&ns->image, &ns->config, errp);
		if (r < 0)
			break;
	}
	for (locked = device->namespaces; r < 0 && locked != ns; locked = locked->next)
		image_unlock(&locked->image);
	return r;
}

void device_unlock_images(struct device *device)
{
	struct device_namespace *ns;

	for (ns = device->namespaces; ns; ns = ns->next)
		image_unlock(&ns->image);
}

uint64_t device_next_block_size(const struct device_namespace *ns)
{
	return json_u64_or(ns->json, "next_block_size", 0);
}

int device_check_size(const struct device *device, struct error **errp)
{
	const struct device_namespace *ns;

	for (ns = device->namespaces; ns; ns = ns->next) {
		if (device_next_block_size(ns))
			return error_set(errp, EBUSY,
					 _("nvme%un%u is being formatted to another block size, "
					   "which is not in the definition yet; try again"),
					 device->config.index, ns->config.nsid);
		if (json_u64_or(ns->json, "limit", 0))
			return error_set(
				errp, EBUSY,
				_("nvme%un%u is being made smaller; if nothing does that any "
				  "more, finish it by `virt-nvme resize` without a size"),
				device->config.index, ns->config.nsid);
	}
	return 0;
}
