// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/vmstate.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <systemd/sd-bus.h>

#include "base/i18n.h"
#include "base/log.h"

/*
 * Theory of operation
 *
 * QEMU (GDBus) wants a message bus with the owners of org.qemu.VMState1 on it. The keeper is both:
 * it answers as org.freedesktop.DBus and as each of the owners ":1.1" to ":1.16", one an Id,
 * because QEMU makes one proxy an owner. QEMU itself is ":1.0". GDBus takes an answer by its serial
 * and looks at the sender of signals only, of which there are none.
 *
 * The `Id` property is read when a migration, save or snapshot with memory is about to write device
 * state, with the VM stopped. There the answer is an error: with an id-list QEMU then gives up and
 * the guest goes on. Without it the guest would arrive without its disks. A failing Save would be
 * too late: QEMU reports success all the same.
 */
#define BUS_NAME       "org.freedesktop.DBus"
#define VMSTATE_NAME   "org.qemu.VMState1"
#define VMSTATE_PATH   "/org/qemu/VMState1"
#define PROPERTIES     "org.freedesktop.DBus.Properties"
#define CLIENT_NAME    ":1.0"
#define NOT_MIGRATABLE "the domain has NVMe disks of virtnvme, which cannot be migrated or saved"

struct vmstate {
	sd_event *event;
	struct listener *listener;
	sd_bus *bus;
	sd_event_source *source;
};

struct bus_method {
	const char *name, *signature;
	int (*handle)(sd_bus_message *call, sd_bus_message *reply);
};

/* 1 to VMSTATE_ID_COUNT, or 0. */
static unsigned owner_number(const char *name)
{
	unsigned number;
	char extra;

	if (!name || sscanf(name, ":1.%u%c", &number, &extra) != 1 || number > VMSTATE_ID_COUNT)
		return 0;
	return number;
}

static bool name_is_owned(const char *name)
{
	return string_equal(name, BUS_NAME) || string_equal(name, VMSTATE_NAME) ||
	       string_equal(name, CLIENT_NAME) || owner_number(name);
}

static int bus_hello(sd_bus_message *call, sd_bus_message *reply)
{
	return sd_bus_message_append(reply, "s", CLIENT_NAME);
}

static int bus_nothing(sd_bus_message *call, sd_bus_message *reply)
{
	return 0;
}

