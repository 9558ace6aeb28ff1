// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/i18n.h"
#include "keeper/device-internal.h"
#include "keeper/faults.h"
#include "keeper/reservations.h"

/*
 * Theory of operation
 *
 * What the controller is asked to do with a device. It may die before it answers. Its successor is
 * given every device and namespace as the keeper has them, so what is to be added or changed is put
 * there first, and taken back if the answer is an error; what only the controller knows is asked of
 * the successor again.
 */

/* A call to the controller that has more to do when it is answered. */
struct step {
	struct device *device;
	uint32_t nsid;	     /* of the namespace it is about; 0: the device itself */
	bool whole_device;   /* go on with the next namespace */
	bool undo;	     /* a namespace that is not accepted is dropped */
	bool patient;	     /* a controller that dies is not the end of it */
	const char *retry;   /* what the successor is asked again; NULL: it knows already */
	const char *changed; /* what of the namespace's configuration; a failure takes it back */
	struct json_object *before;
	device_done done;
	void *opaque;
};

static void configure(struct device_namespace *ns, const char *key, struct json_object *value)
{
	if (value)
		json_add(ns->json, key, json_object_get(value));
	else
		json_object_object_del(ns->json, key);
}

/* What a successor is given from now on. @value: NULL: none */
static void change(struct step *step, struct device_namespace *ns, const char *key,
		   struct json_object *value)
{
	struct json_object *before = NULL;

	json_object_object_get_ex(ns->json, key, &before);
	step->changed = key;
	step->before = json_object_get(before);
	configure(ns, key, value);
}

static void end_step(struct step *step, struct json_object *result, const struct error *err)
{
	struct device_namespace *ns = device_find_namespace(step->device, step->nsid);

	if (err && step->changed && ns)
		configure(ns, step->changed, step->before);
	if (err && step->undo)
		device_drop_namespace(step->device, step->nsid);
	json_object_put(step->before);
	step->done(step->opaque, result, err);
	free(step);
}

/* One that cannot even be made is answered like one that failed. */
static void fail_step(struct step *step, struct error *err)
{
	end_step(step, NULL, err);
	error_free(err);
}

static struct step *new_step(struct device *device, uint32_t nsid, device_done done, void *opaque)
{
	struct step *step = calloc(1, sizeof(*step));

	if (!step)
		abort(); /* nobody could be told */
	step->device = device;
	step->nsid = nsid;
	step->done = done;
	step->opaque = opaque;
	return step;
}

static void on_step(void *opaque, struct json_object *result, const struct error *err);

static void call(struct step *step, const char *command, struct json_object *arguments,
		 const int *fds, size_t fd_count)
{
	struct control_connection *connection = step->device->supervisor->connection;
	struct error *err = NULL;

	if (!connection) {
		json_object_put(arguments);
		error_set(&err, ENOTCONN, _("the controller process is not running"));
		fail_step(step, err);
		return;
	}
	control_connection_call(connection, command, arguments, fds, fd_count, on_step, step);
}

static struct json_object *namespace_arguments(const struct device *device, uint32_t nsid)
{
	struct json_object *arguments = json_object_new_object();

	json_add_u64(arguments, "index", device->config.index);
	if (nsid)
		json_add_u64(arguments, "nsid", nsid);
	return arguments;
}

static void send_namespace(struct step *step, struct device_namespace *ns)
{
	struct json_object *arguments = json_object_new_object();
	struct json_object *json = namespace_config_for_controller(ns->json);
	int fds[1 + RESERVATIONS_FDS + FAULTS_MAX_FDS];
	struct error *err = NULL;
	size_t fd_count = 0;
	int reservations[RESERVATIONS_FDS];

	json_add_u64(arguments, "index", step->device->config.index);
	json_add(arguments, "namespace", json);
	if (image_open(&ns->image, &ns->config, &fds[0], &err) < 0) {
		json_object_put(arguments);
		fail_step(step, err);
		return;
	}
	fd_count = 1 + faults_open(&ns->config, json, &fds[1]);
	if (reservations_open(&ns->config, fds[0], reservations, &err) < 0) {
		json_object_put(arguments);
		fd_close_all(fds, fd_count);
		fail_step(step, err);
		return;
	}
	if (reservations[0] >= 0) {
		json_add_bool(json, "reservations", true);
		fds[fd_count++] = reservations[0];
		fds[fd_count++] = reservations[1];
	}
	ns->persistent = reservations[2] >= 0;
	if (ns->persistent) {
		json_add_bool(json, "persistence", true);
		fds[fd_count++] = reservations[2];
	}
	/* No copy stays here: the kernel's knowledge of who is still at work depends on it. */
	call(step, "add-namespace", arguments, fds, fd_count);
	fd_close_all(fds, fd_count);
}

