// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/relay-frame.h"
#include "base/util.h"
#include "vfio-user/transport.h"

/*
 * Theory of operation
 *
 * The format, and when a message is acknowledged, is in base/relay-frame.h. Here:
 *
 * A command that wants a reply is remembered with its number until send() sees the reply to its id.
 * The server answers at once, but for one DEVICE_RESET, so there are never more than a few. Every
 * other message has been handled when the server asks for the next one: that is when it is
 * acknowledged.
 *
 * The ring to the keeper is ours alone; `head` and the keeper's `released` count bytes for ever,
 * modulo 2^32. A payload that does not fit between `place` and the end of the area begins at its
 * start, and what it skipped counts as used by it.
 */

#define SEND_TIMEOUT_MS 5000 /* a keeper that takes nothing for so long is gone */
#define MAX_UNANSWERED	16

struct unanswered {
	uint16_t id;
	uint64_t sequence;
};

struct relay_transport {
	struct vfio_user_transport base;
	bool greeted;
	void *datagram; /* frame, header and inline payload */

	struct relay_bulk *bulk;
	size_t bulk_size;
	uint64_t from_keeper_offset, from_keeper_size;

	/* Acknowledging: the message in hand, and how many RELAY_ACK has not covered. */
	uint64_t in_hand;
	unsigned since_ack;

	pthread_mutex_t send_lock;
	/* Under the lock: */
	int send_error;
	struct unanswered unanswered[MAX_UNANSWERED];
	unsigned unanswered_count;
	uint64_t ring_offset;
	uint32_t ring_size, head, place;
};

#define DATAGRAM_MAX (sizeof(struct relay_frame) + RELAY_HEADER_SIZE + RELAY_INLINE_MAX)

static_assert(RELAY_HEADER_SIZE == sizeof(struct vfio_user_header), "the keeper's view");
static_assert(RELAY_MAX_FDS == VFIO_USER_MAX_FDS, "the keeper's view");

/* Called with the lock. */
static int send_datagram(struct relay_transport *transport, const struct iovec *iov, size_t iovcnt,
			 const int *fds, size_t fd_count)
{
	int64_t deadline = clock_ms(CLOCK_MONOTONIC) + SEND_TIMEOUT_MS;
	ssize_t n;

	while ((n = fd_send(transport->base.fd, iov, iovcnt, fds, fd_count, MSG_DONTWAIT)) ==
	       -EAGAIN) {
		struct pollfd wait = { .fd = transport->base.fd, .events = POLLOUT };
		int64_t now = clock_ms(CLOCK_MONOTONIC);

		if (now >= deadline)
			return -ETIMEDOUT;
		if (poll(&wait, 1, deadline - now) < 0 && errno != EINTR)
			return -errno;
	}
	return n < 0 ? n : 0;
}

static bool area_fits(uint64_t offset, uint64_t size, uint64_t file_size)
{
	return offset % 8 == 0 && size % 8 == 0 && offset >= sizeof(struct relay_bulk) &&
	       size >= 2 * RELAY_PAYLOAD_MAX && size <= GiB && offset <= file_size &&
	       size <= file_size - offset;
}

static int greet(struct relay_transport *transport, size_t len, const int *fds, size_t fd_count)
{
	const struct relay_frame *frame = transport->datagram;
	const struct relay_hello *hello = (const void *)(frame + 1);
	struct stat st;
	void *bulk;

	if (len != sizeof(*frame) + sizeof(*hello) || frame->kind != RELAY_HELLO || fd_count != 1 ||
	    hello->version != RELAY_VERSION || fstat(fds[0], &st) < 0 ||
	    !area_fits(hello->to_controller_offset, hello->to_controller_size, st.st_size) ||
	    !area_fits(hello->to_keeper_offset, hello->to_keeper_size, st.st_size))
		return -EPROTO;
	bulk = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
	if (bulk == MAP_FAILED)
		return -errno;
	transport->bulk = bulk;
	transport->bulk_size = st.st_size;
	transport->from_keeper_offset = hello->to_controller_offset;
	transport->from_keeper_size = hello->to_controller_size;
	transport->ring_offset = hello->to_keeper_offset;
	transport->ring_size = hello->to_keeper_size;
	transport->greeted = true;
	return 0;
}

static int send_ack(struct relay_transport *transport, uint64_t sequence)
{
	struct relay_frame frame = { .kind = RELAY_ACK, .sequence = sequence };
	struct iovec iov = { &frame, sizeof(frame) };
	int r;

	pthread_mutex_lock(&transport->send_lock);
	r = transport->send_error ? transport->send_error
				  : send_datagram(transport, &iov, 1, NULL, 0);
	pthread_mutex_unlock(&transport->send_lock);
	return r;
}

