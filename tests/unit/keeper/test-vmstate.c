// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "control/channel.h"
#include "keeper/vmstate.h"
#include "tests/unit/test.h"

/* The bus is served here; the client, in a child, makes the calls that QEMU (GDBus) makes. */
#define BUS	     "org.freedesktop.DBus"
#define VMSTATE	     "org.qemu.VMState1"
#define VMSTATE_PATH "/org/qemu/VMState1"
#define PROPERTIES   "org.freedesktop.DBus.Properties"

static char directory[32], path[64];

static sd_bus *bus;

/* In the child: what fails says where, and ends it. */
#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static sd_bus_message *ask(const char *method, const char *argument)
{
	sd_bus_message *reply = NULL;
	int r = sd_bus_call_method(bus, BUS, "/org/freedesktop/DBus", BUS, method, NULL, &reply,
				   argument ? "s" : "", argument);

	CHECK(r >= 0);
	return reply;
}

static int fails(const char *destination, const char *interface, const char *method,
		 const char *argument)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	int r = sd_bus_call_method(bus, destination, VMSTATE_PATH, interface, method, &error, NULL,
				   argument ? "s" : "", argument);

	CHECK(r >= 0 || sd_bus_error_is_set(&error));
	sd_bus_error_free(&error);
	return r;
}

static void connect_bus(void)
{
	char address[100];

	snprintf(address, sizeof(address), "unix:path=%s", path);
	CHECK(sd_bus_new(&bus) >= 0);
	CHECK(sd_bus_set_address(bus, address) >= 0);
	CHECK(sd_bus_set_bus_client(bus, true) >= 0);
	CHECK(sd_bus_start(bus) >= 0);
}

static unsigned matches_answered;

static int count_match(sd_bus_message *reply, void *opaque, sd_bus_error *error)
{
	matches_answered++;
	return 0;
}

/* Without waiting for the answer, as GDBus does. */
static void begin_match(const char *method)
{
	CHECK(sd_bus_call_method_async(bus, NULL, BUS, "/org/freedesktop/DBus", BUS, method,
				       count_match, NULL, "s", "type='signal'") >= 0);
}

static void client_finds_all_owners(void)
{
	char **owners;
	const char *name;
	unsigned i;

	connect_bus();
	CHECK(sd_bus_get_unique_name(bus, &name) >= 0 && string_equal(name, ":1.0"));
	CHECK(sd_bus_message_read_strv(ask("ListQueuedOwners", VMSTATE), &owners) >= 0);
	for (i = 0; owners[i]; i++) {
		char expected[16];

		snprintf(expected, sizeof(expected), ":1.%u", i + 1);
		CHECK(string_equal(owners[i], expected));
		begin_match("AddMatch");
		CHECK(sd_bus_message_read(ask("GetNameOwner", owners[i]), "s", &name) >= 0);
		CHECK(string_equal(name, owners[i]));
		begin_match("RemoveMatch");
	}
	CHECK(i == VMSTATE_ID_COUNT);
}

/* Each answer would wake it while the guest stands still; one that waits has it in the end. */
static void client_waits_for_a_match(void)
{
	uint64_t before, now;

	connect_bus();
	ask("ListNames", NULL);
	before = clock_us(CLOCK_MONOTONIC);
	ask("AddMatch", "type='signal'");
	now = clock_us(CLOCK_MONOTONIC);
	CHECK(now - before >= 400000);
	/* More than can be put off: the first of them are answered at once. */
	for (unsigned i = 0; i < 256; i++)
		begin_match("AddMatch");
	ask("RemoveMatch", "type='signal'");
}

/* All that GDBus says for a load: a proxy each for the bus and for every owner, and their end. */
static void client_is_not_woken_by_matches(void)
{
	uint64_t before;
	unsigned i;

	connect_bus();
	before = clock_us(CLOCK_MONOTONIC);
	for (i = 0; i < 3 * (1 + VMSTATE_ID_COUNT); i++)
		begin_match("AddMatch");
	for (i = 0; i < 3 * (1 + VMSTATE_ID_COUNT); i++)
		begin_match("RemoveMatch");
	ask("ListNames", NULL);
	while (sd_bus_process(bus, NULL) > 0)
		;
	CHECK(matches_answered == 0 || clock_us(CLOCK_MONOTONIC) - before >= 400000);
}