static struct json_object *change_arguments(const struct step *step,
					    const struct device_namespace *ns)
{
	struct json_object *arguments = namespace_arguments(step->device, step->nsid), *value;

	if (ns && step->changed && json_object_object_get_ex(ns->json, step->changed, &value))
		json_add(arguments, step->changed, json_object_get(value));
	return arguments;
}

/* Its controller has died, and a successor has every device and namespace in the keeper's lists. */
static void resume_step(void *opaque, const struct error *err)
{
	struct step *step = opaque;
	struct device_namespace *ns = device_find_namespace(step->device, step->nsid);
	_cleanup_json_ struct json_object *result = NULL;

	if (err) {
		end_step(step, NULL, err);
	} else if (step->retry) {
		call(step, step->retry, change_arguments(step, ns), NULL, 0);
	} else {
		result = json_object_new_object();
		if (ns)
			json_add_u64(result, "capacity", ns->capacity);
		end_step(step, result, NULL);
	}
}

static void on_step(void *opaque, struct json_object *result, const struct error *err)
{
	struct step *step = opaque;
	struct supervisor *supervisor = step->device->supervisor;
	struct device_namespace *ns = device_find_namespace(step->device, step->nsid);

	if (err && step->patient && supervisor_lost(supervisor) &&
	    supervisor_wait(supervisor, resume_step, step))
		return;
	if (err) {
		_cleanup_error_ struct error *named = NULL;

		/* The controller has a descriptor and no name to complain about. */
		if (ns && ns->config.path && !strstr(err->message, ns->config.path)) {
			error_set(&named, err->code, "%s: %s", ns->config.path, error_message(err));
			err = named;
		}
		end_step(step, NULL, err);
		return;
	}
	if (ns)
		ns->capacity = json_u64_or(result, "capacity", ns->capacity);
	else if (step->whole_device)
		step->device->state_bytes = json_u64_or(result, "state_bytes", 0);
	if (step->whole_device) {
		ns = ns ? ns->next : step->device->namespaces;
		if (ns) {
			step->nsid = ns->config.nsid;
			send_namespace(step, ns);
			return;
		}
	}
	end_step(step, result, NULL);
}

void device_start(struct device *device, unsigned flags, device_done done, void *opaque)
{
	struct step *step = new_step(device, 0, done, opaque);
	struct json_object *arguments;
	_cleanup_close_ int channel = -1;
	struct error *err = NULL;
	int bulk, r;

	step->whole_device = !(flags & DEVICE_BARE);
	step->patient = flags & DEVICE_PATIENT;
	if (flags & DEVICE_FRESH && ftruncate(device->state_fd, 0) < 0)
		r = -errno;
	else
		r = relay_attach(device->relay, device->supervisor->generation, flags & DEVICE_BARE,
				 &channel, &bulk);
	if (r < 0) {
		error_set_errno(&err, -r, _("cannot connect nvme%u to the controller"),
				device->config.index);
		fail_step(step, err);
		return;
	}
	arguments = json_object_new_object();
	json_add_u64(arguments, "index", device->config.index);
	json_add_string(arguments, "serial", device->config.serial);
	json_add_string(arguments, "uuid", device->config.uuid);
	json_add_string(arguments, "subsystem", device->config.subsystem);
	json_add_u64(arguments, "queues", device->config.queues);
	json_add_string(arguments, "doorbells", device->config.doorbells);
	json_add_u64(arguments, "cntlid", device->config.index + 1);
	if (flags & DEVICE_FROZEN)
		json_add_bool(arguments, "frozen", true);
	if (flags & DEVICE_POISON)
		json_add_bool(arguments, "poison", true);
	call(step, "add-controller", arguments,
	     (const int[]){ device->state_fd, channel, bulk, device->doorbell_fd },
	     device->doorbell_fd >= 0 ? 4 : 3);
}