static int bus_list_queued_owners(sd_bus_message *call, sd_bus_message *reply)
{
	const char *name;
	unsigned i;
	int r;

	r = sd_bus_message_read(call, "s", &name);
	if (r < 0)
		return r;
	if (!name_is_owned(name))
		return -ENXIO;
	r = sd_bus_message_open_container(reply, 'a', "s");
	if (!string_equal(name, VMSTATE_NAME))
		r = sd_bus_message_append(reply, "s", name);
	else
		for (i = 1; r >= 0 && i <= VMSTATE_ID_COUNT; i++) {
			char owner[16];

			snprintf(owner, sizeof(owner), ":1.%u", i);
			r = sd_bus_message_append(reply, "s", owner);
		}
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int bus_list_names(sd_bus_message *call, sd_bus_message *reply)
{
	return sd_bus_message_append(reply, "as", 3, BUS_NAME, VMSTATE_NAME, CLIENT_NAME);
}

static int bus_get_name_owner(sd_bus_message *call, sd_bus_message *reply)
{
	const char *name;
	int r;

	r = sd_bus_message_read(call, "s", &name);
	if (r < 0)
		return r;
	if (!name_is_owned(name))
		return -ENXIO;
	return sd_bus_message_append(reply, "s", string_equal(name, VMSTATE_NAME) ? ":1.1" : name);
}

static int bus_name_has_owner(sd_bus_message *call, sd_bus_message *reply)
{
	const char *name;
	int r;

	r = sd_bus_message_read(call, "s", &name);
	return r < 0 ? r : sd_bus_message_append(reply, "b", name_is_owned(name));
}

static int bus_request_name(sd_bus_message *call, sd_bus_message *reply)
{
	const char *name;
	int r;

	r = sd_bus_message_read(call, "s", &name);
	if (r < 0)
		return r;
	/* DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER, or _EXISTS */
	return sd_bus_message_append(reply, "u", name_is_owned(name) ? 3u : 1u);
}

static int bus_start_service(sd_bus_message *call, sd_bus_message *reply)
{
	const char *name;
	int r;

	r = sd_bus_message_read(call, "s", &name);
	if (r < 0)
		return r;
	/* DBUS_START_REPLY_ALREADY_RUNNING */
	return name_is_owned(name) ? sd_bus_message_append(reply, "u", 2u) : -ENXIO;
}

static const struct bus_method bus_methods[] = {
	{ "Hello", "", bus_hello },
	{ "AddMatch", "s", bus_nothing },
	{ "RemoveMatch", "s", bus_nothing },
	{ "ListQueuedOwners", "s", bus_list_queued_owners },
	{ "ListNames", "", bus_list_names },
	{ "GetNameOwner", "s", bus_get_name_owner },
	{ "NameHasOwner", "s", bus_name_has_owner },
	{ "RequestName", "su", bus_request_name },
	{ "StartServiceByName", "su", bus_start_service },
};

/* Sent as @sender says, which is never looked at by libsystemd: we are the bus. */
static int send_as(sd_bus_message *message, const char *sender)
{
	int r;

	r = sd_bus_message_set_sender(message, sender);
	if (r >= 0)
		r = sd_bus_message_set_destination(message, CLIENT_NAME);
	return r < 0 ? r : sd_bus_send(NULL, message, NULL);
}

static int answer_error(sd_bus_message *call, const char *sender, const char *name,
			const char *text)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	const sd_bus_error error = SD_BUS_ERROR_MAKE_CONST(name, text);
	int r;

	if (!sd_bus_message_get_expect_reply(call))
		return 1;
	r = sd_bus_message_new_method_error(call, &reply, &error);
	if (r >= 0)
		r = send_as(reply, sender);
	return r < 0 ? r : 1;
}

static int answer_bus(sd_bus_message *call)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	const struct bus_method *method = NULL;
	size_t i;
	int r;

	for (i = 0; i < ARRAY_SIZE(bus_methods); i++)
		if (sd_bus_message_is_method_call(call, BUS_NAME, bus_methods[i].name))
			method = &bus_methods[i];
	if (!method)
		return answer_error(call, BUS_NAME, SD_BUS_ERROR_UNKNOWN_METHOD,
				    "not a method of this bus");
	if (!sd_bus_message_has_signature(call, method->signature))
		return answer_error(call, BUS_NAME, SD_BUS_ERROR_INVALID_ARGS, "wrong arguments");
	r = sd_bus_message_new_method_return(call, &reply);
	if (r >= 0)
		r = method->handle(call, reply);
	if (r == -ENXIO)
		return answer_error(call, BUS_NAME, SD_BUS_ERROR_NAME_HAS_NO_OWNER,
				    "nobody has that name");
	if (r >= 0 && sd_bus_message_get_expect_reply(call))
		r = send_as(reply, BUS_NAME);
	return r < 0 ? r : 1;
}

static int answer_vmstate(sd_bus_message *call, const char *owner)
{
	if (sd_bus_message_is_method_call(call, PROPERTIES, "Get") ||
	    sd_bus_message_is_method_call(call, PROPERTIES, "GetAll")) {
		log_guest(LOG_WARNING, "QEMU wants to migrate, save or snapshot: refused: %s",
			  NOT_MIGRATABLE);
		return answer_error(call, owner, SD_BUS_ERROR_NOT_SUPPORTED, NOT_MIGRATABLE);
	}
	if (sd_bus_message_is_method_call(call, VMSTATE_NAME, "Save") ||
	    sd_bus_message_is_method_call(call, VMSTATE_NAME, "Load"))
		return answer_error(call, owner, SD_BUS_ERROR_NOT_SUPPORTED, NOT_MIGRATABLE);
	return answer_error(call, owner, SD_BUS_ERROR_UNKNOWN_METHOD, "not a method of VMState1");
}

