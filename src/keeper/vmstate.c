// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/vmstate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>

#include "base/fd.h"
#include "base/i18n.h"
#include "base/log.h"
#include "keeper/carry.h"

/*
 * Theory of operation
 *
 * QEMU (GDBus) wants a message bus with the owners of org.qemu.VMState1 on it. The keeper is both:
 * it answers as org.freedesktop.DBus and as each of the owners ":1.1" to ":1.16", one an Id,
 * because QEMU makes one proxy an owner. QEMU itself is ":1.0". GDBus takes an answer by its serial
 * and looks at the sender of signals only, of which there are none.
 *
 * A proxy is half a millisecond for which the guest stands still. So the list of owners may be
 * shorter (vmstate_offer()).
 *
 * The `Id` property is read when a migration, save or snapshot with memory is about to write device
 * state, with the VM stopped, and before it is read back. What can fail must fail there: with an
 * id-list QEMU then gives up and the guest goes on. A failing Save would be too late: QEMU reports
 * success all the same. Each call may be answered later; QEMU's main loop waits for it, 25 seconds
 * at most.
 *
 * Its calls are handled after whatever else QEMU has sent before them, on other sockets: the bus
 * has the lowest priority in the event loop. So the event that says why QEMU asks has been seen,
 * and what the guest wrote before it was stopped is on its way to the controller.
 *
 * For each proxy, one for the bus itself included, GDBus adds three matches and removes them again,
 * and waits for none of the answers: but each wakes its thread, while the guest stands still. So
 * these are put off for MATCH_US, which is after the guest has gone on, and there is room for all.
 */
#define MATCH_US     500000
#define MAX_PUT_OFF  256u
#define BUS_NAME     "org.freedesktop.DBus"
#define VMSTATE_NAME "org.qemu.VMState1"
#define VMSTATE_PATH "/org/qemu/VMState1"
#define PROPERTIES   "org.freedesktop.DBus.Properties"
#define CLIENT_NAME  ":1.0"

struct vmstate {
	sd_event *event;
	const struct vmstate_ops *ops;
	void *opaque;
	struct listener *listener;
	sd_bus *bus;
	sd_event_source *source;
	sd_event_source *more;	  /* the bus may have read what it has not handled */
	unsigned offered, tried;  /* Ids: QEMU's, and what they may already be; 0: no other */
	unsigned listed, certain; /* in the last list, and how many of these QEMU takes at least */
	sd_bus_message *put_off[MAX_PUT_OFF];
	unsigned put_off_count;
	sd_event_source *put_off_timer;
};

struct vmstate_call {
	sd_bus_message *message; /* holds its connection */
	unsigned number;	 /* of the owner, from 0 */
};

