// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/util.h"
#include "control/channel.h"
#include "control/commands.h"
#include "tests/unit/test.h"

/* One end is served by a connection on `loop`, the other is a bare socket or a second one. */
static sd_event *loop;
static int pair[2];

static struct {
	struct control_request *kept[128]; /* when `keep` */
	unsigned kept_count;
	char *command;
	unsigned requests, events, closed;
	size_t fds;
	bool keep, free_in_request;
	struct control_connection *connection;
} server;

static struct {
	unsigned done;
	int code;
	char *message;
	bool had_result;
} client;

static void on_request(void *opaque, struct control_request *request, const char *command,
		       struct json_object *arguments, int *fds, size_t fd_count)
{
	size_t i;

	server.requests++;
	server.fds = fd_count;
	free(server.command);
	server.command = strdup(command);
	for (i = 0; i < fd_count; i++) {
		fd_eventfd_signal(fds[i]);
		close(fds[i]);
	}
	if (server.free_in_request)
		control_connection_free(steal_pointer(server.connection));
	if (server.keep) {
		server.kept[server.kept_count++] = request;
		return;
	}
	if (strcmp(command, "stop") == 0) {
		struct error *err = NULL;

		error_set(&err, EBUSY, "still in use");
		control_request_fail(request, err);
	} else {
		control_request_reply(request, NULL);
	}
}

static void on_event(void *opaque, const char *event, struct json_object *data)
{
	server.events++;
	assert_string_equal(event, "closed");
	assert_int_equal(json_u64_or(data, "index", 99), 3);
}

static void on_closed(void *opaque)
{
	server.closed++;
	server.connection = NULL;
}

static const struct control_handler_ops ops = { on_request, on_event, on_closed };

static void on_done(void *opaque, struct json_object *result, const struct error *err)
{
	client.done++;
	client.code = err ? err->code : 0;
	client.had_result = result != NULL;
	free(client.message);
	client.message = err ? strdup(err->message) : NULL;
}