/* The server has come back for the next message: it is done with the one in hand. */
static int acknowledge(struct relay_transport *transport)
{
	uint64_t sequence = transport->in_hand;

	if (!sequence)
		return 0;
	transport->in_hand = 0;
	STORE_RELEASE(transport->bulk->processed, sequence);
	if (++transport->since_ack < RELAY_ACK_INTERVAL)
		return 0;
	transport->since_ack = 0;
	return send_ack(transport, sequence);
}

static int remember(struct relay_transport *transport, uint16_t id, uint64_t sequence)
{
	int r = 0;

	pthread_mutex_lock(&transport->send_lock);
	if (transport->unanswered_count == MAX_UNANSWERED)
		r = -EPROTO;
	else
		transport->unanswered[transport->unanswered_count++] =
			(struct unanswered){ id, sequence };
	pthread_mutex_unlock(&transport->send_lock);
	return r;
}

/* Called with the lock; the oldest of that id. */
static uint64_t take_unanswered(struct relay_transport *transport, uint16_t id)
{
	unsigned i;

	for (i = 0; i < transport->unanswered_count; i++) {
		uint64_t sequence = transport->unanswered[i].sequence;

		if (transport->unanswered[i].id != id)
			continue;
		transport->unanswered_count--;
		memmove(&transport->unanswered[i], &transport->unanswered[i + 1],
			(transport->unanswered_count - i) * sizeof(transport->unanswered[0]));
		return sequence;
	}
	return 0;
}

static bool wants_reply(const struct vfio_user_header *header)
{
	return (header->flags & VFIO_USER_FLAG_TYPE_MASK) == VFIO_USER_FLAG_COMMAND &&
	       !(header->flags & VFIO_USER_FLAG_NO_REPLY);
}

static int find_payload(struct relay_transport *transport, size_t len, size_t size, void **ret)
{
	const struct relay_frame *frame = transport->datagram;
	size_t inline_size = len - sizeof(*frame) - RELAY_HEADER_SIZE;

	if (!(frame->flags & RELAY_FLAG_BULK)) {
		*ret = (char *)transport->datagram + sizeof(*frame) + RELAY_HEADER_SIZE;
		return inline_size == size ? 0 : -EPROTO;
	}
	if (inline_size || frame->bulk_offset % 8 || size > transport->from_keeper_size ||
	    frame->bulk_offset < transport->from_keeper_offset ||
	    frame->bulk_offset - transport->from_keeper_offset > transport->from_keeper_size - size)
		return -EPROTO;
	*ret = (char *)transport->bulk + frame->bulk_offset;
	return 0;
}

static int take_message(struct relay_transport *transport, size_t len,
			struct vfio_user_message *message)
{
	const struct relay_frame *frame = transport->datagram;
	struct vfio_user_header *header = &message->header;
	uint32_t type;
	int r;

	if (len < sizeof(*frame) + RELAY_HEADER_SIZE || frame->kind != RELAY_MESSAGE ||
	    frame->fd_count != message->fd_count)
		return -EPROTO;
	memcpy(header, frame + 1, sizeof(*header));
	type = header->flags & VFIO_USER_FLAG_TYPE_MASK;
	if (header->size < sizeof(*header) || header->size > VFIO_USER_MAX_MESSAGE ||
	    (type != VFIO_USER_FLAG_COMMAND && type != VFIO_USER_FLAG_REPLY))
		return -EPROTO;
	message->payload_size = header->size - sizeof(*header);
	r = find_payload(transport, len, message->payload_size, &message->payload);
	if (r < 0)
		return r;
	if (wants_reply(header))
		return remember(transport, header->id, frame->sequence);
	transport->in_hand = frame->sequence;
	return 0;
}

static int receive_one(struct relay_transport *transport, struct vfio_user_message *message)
{
	struct iovec iov = { transport->datagram, DATAGRAM_MAX };
	ssize_t n;
	int r;

	message->fd_count = 0;
	n = fd_receive(transport->base.fd, &iov, 1, message->fds, VFIO_USER_MAX_FDS,
		       &message->fd_count, MSG_DONTWAIT | MSG_TRUNC);
	if (n == -EAGAIN)
		return 0;
	if (n <= 0)
		return n ? n : -ENOTCONN;
	if ((size_t)n > DATAGRAM_MAX || (size_t)n < sizeof(struct relay_frame))
		r = -EPROTO;
	else if (!transport->greeted)
		r = greet(transport, n, message->fds, message->fd_count);
	else
		r = take_message(transport, n, message);
	if (r == 0 && message->payload)
		return 1;
	fd_close_all(message->fds, message->fd_count);
	return r < 0 ? r : -EAGAIN;
}

static int relay_receive(struct vfio_user_transport *base, struct vfio_user_message *ret)
{
	struct relay_transport *transport = container_of(base, struct relay_transport, base);
	int r = acknowledge(transport);

	if (r < 0)
		return r;
	do {
		/* Not zeroed whole: it is on the path of every doorbell. */
		ret->payload = NULL;
		r = receive_one(transport, ret);
	} while (r == -EAGAIN);
	if (r < 0 && r != -ENOTCONN)
		log_error("the keeper's channel: %s", strerror(-r));
	return r;
}