static void on_left(void *opaque, struct json_object *result, const struct error *err)
{
	struct step *step = opaque;

	step->device->removing = false;
	step->done(step->opaque, result, err);
	free(step);
}

void device_leave(struct device *device, device_done done, void *opaque)
{
	struct json_object *arguments = namespace_arguments(device, 0);

	device->removing = true;
	json_add_bool(arguments, "keep_state", true);
	call(new_step(device, 0, on_left, new_step(device, 0, done, opaque)), "remove-controller",
	     arguments, NULL, 0);
}

/* A request about what the controller has; asked of its successor when it dies meanwhile. */
static void ask(struct device *device, uint32_t nsid, const char *command, device_done done,
		void *opaque)
{
	struct step *step = new_step(device, nsid, done, opaque);

	step->patient = true;
	step->retry = command;
	call(step, command, namespace_arguments(device, nsid), NULL, 0);
}

void device_remove(struct device *device, device_done done, void *opaque)
{
	device->removing = true;
	ask(device, 0, "remove-controller", done, opaque);
}

void device_add_namespace(struct device *device, struct json_object *json, device_done done,
			  void *opaque)
{
	struct step *step = new_step(device, 0, done, opaque);
	struct device_namespace *ns;
	struct error *err = NULL;

	ns = device_new_namespace(device, json, true, &err);
	if (!ns) {
		fail_step(step, err);
		return;
	}
	step->nsid = ns->config.nsid;
	step->undo = true;
	step->patient = true;
	send_namespace(step, ns);
}

static void no_namespace(struct device *device, uint32_t nsid, device_done done, void *opaque)
{
	_cleanup_error_ struct error *err = NULL;

	error_set(&err, ENOENT, _("controller %u has no namespace %u"), device->config.index, nsid);
	done(opaque, NULL, err);
}

static void on_namespace_removed(void *opaque, struct json_object *result, const struct error *err)
{
	struct step *step = opaque;

	if (!err)
		device_drop_namespace(step->device, step->nsid);
	step->done(step->opaque, result, err);
	free(step);
}

void device_remove_namespace(struct device *device, uint32_t nsid, device_done done, void *opaque)
{
	struct step *outer;

	if (!device_find_namespace(device, nsid)) {
		no_namespace(device, nsid, done, opaque);
		return;
	}
	outer = new_step(device, nsid, done, opaque);
	ask(device, nsid, "remove-namespace", on_namespace_removed, outer);
}

void device_resize_namespace(struct device *device, uint32_t nsid, uint64_t limit, device_done done,
			     void *opaque)
{
	struct device_namespace *ns = device_find_namespace(device, nsid);
	struct json_object *value = NULL;
	struct step *step;

	if (!ns) {
		no_namespace(device, nsid, done, opaque);
		return;
	}
	if (limit)
		value = json_object_new_uint64(limit);
	step = new_step(device, nsid, done, opaque);
	step->patient = true;
	step->retry = "resize-namespace";
	change(step, ns, "limit", value);
	json_object_put(value);
	call(step, step->retry, change_arguments(step, ns), NULL, 0);
}

void device_set_block_size(struct device *device, uint32_t nsid, uint64_t block_size,
			   device_done done, void *opaque)
{
	struct device_namespace *ns = device_find_namespace(device, nsid);
	struct json_object *arguments;
	struct step *step;

	if (!ns) {
		no_namespace(device, nsid, done, opaque);
		return;
	}
	/* What is recorded stays so, whatever becomes of the call. */
	if (block_size) {
		json_add_u64(ns->json, "block_size", block_size);
		json_object_object_del(ns->json, "next_block_size");
		ns->config.block_size = block_size;
	}
	step = new_step(device, nsid, done, opaque);
	step->patient = true;
	arguments = namespace_arguments(device, nsid);
	json_add_u64(arguments, "block_size", block_size);
	call(step, "set-block-size", arguments, NULL, 0);
}

void device_set_iotune(struct device *device, uint32_t nsid, struct json_object *iotune,
		       device_done done, void *opaque)
{
	struct device_namespace *ns = device_find_namespace(device, nsid);
	struct step *step;

	if (!ns) {
		no_namespace(device, nsid, done, opaque);
		return;
	}
	step = new_step(device, nsid, done, opaque);
	step->patient = true;
	change(step, ns, "iotune", iotune);
	call(step, "set-iotune", change_arguments(step, ns), NULL, 0);
}