static int setup(void **state)
{
	memset(&server, 0, sizeof(server));
	memset(&client, 0, sizeof(client));
	if (sd_event_new(&loop) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	server.connection = control_connection_new(loop, pair[0], CONTROL_CONTROLLER, &ops, NULL);
	return server.connection ? 0 : -1;
}

static int teardown(void **state)
{
	if (server.connection)
		control_connection_free(server.connection);
	if (pair[1] >= 0)
		close(pair[1]);
	while (server.kept_count)
		control_request_reply(server.kept[--server.kept_count], NULL);
	free(server.command);
	free(client.message);
	sd_event_unref(loop);
	return 0;
}

static void run(void)
{
	int i;

	for (i = 0; i < 50; i++)
		if (sd_event_run(loop, 2000) == 0)
			break;
}

static void put_raw(const void *bytes, size_t size)
{
	assert_int_equal(fd_write_full(pair[1], bytes, size), 0);
}

static void put_message(const char *text)
{
	uint32_t length = strlen(text);

	put_raw(&length, 4);
	put_raw(text, length);
}

static void get_message(char *text, size_t room)
{
	uint32_t length;

	assert_int_equal(fd_read_full(pair[1], &length, 4), 0);
	assert_true(length < room);
	assert_int_equal(fd_read_full(pair[1], text, length), 0);
	text[length] = '\0';
}

static void reassembles_partial_messages(void **state)
{
	static const char message[] = "\x1d\0\0\0{\"id\":5,\"command\":\"counters\"}";
	char text[256];
	size_t i;

	for (i = 0; i < sizeof(message) - 1; i++) {
		assert_int_equal(server.requests, 0);
		put_raw(message + i, 1);
		run();
	}
	assert_int_equal(server.requests, 1);
	get_message(text, sizeof(text));
	assert_string_equal(text, "{\"id\":5,\"result\":{}}");
}

static void takes_messages_that_come_together(void **state)
{
	char text[256];

	put_message("{\"id\":1,\"command\":\"counters\"}");
	put_message("{\"id\":2,\"command\":\"stop\"}");
	put_message("{\"event\":\"closed\",\"data\":{\"index\":3}}");
	run();
	assert_int_equal(server.requests, 2);
	assert_int_equal(server.events, 1);
	get_message(text, sizeof(text));
	assert_string_equal(text, "{\"id\":1,\"result\":{}}");
	get_message(text, sizeof(text));
	assert_string_equal(text,
			    "{\"id\":2,\"error\":{\"code\":16,\"message\":\"still in use\"}}");
}

static void answers_what_the_table_refuses(void **state)
{
	char text[256];

	put_message("{\"id\":1,\"command\":\"status\"}");
	put_message("{\"id\":2,\"command\":\"remove-controller\",\"arguments\":{\"index\":-2}}");
	put_message("{\"id\":3,\"command\":\"remove-controller\",\"arguments\":7}");
	run();
	assert_int_equal(server.requests, 0);
	get_message(text, sizeof(text));
	assert_non_null(strstr(text, "{\"id\":1,\"error\":{\"code\":95,"));
	get_message(text, sizeof(text));
	assert_non_null(strstr(text, "{\"id\":2,\"error\":{\"code\":22,"));
	get_message(text, sizeof(text));
	assert_non_null(strstr(text, "{\"id\":3,\"error\":{\"code\":22,"));
	assert_int_equal(server.closed, 0);
}

static void closes_on_an_oversize_length(void **state)
{
	uint32_t length = CONTROL_MAX_MESSAGE + 1;
	char byte;

	put_raw(&length, 4);
	run();
	assert_int_equal(server.closed, 1);
	assert_int_equal(read(pair[1], &byte, 1), 0);
}

static void closes_on_an_empty_message(void **state)
{
	put_raw("\0\0\0\0", 4);
	run();
	assert_int_equal(server.closed, 1);
}

static void closes_on_what_is_no_message(void **state)
{
	put_message("[1,2]");
	run();
	assert_int_equal(server.closed, 1);
}

static void passes_descriptors(void **state)
{
	struct control_connection *other;
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), fds[3] = { event, event, event };
	struct json_object *arguments = json_object_new_object();

	json_add_u64(arguments, "index", 0);
	json_add_string(arguments, "serial", "S");
	json_add_u64(arguments, "queues", 1);
	other = control_connection_new(loop, steal_fd(&pair[1]), CONTROL_NONE, &ops, NULL);
	control_connection_call(other, "counters", NULL, NULL, 0, on_done, NULL);
	control_connection_call(other, "add-controller", arguments, fds, 3, on_done, NULL);
	control_connection_call(other, "counters", NULL, NULL, 0, on_done, NULL);
	run();
	assert_int_equal(client.done, 3);
	assert_int_equal(server.requests, 3);
	assert_int_equal(server.fds, 0); /* of the last one */
	assert_true(fd_eventfd_drain(event));
	close(event);
	control_connection_free(other);
}

/* Descriptors that a command does not take are closed, and the connection lives. */
static void refuses_unwanted_descriptors(void **state)
{
	int event = eventfd(0, EFD_CLOEXEC), before, after;
	struct iovec iov = { (void *)"\x1d\0\0\0{\"id\":9,\"command\":\"counters\"}", 33 };
	char text[256];

	before = dup(0);
	close(before);
	assert_int_equal(fd_send(pair[1], &iov, 1, &event, 1, 0), 33);
	run();
	after = dup(0);
	close(after);
	assert_int_equal(before, after);
	assert_int_equal(server.requests, 0);
	get_message(text, sizeof(text));
	assert_non_null(strstr(text, "\"code\":22"));
	assert_int_equal(server.closed, 0);
	close(event);
}