/* Everything that is not a method call, or to nobody, is dropped. */
static int on_message(sd_bus_message *message, void *opaque, sd_bus_error *ret_error)
{
	const char *destination = sd_bus_message_get_destination(message);
	uint8_t type;
	int r;

	if (sd_bus_message_get_type(message, &type) < 0 || type != SD_BUS_MESSAGE_METHOD_CALL)
		return 1;
	if (string_equal(destination, BUS_NAME))
		r = answer_bus(message);
	else if (string_equal(destination, VMSTATE_NAME))
		r = answer_vmstate(message, ":1.1");
	else if (owner_number(destination))
		r = answer_vmstate(message, destination);
	else
		r = answer_error(message, BUS_NAME, SD_BUS_ERROR_SERVICE_UNKNOWN,
				 "nobody has that name");
	if (r < 0)
		log_guest(LOG_WARNING, "QEMU's D-Bus call: %s", strerror(-r));
	return 1;
}

static void close_bus(struct vmstate *vmstate)
{
	vmstate->source = sd_event_source_disable_unref(vmstate->source);
	vmstate->bus = sd_bus_close_unref(vmstate->bus);
}

/*
 * Not sd_bus_attach_event(): it processes one message an event, and GDBus sends its Hello together
 * with the end of the authentication. Read into the bus's buffer with that, it would lie there
 * until the next byte, for which GDBus, and with it QEMU, waits 25 seconds.
 */
static void process_bus(struct vmstate *vmstate)
{
	int events, r;

	do
		r = sd_bus_process(vmstate->bus, NULL);
	while (r > 0);
	events = r < 0 ? r : sd_bus_get_events(vmstate->bus);
	if (events >= 0)
		sd_event_source_set_io_events(vmstate->source, events);
	else
		close_bus(vmstate);
}

static int on_input(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	process_bus(opaque);
	return 0;
}

static void on_accepted(void *opaque, int fd)
{
	struct vmstate *vmstate = opaque;
	sd_id128_t id;
	int r;

	r = sd_bus_new(&vmstate->bus);
	if (r < 0) {
		close(fd);
		goto out;
	}
	r = sd_bus_set_fd(vmstate->bus, fd, fd);
	if (r < 0) {
		close(fd);
		goto out;
	}
	if ((r = sd_id128_randomize(&id)) < 0 ||
	    (r = sd_bus_set_server(vmstate->bus, true, id)) < 0 ||
	    (r = sd_bus_add_filter(vmstate->bus, NULL, on_message, vmstate)) < 0 ||
	    (r = sd_bus_start(vmstate->bus)) < 0 ||
	    (r = sd_event_add_io(vmstate->event, &vmstate->source, fd, EPOLLIN, on_input,
				 vmstate)) < 0)
		goto out;
	log_debug("QEMU has connected to the bus");
	process_bus(vmstate);
out:
	if (r < 0) {
		log_error("D-Bus connection of QEMU: %s", strerror(-r));
		close_bus(vmstate);
	}
}

struct vmstate *vmstate_new(sd_event *event, const struct listener_options *options,
			    struct error **errp)
{
	struct listener_options own = *options;
	struct vmstate *vmstate = calloc(1, sizeof(*vmstate));

	if (!vmstate) {
		error_set_errno(errp, ENOMEM, "%s", options->path);
		return NULL;
	}
	vmstate->event = event;
	own.accepted = on_accepted;
	own.opaque = vmstate;
	vmstate->listener = listener_new(event, &own, errp);
	if (!vmstate->listener) {
		free(vmstate);
		return NULL;
	}
	return vmstate;
}

void vmstate_free(struct vmstate *vmstate)
{
	if (!vmstate)
		return;
	close_bus(vmstate);
	listener_free(vmstate->listener);
	free(vmstate);
}
