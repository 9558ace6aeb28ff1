// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "tests/unit/vfio-user/rig.h"

struct pipe_end {
	struct vfio_user_transport *transport;
	int fd;
};

static int setup(void **state)
{
	struct pipe_end *end = calloc(1, sizeof(*end));
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	end->fd = pair[0];
	end->transport = vfio_user_transport_socket_new(pair[1]);
	*state = end;
	return 0;
}

static int teardown(void **state)
{
	struct pipe_end *end = *state;

	end->transport->ops->free(end->transport);
	close(end->fd);
	free(end);
	return 0;
}

static int receive(struct pipe_end *end, struct vfio_user_message *message)
{
	return end->transport->ops->receive(end->transport, message);
}

static void send_bytes(struct pipe_end *end, const void *data, size_t len, const int *fds,
		       size_t fd_count)
{
	struct iovec iov = { (void *)data, len };

	assert_int_equal(fd_send(end->fd, &iov, 1, fds, fd_count, 0), len);
}

static void takes_a_message_in_pieces(void **state)
{
	struct {
		struct vfio_user_header header;
		char payload[8];
	} bytes = { { .id = 7, .command = 9, .size = 24 }, "1234567" };
	struct vfio_user_message message;
	size_t i;

	for (i = 0; i < sizeof(bytes); i++) {
		assert_int_equal(receive(*state, &message), 0);
		send_bytes(*state, (char *)&bytes + i, 1, NULL, 0);
	}
	assert_int_equal(receive(*state, &message), 1);
	assert_memory_equal(&message.header, &bytes.header, 16);
	assert_int_equal(message.payload_size, 8);
	assert_string_equal(message.payload, "1234567");
	assert_int_equal((uintptr_t)message.payload % 8, 0);
	assert_int_equal(receive(*state, &message), 0);
}

/* Two messages in one write, each with its own descriptors. */
static void descriptors_stay_with_their_message(void **state)
{
	struct pipe_end *end = *state;
	struct vfio_user_header headers[3] = { { .id = 1, .size = 16 },
					       { .id = 2, .size = 16 },
					       { .id = 3, .size = 16 } };
	int fds[3] = { end->fd, end->fd, end->fd };
	struct vfio_user_message message;

	send_bytes(end, &headers[0], 16, NULL, 0);
	send_bytes(end, &headers[1], 16, fds, 1);
	send_bytes(end, &headers[2], 8, fds, 2);
	send_bytes(end, (char *)&headers[2] + 8, 8, fds, 1);
	assert_int_equal(receive(end, &message), 1);
	assert_int_equal(message.fd_count, 0);
	assert_int_equal(receive(end, &message), 1);
	assert_int_equal(message.header.id, 2);
	assert_int_equal(message.fd_count, 1);
	fd_close_all(message.fds, 1);
	while (receive(end, &message) == 0)
		;
	assert_int_equal(message.header.id, 3);
	assert_int_equal(message.fd_count, 3);
	fd_close_all(message.fds, 3);
}

static void too_many_descriptors_are_the_end(void **state)
{
	struct pipe_end *end = *state;
	struct vfio_user_header header = { .size = 16 };
	struct vfio_user_message message;
	int fds[17], i;

	for (i = 0; i < 17; i++)
		fds[i] = end->fd;
	send_bytes(end, &header, 16, fds, 17);
	assert_true(receive(end, &message) < 0);
}

static void a_header_that_cannot_be_is_the_end(void **state)
{
	static const struct vfio_user_header bad[] = {
		{ .size = 0 },
		{ .size = 15 },
		{ .size = VFIO_USER_MAX_MESSAGE + 1 },
		{ .size = UINT32_MAX },
		{ .size = 16, .flags = 2 },
		{ .size = 16, .flags = 15 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vfio_user_message message;
		void *end;

		setup(&end);
		send_bytes(end, &bad[i], 16, NULL, 0);
		assert_int_equal(receive(end, &message), -EPROTO);
		teardown(&end);
	}
}

static void an_end_inside_a_message_is_an_error(void **state)
{
	struct pipe_end *end = *state;
	struct vfio_user_message message;

	send_bytes(end, "half", 4, NULL, 0);
	shutdown(end->fd, SHUT_WR);
	assert_int_equal(receive(end, &message), 0);
	assert_int_equal(receive(end, &message), -EPROTO);
}

/* QEMU reads the header alone, and takes less than 16 bytes for the end. */
static void a_header_comes_whole_with_its_payload(void **state)
{
	struct pipe_end *end = *state;
	struct vfio_user_header header = { .id = 1, .size = 24 };
	struct vfio_user_transport *transport;
	char data[8] = "1234567", buf[64];
	struct iovec payload = { data, 8 };
	int pair[2];

	assert_int_equal(end->transport->ops->send(end->transport, &header, &payload, 1, NULL, 0),
			 0);
	assert_int_equal(recv(end->fd, buf, sizeof(buf), MSG_DONTWAIT), 24);
	/* One piece also where pieces can be seen. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	transport = vfio_user_transport_socket_new(pair[1]);
	assert_int_equal(transport->ops->send(transport, &header, &payload, 1, NULL, 0), 0);
	assert_int_equal(recv(pair[0], buf, sizeof(buf), MSG_DONTWAIT), 24);
	transport->ops->free(transport);
	close(pair[0]);
}

#define SENDERS	 4
#define MESSAGES 200

static void *sender(void *opaque)
{
	struct pipe_end *end = opaque;
	static uint8_t data[100 * 1024];
	unsigned i;

	for (i = 0; i < MESSAGES; i++) {
		size_t size = i % 2 ? 24 : sizeof(data);
		struct vfio_user_header header = { .id = size & 0xffff, .size = 16 + size };
		struct iovec payload = { data, size };

		if (end->transport->ops->send(end->transport, &header, &payload, 1, NULL, 0) < 0)
			return end;
	}
	return NULL;
}

/* Several threads and a reader that is slower than they: every message whole. */
static void messages_of_threads_do_not_mix(void **state)
{
	struct pipe_end *end = *state;
	pthread_t threads[SENDERS];
	_cleanup_free_ char *buf = malloc(100 * 1024);
	unsigned i;

	for (i = 0; i < SENDERS; i++)
		pthread_create(&threads[i], NULL, sender, end);
	for (i = 0; i < SENDERS * MESSAGES; i++) {
		struct vfio_user_header header;

		assert_int_equal(fd_read_full(end->fd, &header, sizeof(header)), 0);
		assert_true(header.size == 40 || header.size == 16 + 100 * 1024);
		assert_int_equal(header.id, (header.size - 16) & 0xffff);
		assert_int_equal(fd_read_full(end->fd, buf, header.size - 16), 0);
	}
	for (i = 0; i < SENDERS; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
}

static void a_reader_that_is_gone_is_an_error(void **state)
{
	struct pipe_end *end = *state;
	struct vfio_user_header header = { .size = 16 };

	shutdown(end->fd, SHUT_RDWR);
	assert_int_equal(end->transport->ops->send(end->transport, &header, NULL, 0, NULL, 0),
			 -EPIPE);
	assert_int_equal(end->transport->ops->send(end->transport, &header, NULL, 0, NULL, 0),
			 -EPIPE);
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(takes_a_message_in_pieces),
		test(descriptors_stay_with_their_message),
		test(too_many_descriptors_are_the_end),
		cmocka_unit_test(a_header_that_cannot_be_is_the_end),
		test(an_end_inside_a_message_is_an_error),
		test(a_header_comes_whole_with_its_payload),
		test(messages_of_threads_do_not_mix),
		test(a_reader_that_is_gone_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