static void descriptors_in_the_middle_close(void **state)
{
	int event = eventfd(0, EFD_CLOEXEC);
	struct iovec iov = { (void *)"{\"id\"", 5 };

	put_raw("\x1d\0\0\0", 4);
	assert_int_equal(fd_send(pair[1], &iov, 1, &event, 1, 0), 5);
	run();
	assert_int_equal(server.closed, 1);
	close(event);
}

static void call_survives_a_lost_connection(void **state)
{
	struct control_connection *other =
		control_connection_new(loop, steal_fd(&pair[1]), CONTROL_NONE, &ops, NULL);

	server.keep = true;
	control_connection_call(other, "counters", NULL, NULL, 0, on_done, NULL);
	run();
	assert_int_equal(client.done, 0);
	assert_int_equal(server.kept_count, 1);
	control_connection_free(steal_pointer(server.connection));
	run();
	assert_int_equal(client.done, 1);
	assert_int_equal(client.code, ECONNRESET);
	assert_int_equal(server.closed, 1); /* other's: nobody hears of a free() */
}

static void call_to_a_dead_peer_fails_later(void **state)
{
	close(steal_fd(&pair[1]));
	control_connection_call(server.connection, "counters", NULL, NULL, 0, on_done, NULL);
	assert_int_equal(client.done, 0);
	assert_int_equal(server.closed, 0);
	run();
	assert_int_equal(client.done, 1);
	assert_int_equal(client.code, ECONNRESET);
	assert_int_equal(server.closed, 1);
}

static void oversize_call_fails_alone(void **state)
{
	struct json_object *arguments = json_object_new_object();
	char *big = malloc(CONTROL_MAX_MESSAGE + 1);

	memset(big, 'x', CONTROL_MAX_MESSAGE);
	big[CONTROL_MAX_MESSAGE] = '\0';
	json_add_string(arguments, "xml", big);
	free(big);
	control_connection_call(server.connection, "define", arguments, NULL, 0, on_done, NULL);
	run();
	assert_int_equal(client.done, 1);
	assert_int_equal(client.code, EMSGSIZE);
	assert_int_equal(server.closed, 0);
}

static void handler_may_free_the_connection(void **state)
{
	server.free_in_request = true;
	put_message("{\"id\":1,\"command\":\"counters\"}");
	put_message("{\"id\":2,\"command\":\"counters\"}");
	run();
	assert_int_equal(server.requests, 1);
	assert_int_equal(server.closed, 0);
}

/* A peer that asks and asks without an answer is not read beyond a bound. */
static void bounds_unanswered_requests(void **state)
{
	int i;

	server.keep = true;
	for (i = 1; i <= 100; i++) {
		char text[64];

		snprintf(text, sizeof(text), "{\"id\":%d,\"command\":\"counters\"}", i);
		put_message(text);
	}
	for (i = 0; i < 200; i++)
		if (sd_event_run(loop, 2000) == 0)
			break;
	assert_int_equal(server.requests, 64);
}

static void *serve(void *opaque)
{
	const char *mode = opaque;
	char text[512];

	get_message(text, sizeof(text));
	if (strcmp(mode, "error") == 0) {
		uint64_t id = strtoull(strstr(text, "\"id\":") + 5, NULL, 10);

		put_message("{\"event\":\"closed\",\"data\":{}}");
		put_message("{\"id\":0,\"result\":{}}");
		snprintf(text, sizeof(text),
			 "{\"id\":%llu,\"error\":{\"code\":2,\"message\":\"no such domain\"}}",
			 (unsigned long long)id);
		put_message(text);
	} else if (strcmp(mode, "close") == 0) {
		shutdown(pair[1], SHUT_RDWR);
	}
	return NULL;
}

static int call_against(const char *mode, int timeout_ms, struct error **errp)
{
	pthread_t thread;
	int fd = dup(pair[0]), r;

	control_connection_free(steal_pointer(server.connection));
	assert_int_equal(pthread_create(&thread, NULL, serve, (void *)mode), 0);
	r = control_call(fd, "info", NULL, timeout_ms, NULL, errp);
	pthread_join(thread, NULL);
	close(fd);
	return r;
}