struct bus_method {
	const char *name, *signature;
	int (*handle)(struct vmstate *vmstate, sd_bus_message *call, sd_bus_message *reply);
	bool put_off; /* nobody waits for the answer */
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

static int bus_hello(struct vmstate *vmstate, sd_bus_message *call, sd_bus_message *reply)
{
	return sd_bus_message_append(reply, "s", CLIENT_NAME);
}

static int bus_nothing(struct vmstate *vmstate, sd_bus_message *call, sd_bus_message *reply)
{
	return 0;
}

static int bus_list_queued_owners(struct vmstate *vmstate, sd_bus_message *call,
				  sd_bus_message *reply)
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
	if (!string_equal(name, VMSTATE_NAME)) {
		r = sd_bus_message_append(reply, "s", name);
	} else {
		vmstate->listed = MAX(vmstate->offered, vmstate->tried);
		vmstate->certain =
			vmstate->tried ? MIN(vmstate->offered, vmstate->tried) : vmstate->offered;
		for (i = 1; r >= 0 && i <= vmstate->listed; i++) {
			char owner[16];

			snprintf(owner, sizeof(owner), ":1.%u", i);
			r = sd_bus_message_append(reply, "s", owner);
		}
	}
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int bus_list_names(struct vmstate *vmstate, sd_bus_message *call, sd_bus_message *reply)
{
	return sd_bus_message_append(reply, "as", 3, BUS_NAME, VMSTATE_NAME, CLIENT_NAME);
}

static int bus_get_name_owner(struct vmstate *vmstate, sd_bus_message *call, sd_bus_message *reply)
{
	const char *name;
	int r;

	r = sd_bus_message_read(call, "s", &name);
	if (r < 0)
		return r;
	/* Of an owner GDBus asks all properties next, and waits; the bus has none. */
	if (!name_is_owned(name) || string_equal(name, BUS_NAME))
		return -ENXIO;
	return sd_bus_message_append(reply, "s", string_equal(name, VMSTATE_NAME) ? ":1.1" : name);
}

static int bus_name_has_owner(struct vmstate *vmstate, sd_bus_message *call, sd_bus_message *reply)
{
	const char *name;
	int r;

	r = sd_bus_message_read(call, "s", &name);
	return r < 0 ? r : sd_bus_message_append(reply, "b", name_is_owned(name));
}

static int bus_request_name(struct vmstate *vmstate, sd_bus_message *call, sd_bus_message *reply)
{
	const char *name;
	int r;

	r = sd_bus_message_read(call, "s", &name);
	if (r < 0)
		return r;
	/* DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER, or _EXISTS */
	return sd_bus_message_append(reply, "u", name_is_owned(name) ? 3u : 1u);
}

static int bus_start_service(struct vmstate *vmstate, sd_bus_message *call, sd_bus_message *reply)
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
	{ "AddMatch", "s", bus_nothing, true },
	{ "RemoveMatch", "s", bus_nothing, true },
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

static void send_put_off(struct vmstate *vmstate)
{
	unsigned i;

	for (i = 0; i < vmstate->put_off_count; i++) {
		send_as(vmstate->put_off[i], BUS_NAME);
		sd_bus_message_unref(vmstate->put_off[i]);
	}
	vmstate->put_off_count = 0;
}

static int on_put_off_timer(sd_event_source *source, uint64_t usec, void *opaque)
{
	send_put_off(opaque);
	return 0;
}

static void put_off(struct vmstate *vmstate, sd_bus_message *reply)
{
	if (vmstate->put_off_count == MAX_PUT_OFF)
		send_put_off(vmstate);
	if (vmstate->put_off_count == 0) {
		sd_event_source_set_time_relative(vmstate->put_off_timer, MATCH_US);
		sd_event_source_set_enabled(vmstate->put_off_timer, SD_EVENT_ONESHOT);
	}
	vmstate->put_off[vmstate->put_off_count++] = sd_bus_message_ref(reply);
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

static int answer_bus(struct vmstate *vmstate, sd_bus_message *call)
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
		r = method->handle(vmstate, call, reply);
	if (r == -ENXIO)
		return answer_error(call, BUS_NAME, SD_BUS_ERROR_NAME_HAS_NO_OWNER,
				    "nobody has that name");
	if (r < 0 || !sd_bus_message_get_expect_reply(call))
		return r < 0 ? r : 1;
	if (method->put_off)
		put_off(vmstate, reply);
	else
		r = send_as(reply, BUS_NAME);
	return r < 0 ? r : 1;
}

static void owner_name(unsigned number, char ret[16])
{
	snprintf(ret, 16, ":1.%u", number + 1);
}

static struct vmstate_call *new_call(sd_bus_message *message, unsigned number)
{
	struct vmstate_call *call = calloc(1, sizeof(*call));

	if (!call)
		abort(); /* QEMU would wait for nothing */
	call->message = sd_bus_message_ref(message);
	call->number = number;
	return call;
}

static int reply_with_id(struct vmstate_call *call, sd_bus_message *reply)
{
	char id[16];

	snprintf(id, sizeof(id), VMSTATE_ID, call->number);
	if (sd_bus_message_is_method_call(call->message, PROPERTIES, "Get"))
		return sd_bus_message_append(reply, "v", "s", id);
	return sd_bus_message_append(reply, "a{sv}", 1, "Id", "s", id);
}

void vmstate_answer(struct vmstate_call *call, const struct error *err)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	char owner[16];
	int r;

