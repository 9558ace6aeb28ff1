// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/util.h"
#include "vfio-user/transport.h"

/*
 * Theory of operation
 *
 * Receiving reads exactly up to the end of the header, then exactly up to the end of the message:
 * descriptors come with the byte they were sent with, so what a read returns belongs to the message
 * that is being read. Nothing is ever read ahead of the message in hand.
 *
 * Sending writes header and payload by one sendmsg(): QEMU takes a header that comes in two pieces
 * for a broken connection. The kernel cuts a large message only behind its first piece, which holds
 * the header. When the socket is full the rest follows when there is room, under the lock that
 * keeps other threads' messages out.
 */

#define SEND_TIMEOUT_MS 5000 /* a client that reads nothing for so long is dead */

struct socket_transport {
	struct vfio_user_transport base;
	struct vfio_user_message message; /* being received */
	size_t received;
	void *payload; /* VFIO_USER_MAX_MESSAGE bytes */
	pthread_mutex_t send_lock;
	int send_error;
};

static void begin_message(struct socket_transport *transport)
{
	transport->received = 0;
	transport->message.fd_count = 0;
}

/* Return: 1: all of it is there; 0: not yet; -errno. */
static int receive_part(struct socket_transport *transport, void *buf, size_t len)
{
	struct vfio_user_message *message = &transport->message;
	struct iovec iov = { buf, len };
	size_t count = 0;
	ssize_t n;

	n = fd_receive(transport->base.fd, &iov, 1, message->fds + message->fd_count,
		       VFIO_USER_MAX_FDS - message->fd_count, &count, MSG_DONTWAIT);
	if (n == -EAGAIN)
		return 0;
	if (n < 0)
		return n;
	message->fd_count += count;
	if (n == 0)
		return transport->received ? -EPROTO : -ENOTCONN;
	transport->received += n;
	return (size_t)n == len;
}

static int check_header(const struct vfio_user_header *header)
{
	uint32_t type = header->flags & VFIO_USER_FLAG_TYPE_MASK;

	if (header->size >= sizeof(*header) && header->size <= VFIO_USER_MAX_MESSAGE &&
	    (type == VFIO_USER_FLAG_COMMAND || type == VFIO_USER_FLAG_REPLY))
		return 0;
	log_guest(LOG_ERR, "the client sent a header that cannot be: %u bytes, flags 0x%x",
		  header->size, header->flags);
	return -EPROTO;
}

static int socket_receive(struct vfio_user_transport *base, struct vfio_user_message *ret)
{
	struct socket_transport *transport = container_of(base, struct socket_transport, base);
	struct vfio_user_message *message = &transport->message;
	size_t header_size = sizeof(message->header);
	int r;

	if (transport->received < header_size) {
		r = receive_part(transport, (char *)&message->header + transport->received,
				 header_size - transport->received);
		if (r <= 0)
			return r;
		r = check_header(&message->header);
		if (r < 0)
			return r;
	}
	if (transport->received < message->header.size) {
		r = receive_part(transport,
				 (char *)transport->payload + transport->received - header_size,
				 message->header.size - transport->received);
		if (r <= 0)
			return r;
	}
	message->payload = transport->payload;
	message->payload_size = message->header.size - header_size;
	*ret = *message;
	begin_message(transport);
	return 1;
}

static int wait_for_room(int fd, int64_t deadline)
{
	struct pollfd wait = { .fd = fd, .events = POLLOUT };
	int64_t now = clock_ms(CLOCK_MONOTONIC);
	int r;

	if (now >= deadline)
		return -ETIMEDOUT;
	r = poll(&wait, 1, deadline - now);
	if (r < 0 && errno != EINTR)
		return -errno;
	return 0;
}

static void skip_sent(struct iovec **iov, size_t *iovcnt, size_t n)
{
	while (*iovcnt && n >= (*iov)->iov_len) {
		n -= (*iov)->iov_len;
		(*iov)++;
		(*iovcnt)--;
	}
	if (*iovcnt) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + n;
		(*iov)->iov_len -= n;
	}
}

static int send_all(int fd, struct iovec *iov, size_t iovcnt, const int *fds, size_t fd_count)
{
	int64_t deadline = clock_ms(CLOCK_MONOTONIC) + SEND_TIMEOUT_MS;

	while (iovcnt) {
		ssize_t n = fd_send(fd, iov, iovcnt, fds, fd_count, MSG_DONTWAIT);
		int r;

		if (n >= 0) {
			skip_sent(&iov, &iovcnt, n);
			fd_count = 0;
			deadline = clock_ms(CLOCK_MONOTONIC) + SEND_TIMEOUT_MS;
			continue;
		}
		if (n != -EAGAIN)
			return n;
		r = wait_for_room(fd, deadline);
		if (r < 0)
			return r;
	}
	return 0;
}

static int socket_send(struct vfio_user_transport *base, const struct vfio_user_header *header,
		       const struct iovec *payload, size_t iovcnt, const int *fds, size_t fd_count)
{
	struct socket_transport *transport = container_of(base, struct socket_transport, base);
	struct iovec iov[8] = { { (void *)header, sizeof(*header) } };
	int r;

	if (iovcnt > ARRAY_SIZE(iov) - 1)
		return -EINVAL;
	if (iovcnt)
		memcpy(iov + 1, payload, iovcnt * sizeof(*payload));
	pthread_mutex_lock(&transport->send_lock);
	r = transport->send_error;
	if (r == 0)
		r = send_all(base->fd, iov, iovcnt + 1, fds, fd_count);
	if (r < 0 && !transport->send_error) {
		/* Perhaps in the middle of a message: nothing may follow, and the receiver shall
		 * notice. */
		transport->send_error = r;
		shutdown(base->fd, SHUT_RDWR);
	}
	pthread_mutex_unlock(&transport->send_lock);
	return r;
}

static void socket_free(struct vfio_user_transport *base)
{
	struct socket_transport *transport = container_of(base, struct socket_transport, base);

	fd_close_all(transport->message.fds, transport->message.fd_count);
	close(base->fd);
	pthread_mutex_destroy(&transport->send_lock);
	free(transport->payload);
	free(transport);
}

static const struct vfio_user_transport_ops socket_ops = {
	.receive = socket_receive,
	.send = socket_send,
	.free = socket_free,
};

struct vfio_user_transport *vfio_user_transport_socket_new(int fd)
{
	struct socket_transport *transport = calloc(1, sizeof(*transport));

	if (transport)
		transport->payload = malloc(VFIO_USER_MAX_MESSAGE);
	if (!transport || !transport->payload) {
		free(transport);
		close(fd);
		return NULL;
	}
	transport->base.ops = &socket_ops;
	transport->base.fd = fd;
	pthread_mutex_init(&transport->send_lock, NULL);
	begin_message(transport);
	return &transport->base;
}