/* Called with the lock. Waits until the keeper has released enough of the ring. */
static int wait_for_ring(struct relay_transport *transport, uint32_t needed)
{
	uint32_t *released = &transport->bulk->released;
	int64_t deadline = clock_ms(CLOCK_MONOTONIC) + SEND_TIMEOUT_MS;

	for (;;) {
		uint32_t seen = LOAD_ACQUIRE(*released);
		uint32_t used = transport->head - seen;
		struct timespec timeout = { .tv_nsec = 100 * 1000 * 1000 };

		if (used > transport->ring_size)
			return -EPROTO;
		if (needed <= transport->ring_size - used)
			return 0;
		if (clock_ms(CLOCK_MONOTONIC) >= deadline)
			return -ETIMEDOUT;
		syscall(SYS_futex, released, FUTEX_WAIT, seen, &timeout, NULL, 0);
	}
}

/* Called with the lock: copy the payload into the ring. */
static int put_in_ring(struct relay_transport *transport, struct relay_frame *frame,
		       const struct iovec *payload, size_t iovcnt, size_t size)
{
	uint32_t place = transport->place, room = ROUND_UP(size, 8), skip = 0;
	char *to;
	size_t i;
	int r;

	if (transport->ring_size - place < room) {
		skip = transport->ring_size - place;
		place = 0;
	}
	r = wait_for_ring(transport, skip + room);
	if (r < 0)
		return r;
	to = (char *)transport->bulk + transport->ring_offset + place;
	for (i = 0; i < iovcnt; i++) {
		memcpy(to, payload[i].iov_base, payload[i].iov_len);
		to += payload[i].iov_len;
	}
	transport->head += skip + room;
	transport->place = place + room;
	frame->flags |= RELAY_FLAG_BULK;
	frame->bulk_offset = transport->ring_offset + place;
	frame->bulk_release = transport->head;
	return 0;
}

/* Called with the lock. */
static int send_message(struct relay_transport *transport, const struct vfio_user_header *header,
			const struct iovec *payload, size_t iovcnt, const int *fds, size_t fd_count)
{
	struct relay_frame frame = { .kind = RELAY_MESSAGE, .fd_count = fd_count };
	struct iovec iov[8] = { { &frame, sizeof(frame) }, { (void *)header, sizeof(*header) } };
	size_t size = header->size - sizeof(*header), count = 2;
	int r;

	if (!transport->greeted)
		return -ENOTCONN;
	if (iovcnt > ARRAY_SIZE(iov) - 2 || size > RELAY_PAYLOAD_MAX)
		return -EINVAL;
	if ((header->flags & VFIO_USER_FLAG_TYPE_MASK) == VFIO_USER_FLAG_REPLY)
		frame.sequence = take_unanswered(transport, header->id);
	if (size > RELAY_INLINE_MAX) {
		r = put_in_ring(transport, &frame, payload, iovcnt, size);
		if (r < 0)
			return r;
	} else if (size) {
		memcpy(iov + 2, payload, iovcnt * sizeof(*payload));
		count += iovcnt;
	}
	return send_datagram(transport, iov, count, fds, fd_count);
}

static int relay_send(struct vfio_user_transport *base, const struct vfio_user_header *header,
		      const struct iovec *payload, size_t iovcnt, const int *fds, size_t fd_count)
{
	struct relay_transport *transport = container_of(base, struct relay_transport, base);
	int r;

	pthread_mutex_lock(&transport->send_lock);
	r = transport->send_error;
	if (r == 0)
		r = send_message(transport, header, payload, iovcnt, fds, fd_count);
	if (r < 0 && !transport->send_error) {
		transport->send_error = r;
		shutdown(base->fd, SHUT_RDWR);
	}
	pthread_mutex_unlock(&transport->send_lock);
	return r;
}

static void relay_free(struct vfio_user_transport *base)
{
	struct relay_transport *transport = container_of(base, struct relay_transport, base);

	close(base->fd);
	if (transport->bulk)
		munmap(transport->bulk, transport->bulk_size);
	pthread_mutex_destroy(&transport->send_lock);
	free(transport->datagram);
	free(transport);
}

static const struct vfio_user_transport_ops relay_ops = {
	.receive = relay_receive,
	.send = relay_send,
	.free = relay_free,
};

struct vfio_user_transport *vfio_user_transport_relay_new(int fd)
{
	struct relay_transport *transport = calloc(1, sizeof(*transport));

	if (transport)
		transport->datagram = malloc(DATAGRAM_MAX);
	if (!transport || !transport->datagram) {
		free(transport);
		close(fd);
		return NULL;
	}
	transport->base.ops = &relay_ops;
	transport->base.fd = fd;
	pthread_mutex_init(&transport->send_lock, NULL);
	return &transport->base;
}