	owner_name(call->number, owner);
	if (err) {
		r = answer_error(call->message, owner, SD_BUS_ERROR_FAILED, err->message);
	} else {
		r = sd_bus_message_new_method_return(call->message, &reply);
		if (r >= 0 && !sd_bus_message_is_method_call(call->message, VMSTATE_NAME, NULL))
			r = reply_with_id(call, reply);
		if (r >= 0)
			r = send_as(reply, owner);
	}
	if (r < 0)
		log_guest(LOG_WARNING, "an answer to QEMU's D-Bus call: %s", strerror(-r));
	sd_bus_message_unref(call->message);
	free(call);
}

static int answer_save(struct vmstate *vmstate, sd_bus_message *message, unsigned number,
		       const char *owner)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	const void *data;
	size_t size;
	int r;

	r = vmstate->ops->save(vmstate->opaque, number, &data, &size);
	if (r < 0)
		return answer_error(message, owner, SD_BUS_ERROR_FAILED, "there is no state");
	r = sd_bus_message_new_method_return(message, &reply);
	if (r >= 0)
		r = sd_bus_message_append_array(reply, 'y', data, size);
	return r < 0 ? r : send_as(reply, owner);
}

static int handle_load(struct vmstate *vmstate, sd_bus_message *message, unsigned number)
{
	const void *data;
	size_t size;
	int r;

	r = sd_bus_message_read_array(message, 'y', &data, &size);
	if (r < 0)
		return r;
	vmstate->ops->load(vmstate->opaque, number, data, size, new_call(message, number));
	return 1;
}

static int answer_vmstate(struct vmstate *vmstate, sd_bus_message *message, unsigned number)
{
	char owner[16];

	owner_name(number, owner);
	if (sd_bus_message_is_method_call(message, PROPERTIES, "Get") ||
	    sd_bus_message_is_method_call(message, PROPERTIES, "GetAll")) {
		vmstate->ops->read_id(vmstate->opaque, new_call(message, number));
		return 1;
	}
	if (sd_bus_message_is_method_call(message, VMSTATE_NAME, "Save"))
		return answer_save(vmstate, message, number, owner);
	if (sd_bus_message_is_method_call(message, VMSTATE_NAME, "Load") &&
	    sd_bus_message_has_signature(message, "ay"))
		return handle_load(vmstate, message, number);
	return answer_error(message, owner, SD_BUS_ERROR_UNKNOWN_METHOD,
			    "not a method of VMState1");
}

/* Everything that is not a method call, or to nobody, is dropped. */
static int on_message(sd_bus_message *message, void *opaque, sd_bus_error *ret_error)
{
	const char *destination = sd_bus_message_get_destination(message);
	struct vmstate *vmstate = opaque;
	uint8_t type;
	int r;

	if (sd_bus_message_get_type(message, &type) < 0 || type != SD_BUS_MESSAGE_METHOD_CALL)
		return 1;
	if (string_equal(destination, BUS_NAME))
		r = answer_bus(vmstate, message);
	else if (string_equal(destination, VMSTATE_NAME))
		r = answer_vmstate(vmstate, message, 0);
	else if (owner_number(destination))
		r = answer_vmstate(vmstate, message, owner_number(destination) - 1);
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
	vmstate->more = sd_event_source_disable_unref(vmstate->more);
	vmstate->put_off_timer = sd_event_source_disable_unref(vmstate->put_off_timer);
	while (vmstate->put_off_count)
		sd_bus_message_unref(vmstate->put_off[--vmstate->put_off_count]);
	vmstate->bus = sd_bus_close_unref(vmstate->bus);
}

