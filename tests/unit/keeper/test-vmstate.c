// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>

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
		ask("AddMatch", "type='signal'");
		CHECK(sd_bus_message_read(ask("GetNameOwner", owners[i]), "s", &name) >= 0);
		CHECK(string_equal(name, owners[i]));
		ask("RemoveMatch", "type='signal'");
	}
	CHECK(i == VMSTATE_ID_COUNT);
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

static void client_gets_no_id(void)
{
	unsigned i;

	connect_bus();
	for (i = 1; i <= VMSTATE_ID_COUNT; i++) {
		char owner[16];

		snprintf(owner, sizeof(owner), ":1.%u", i);
		CHECK(fails(owner, PROPERTIES, "GetAll", VMSTATE) == -EOPNOTSUPP);
		CHECK(fails(owner, VMSTATE, "Save", NULL) < 0);
		CHECK(fails(owner, VMSTATE, "Load", NULL) < 0);
	}
	CHECK(fails(VMSTATE, PROPERTIES, "GetAll", VMSTATE) == -EOPNOTSUPP);
	CHECK(sd_bus_get_property_string(bus, ":1.1", VMSTATE_PATH, VMSTATE, "Id", NULL,
					 &(char *){ NULL }) < 0);
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
	CHECK(sd_bus_message_read(ask("NameHasOwner", VMSTATE), "b", &owned) >= 0 && owned);
	CHECK(sd_bus_message_read(ask("NameHasOwner", "org.example"), "b", &owned) >= 0 && !owned);
	/* It still serves. */
	ask("ListNames", NULL);
}

static void on_gone(void *opaque)
{
	sd_event_exit(opaque, 0);
}

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
	vmstate = vmstate_new(loop, &options, NULL);
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

static void answers_hello_at_once(void **state)
{
	against(client_says_hello_at_once);
}

/* What QEMU tells its user does not say why: the log does. */
static void gives_no_id(void **state)
{
	int saved = dup(STDERR_FILENO);
	FILE *log = tmpfile();
	char text[512] = "";

	assert_non_null(log);
	dup2(fileno(log), STDERR_FILENO);
	log_open("test-vmstate", LOG_WARNING);
	against(client_gets_no_id);
	log_open("test-vmstate", LOG_ERR);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(log);
	assert_non_null(fgets(text, sizeof(text), log));
	assert_non_null(
		strstr(text, "refused: the domain has NVMe disks of virtnvme, which cannot"));
	fclose(log);
}

static void answers_what_it_does_not_know(void **state)
{
	against(client_gets_errors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(has_all_owners),
		cmocka_unit_test(answers_hello_at_once),
		cmocka_unit_test(gives_no_id),
		cmocka_unit_test(answers_what_it_does_not_know),
	};

	log_open("test-vmstate", LOG_ERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