/* A header field of a D-Bus message: code, signature, value; each begins at a multiple of 8. */
static size_t put_field(char *at, size_t offset, char code, char type, const char *value)
{
	uint32_t length = strlen(value);

	offset = ROUND_UP(offset, 8);
	at[offset] = code;
	at[offset + 1] = 1;
	at[offset + 2] = type;
	memcpy(at + offset + 4, &length, sizeof(length));
	memcpy(at + offset + 8, value, length + 1);
	return offset + 8 + length + 1;
}

/* GDBus, unlike libsystemd, sends the end of the authentication and its Hello in one piece. */
static void client_says_hello_at_once(void)
{
	char bytes[256] = "BEGIN\r\n", *hello = bytes + 7, answer[256], text[64];
	uint32_t serial = 1, fields;
	size_t size = 16;
	int fd;

	snprintf(text, sizeof(text), "%u", geteuid());
	CHECK(control_connect(path, &fd) == 0);
	CHECK(dprintf(fd, "%cAUTH EXTERNAL ", 0) > 0);
	for (const char *digit = text; *digit; digit++)
		CHECK(dprintf(fd, "%02x", *digit) > 0);
	CHECK(dprintf(fd, "\r\n") > 0);
	CHECK(read(fd, answer, sizeof(answer)) > 3 && memcmp(answer, "OK ", 3) == 0);

	memcpy(hello, "l\1\0\1\0\0\0\0", 8);
	memcpy(hello + 8, &serial, sizeof(serial));
	size = put_field(hello, size, 1, 'o', "/org/freedesktop/DBus");
	size = put_field(hello, size, 2, 's', BUS);
	size = put_field(hello, size, 3, 's', "Hello");
	size = put_field(hello, size, 6, 's', BUS);
	fields = size - 16;
	memcpy(hello + 12, &fields, sizeof(fields));
	size = ROUND_UP(size, 8);
	CHECK(write(fd, bytes, 7 + size) == (ssize_t)(7 + size));
	CHECK(read(fd, answer, sizeof(answer)) > 16 && answer[0] == 'l' && answer[1] == 2);
}

static void client_is_refused(void)
{
	unsigned i;

	connect_bus();
	for (i = 1; i <= VMSTATE_ID_COUNT; i++) {
		char owner[16];

		snprintf(owner, sizeof(owner), ":1.%u", i);
		CHECK(fails(owner, PROPERTIES, "GetAll", VMSTATE) < 0);
		CHECK(fails(owner, VMSTATE, "Save", NULL) < 0);
		CHECK(fails(owner, VMSTATE, "Load", NULL) < 0);
		CHECK(fails(owner, VMSTATE, "Reload", NULL) < 0);
	}
	CHECK(fails(VMSTATE, PROPERTIES, "GetAll", VMSTATE) < 0);
	CHECK(sd_bus_get_property_string(bus, ":1.1", VMSTATE_PATH, VMSTATE, "Id", NULL,
					 &(char *){ NULL }) < 0);
}

/* As QEMU does: all Ids, then each is saved and loaded. */
static void client_saves_and_loads(void)
{
	unsigned i;

	connect_bus();
	for (i = 0; i < VMSTATE_ID_COUNT; i++) {
		sd_bus_message *reply = NULL, *load = NULL;
		char owner[16], expected[16], *id = NULL;
		const char *data, *key;
		size_t size;

		snprintf(owner, sizeof(owner), ":1.%u", i + 1);
		snprintf(expected, sizeof(expected), "virtnvme-%02u", i);
		CHECK(sd_bus_get_property_string(bus, owner, VMSTATE_PATH, VMSTATE, "Id", NULL,
						 &id) >= 0);
		CHECK(string_equal(id, expected));
		CHECK(sd_bus_call_method(bus, owner, VMSTATE_PATH, PROPERTIES, "GetAll", NULL,
					 &reply, "s", VMSTATE) >= 0);
		CHECK(sd_bus_message_read(reply, "a{sv}", 1, &key, "s", &id) >= 0);
		CHECK(sd_bus_call_method(bus, owner, VMSTATE_PATH, VMSTATE, "Save", NULL, &reply,
					 "") >= 0);
		CHECK(sd_bus_message_read_array(reply, 'y', (const void **)&data, &size) >= 0);
		CHECK(size == VMSTATE_MAX_SIZE && data[0] == (char)i);
		CHECK(sd_bus_message_new_method_call(bus, &load, owner, VMSTATE_PATH, VMSTATE,
						     "Load") >= 0);
		CHECK(sd_bus_message_append_array(load, 'y', data, size) >= 0);
		CHECK(sd_bus_call(bus, load, 0, NULL, &reply) >= 0);
	}
}