/*
 * Not sd_bus_attach_event(): it waits for an event for each message, and GDBus sends its Hello
 * together with the end of the authentication. Read into the bus's buffer with that, it would lie
 * there until the next byte, for which GDBus, and with it QEMU, waits 25 seconds.
 *
 * And not all at once: what else QEMU waits for comes first.
 */
static void process_bus(struct vmstate *vmstate)
{
	int events, r = sd_bus_process(vmstate->bus, NULL);

	events = r < 0 ? r : sd_bus_get_events(vmstate->bus);
	if (events < 0) {
		close_bus(vmstate);
		return;
	}
	sd_event_source_set_io_events(vmstate->source, events);
	sd_event_source_set_enabled(vmstate->more, r > 0 ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static int on_more(sd_event_source *source, void *opaque)
{
	process_bus(opaque);
	return 0;
}

static int on_input(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	process_bus(opaque);
	return 0;
}

/* So that nothing is left in this process. */
static void finish_all(struct vmstate *vmstate)
{
	while (vmstate->more && sd_event_source_get_enabled(vmstate->more, NULL) > 0)
		process_bus(vmstate);
	send_put_off(vmstate);
}

/* A server on @fd, which is its own from here on. */
static int make_bus(struct vmstate *vmstate, int fd)
{
	sd_id128_t id;
	int r;

	r = sd_bus_new(&vmstate->bus);
	if (r >= 0)
		r = sd_bus_set_fd(vmstate->bus, fd, fd);
	if (r < 0) {
		close(fd);
		return r;
	}
	if ((r = sd_id128_randomize(&id)) < 0 ||
	    (r = sd_bus_set_server(vmstate->bus, true, id)) < 0 ||
	    (r = sd_bus_add_filter(vmstate->bus, NULL, on_message, vmstate)) < 0 ||
	    (r = sd_bus_start(vmstate->bus)) < 0)
		return r;
	return 0;
}

static int watch_bus(struct vmstate *vmstate)
{
	int r = sd_event_add_io(vmstate->event, &vmstate->source, sd_bus_get_fd(vmstate->bus),
				EPOLLIN, on_input, vmstate);

	if (r >= 0)
		r = sd_event_source_set_priority(vmstate->source, SD_EVENT_PRIORITY_IDLE);
	if (r >= 0)
		r = sd_event_add_defer(vmstate->event, &vmstate->more, on_more, vmstate);
	if (r >= 0)
		r = sd_event_source_set_priority(vmstate->more, SD_EVENT_PRIORITY_IDLE);
	if (r >= 0)
		r = sd_event_add_time(vmstate->event, &vmstate->put_off_timer, CLOCK_MONOTONIC, 0,
				      1, on_put_off_timer, vmstate);
	if (r >= 0)
		r = sd_event_source_set_enabled(vmstate->put_off_timer, SD_EVENT_OFF);
	if (r >= 0)
		process_bus(vmstate);
	return r;
}

static void on_accepted(void *opaque, int fd)
{
	struct vmstate *vmstate = opaque;
	int r = make_bus(vmstate, fd);

	if (r >= 0)
		r = watch_bus(vmstate);
	if (r < 0) {
		log_error("D-Bus connection of QEMU: %s", strerror(-r));
		close_bus(vmstate);
		return;
	}
	log_debug("QEMU has connected to the bus");
}

/*
 * QEMU authenticated itself long ago and does not again. So the bus is made on a socket pair, at
 * whose other end we say what it wants to hear, and then QEMU's connection takes that socket's
 * place under the same number.
 */
static int adopt_bus(struct vmstate *vmstate, int fd)
{
	_cleanup_close_ int qemu = fd, theirs = -1;
	char uid[16], line[128];
	int pair[2], length, i, r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	theirs = pair[1];
	r = make_bus(vmstate, pair[0]);
	if (r < 0)
		return r;
	length = snprintf(uid, sizeof(uid), "%u", (unsigned)geteuid());
	r = snprintf(line, sizeof(line), "%cAUTH EXTERNAL ", 0);
	for (i = 0; i < length; i++)
		r += snprintf(line + r, sizeof(line) - r, "%02x", uid[i]);
	r += snprintf(line + r, sizeof(line) - r, "\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n");
	r = fd_write_full(theirs, line, r);
	while (r == 0 && sd_bus_is_ready(vmstate->bus) == 0) {
		r = sd_bus_process(vmstate->bus, NULL);
		r = r > 0 ? 0 : r == 0 ? sd_bus_is_ready(vmstate->bus) ? 0 : -EPROTO : r;
	}
	if (r < 0)
		return r;
	return dup3(qemu, pair[0], O_CLOEXEC) < 0 ? -errno : watch_bus(vmstate);
}

static struct vmstate *make_vmstate(sd_event *event, const struct listener_options *options,
				    const struct vmstate_ops *ops, void *opaque,
				    struct json_object *saved, struct error **errp)
{
	struct listener_options own = *options;
	struct vmstate *vmstate = calloc(1, sizeof(*vmstate));

	if (!vmstate) {
		error_set_errno(errp, ENOMEM, "%s", options->path);
		return NULL;
	}
	vmstate->event = event;
	vmstate->ops = ops;
	vmstate->opaque = opaque;
	vmstate->offered = vmstate->listed = vmstate->certain = VMSTATE_ID_COUNT;
	own.accepted = on_accepted;
	own.opaque = vmstate;
	vmstate->listener =
		saved ? listener_load(event, &own, json_child(saved, "listener", json_type_object),
				      errp)
		      : listener_new(event, &own, errp);
	if (!vmstate->listener) {
		free(vmstate);
		return NULL;
	}
	return vmstate;
}

struct vmstate *vmstate_new(sd_event *event, const struct listener_options *options,
			    const struct vmstate_ops *ops, void *opaque, struct error **errp)
{
	return make_vmstate(event, options, ops, opaque, NULL, errp);
}

void vmstate_offer(struct vmstate *vmstate, unsigned count)
{
	vmstate->offered = MIN(MAX(count, 1u), VMSTATE_ID_COUNT);
	vmstate->tried = 0;
}

void vmstate_try(struct vmstate *vmstate, unsigned count)
{
	vmstate->tried = MIN(count, VMSTATE_ID_COUNT);
}

bool vmstate_tries(const struct vmstate *vmstate)
{
	return vmstate->tried;
}

unsigned vmstate_certain(const struct vmstate *vmstate)
{
	return vmstate->certain;
}

unsigned vmstate_offered(const struct vmstate *vmstate)
{
	return vmstate->offered;
}

unsigned vmstate_listed(const struct vmstate *vmstate)
{
	return vmstate->listed;
}

struct json_object *vmstate_save(struct vmstate *vmstate)
{
	struct json_object *json = json_object_new_object();

	finish_all(vmstate);
	json_add(json, "listener", listener_save(vmstate->listener));
	json_add_u64(json, "offered", vmstate->offered);
	if (vmstate->bus)
		carry_fd(json, "fd", sd_bus_get_fd(vmstate->bus));
	return json;
}

struct vmstate *vmstate_load(sd_event *event, const struct listener_options *options,
			     const struct vmstate_ops *ops, void *opaque, struct json_object *json,
			     struct error **errp)
{
	struct vmstate *vmstate = make_vmstate(event, options, ops, opaque, json, errp);
	int fd = carried_fd(json, "fd"), r = 0;

	if (vmstate)
		vmstate_offer(vmstate, json_u64_or(json, "offered", VMSTATE_ID_COUNT));
	if (vmstate && fd >= 0)
		r = adopt_bus(vmstate, fd);
	/* The domain cannot be migrated then, and runs on. */
	if (r < 0) {
		log_error("D-Bus connection of QEMU: %s", strerror(-r));
		close_bus(vmstate);
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