/* For a process that becomes another program: nothing of a request is anywhere but in the socket. */
static void held_is_read_to_the_end_of_a_request(void **state)
{
	static const char text[] = "{\"id\": 7, \"command\": \"counters\"}";
	const uint32_t length = sizeof(text) - 1;

	assert_true(control_connection_is_idle(server.connection, NULL));
	put_raw(&length, 4);
	put_raw(text, 5);
	run();
	assert_false(control_connection_is_idle(server.connection, NULL));
	control_connection_hold(server.connection, true);
	server.keep = true;
	put_raw(text + 5, length - 5);
	put_message(text);
	run();
	assert_int_equal(server.requests, 1);
	assert_false(control_connection_is_idle(server.connection, NULL));
	assert_true(control_connection_is_idle(server.connection, server.kept[0]));
	control_request_reply(server.kept[--server.kept_count], NULL);
	run();
	assert_true(control_connection_is_idle(server.connection, NULL));
	assert_int_equal(server.requests, 1);
	control_connection_hold(server.connection, false);
	run();
	assert_int_equal(server.requests, 2);
	control_connection_call(server.connection, "status", NULL, NULL, 0, on_done, NULL);
	assert_false(control_connection_is_idle(server.connection, server.kept[0]));
}

static void blocking_call_takes_its_own_answer(void **state)
{
	_cleanup_error_ struct error *err = NULL;

	assert_int_equal(call_against("error", -1, &err), -ENOENT);
	assert_string_equal(err->message, "no such domain");
}

static void blocking_call_sees_a_lost_connection(void **state)
{
	_cleanup_error_ struct error *err = NULL;

	assert_int_equal(call_against("close", 10000, &err), -ECONNRESET);
}

static void blocking_call_times_out(void **state)
{
	_cleanup_error_ struct error *err = NULL;

	assert_int_equal(call_against("silence", 50, &err), -ETIMEDOUT);
}

static void listens_with_the_mode(void **state)
{
	char directory[] = "/tmp/test-channel.XXXXXX", path[64];
	struct stat st;
	pid_t pid;
	int fd, connected, accepted;
	struct control_connection *connection;

	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/s", directory);
	fd = control_listen(path, 0640);
	assert_true(fd >= 0);
	close(fd);
	fd = control_listen(path, 0600); /* an old one is replaced */
	assert_true(fd >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(control_connect(path, &connected), 0);
	accepted = accept(fd, NULL, NULL);
	connection = control_connection_new(loop, accepted, CONTROL_KEEPER, &ops, NULL);
	assert_int_equal(control_connection_peer(connection, &pid, NULL), 0);
	assert_int_equal(pid, getpid());
	control_connection_free(connection);
	close(connected);
	close(fd);
	unlink(path);
	assert_int_equal(control_connect(path, &connected), -ENOENT);
	rmdir(directory);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(reassembles_partial_messages),
		TEST(takes_messages_that_come_together),
		TEST(answers_what_the_table_refuses),
		TEST(closes_on_an_oversize_length),
		TEST(closes_on_an_empty_message),
		TEST(closes_on_what_is_no_message),
		TEST(passes_descriptors),
		TEST(refuses_unwanted_descriptors),
		TEST(descriptors_in_the_middle_close),
		TEST(call_survives_a_lost_connection),
		TEST(call_to_a_dead_peer_fails_later),
		TEST(oversize_call_fails_alone),
		TEST(handler_may_free_the_connection),
		TEST(bounds_unanswered_requests),
		TEST(held_is_read_to_the_end_of_a_request),
		TEST(blocking_call_takes_its_own_answer),
		TEST(blocking_call_sees_a_lost_connection),
		TEST(blocking_call_times_out),
		TEST(listens_with_the_mode),
	};

	alarm(60); /* a wait for what never comes is a failure */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