static void client_gets_errors(void)
{
	int owned;

	connect_bus();
	CHECK(fails(":1.17", PROPERTIES, "GetAll", VMSTATE) == -EHOSTUNREACH);
	CHECK(fails("org.example", PROPERTIES, "GetAll", VMSTATE) == -EHOSTUNREACH);
	CHECK(fails(BUS, BUS, "Reload", NULL) < 0);
	CHECK(fails(BUS, BUS, "GetNameOwner", "org.example") < 0);
	CHECK(fails(BUS, BUS, "GetNameOwner", NULL) < 0);
	CHECK(fails(BUS, BUS, "GetNameOwner", BUS) < 0);
	CHECK(sd_bus_message_read(ask("NameHasOwner", VMSTATE), "b", &owned) >= 0 && owned);
	CHECK(sd_bus_message_read(ask("NameHasOwner", "org.example"), "b", &owned) >= 0 && !owned);
	/* It still serves. */
	ask("ListNames", NULL);
}

static void on_gone(void *opaque)
{
	sd_event_exit(opaque, 0);
}

/* The other side of the bus. */
static bool refuse;
static unsigned loads;
static struct vmstate_call *waiting;
static char saved[VMSTATE_MAX_SIZE];

static int answer_later(sd_event_source *source, uint64_t usec, void *opaque)
{
	vmstate_answer(waiting, NULL);
	waiting = NULL;
	return 0;
}

static void answer(void *opaque, struct vmstate_call *call)
{
	_cleanup_error_ struct error *err = NULL;

	if (refuse) {
		error_set(&err, EPERM, "a sentence");
		vmstate_answer(call, err);
		return;
	}
	waiting = call;
	sd_event_add_time_relative(opaque, NULL, CLOCK_MONOTONIC, 1000, 1, answer_later, NULL);
}

static int save(void *opaque, unsigned number, const void **ret_data, size_t *ret_size)
{
	if (refuse)
		return -ENODATA;
	saved[0] = number;
	*ret_data = saved;
	*ret_size = sizeof(saved);
	return 0;
}

static void load(void *opaque, unsigned number, const void *data, size_t size,
		 struct vmstate_call *call)
{
	loads += size == sizeof(saved) && memcmp(data, &(char){ number }, 1) == 0;
	answer(opaque, call);
}

static const struct vmstate_ops ops = { answer, save, load };

static void against(void (*client)(void))
{
	struct listener_options options = { .path = path, .uid = geteuid(), .gid = getegid() };
	struct vmstate *vmstate;
	struct peer peer;
	sd_event *loop;
	int status;
	pid_t child;

	strcpy(directory, "/tmp/test-vmstate.XXXXXX");
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/bus.sock", directory);
	assert_true(sd_event_new(&loop) >= 0);
	peer_init(&peer, loop, NULL, on_gone, loop);
	options.peer = &peer;
	vmstate = vmstate_new(loop, &options, &ops, loop, NULL);
	assert_non_null(vmstate);
	child = fork();
	if (child == 0) {
		alarm(20);
		client();
		_exit(0);
	}
	assert_int_equal(sd_event_loop(loop), 0);
	waitpid(child, &status, 0);
	vmstate_free(vmstate);
	peer_done(&peer);
	sd_event_unref(loop);
	assert_int_equal(rmdir(directory), 0);
	assert_int_equal(status, 0);
}

static void has_all_owners(void **state)
{
	against(client_finds_all_owners);
}

static void puts_matches_off(void **state)
{
	against(client_waits_for_a_match);
	against(client_is_not_woken_by_matches);
}

static void answers_hello_at_once(void **state)
{
	against(client_says_hello_at_once);
}

static void passes_refusals_on(void **state)
{
	refuse = true;
	against(client_is_refused);
}

static void gives_and_takes_state(void **state)
{
	refuse = false;
	loads = 0;
	against(client_saves_and_loads);
	assert_int_equal(loads, VMSTATE_ID_COUNT);
}

static void answers_what_it_does_not_know(void **state)
{
	against(client_gets_errors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(has_all_owners),
		cmocka_unit_test(puts_matches_off),
		cmocka_unit_test(answers_hello_at_once),
		cmocka_unit_test(passes_refusals_on),
		cmocka_unit_test(gives_and_takes_state),
		cmocka_unit_test(answers_what_it_does_not_know),
	};

	log_open("test-vmstate", LOG_ERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
