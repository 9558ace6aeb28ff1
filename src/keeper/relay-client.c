// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/relay-internal.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "base/log.h"

/* The relay's side to QEMU. */

bool relay_client_wanted(const struct relay *relay)
{
	if (relay->in)
		return true;
	/* A header that is complete but has no message yet waits for a bulk piece. */
	return !message_store_full(&relay->store) && relay->in_done < RELAY_HEADER_SIZE;
}

/* @why: NULL when it has gone by itself */
static void client_gone(struct relay *relay, const char *why)
{
	if (relay->client < 0)
		return;
	if (why)
		log_guest(LOG_WARNING, "nvme%u: the client is cut off: %s", relay->index, why);
	relay_close_client(relay);
	relay->ops->client_closed(relay->opaque);
}

void relay_client_finish_out(struct relay *relay)
{
	fd_close_all(relay->out.fds, relay->out.fd_count);
	relay->out.fd_count = 0;
	if (relay->out.in_ring) {
		relay->released = relay->out.release;
		STORE_RELEASE(relay_bulk_head(relay)->released, relay->released);
		syscall(SYS_futex, &relay_bulk_head(relay)->released, FUTEX_WAKE, INT_MAX, NULL,
			NULL, 0);
	}
	free(relay->out.copy);
	relay->out.copy = NULL;
	relay->out.in_ring = false;
	relay->out.active = false;
	if (relay->late) {
		struct relay_out *next = relay->late;

		relay->out = *next;
		relay->late = next->next;
		if (!relay->late)
			relay->late_end = &relay->late;
		free(next);
	}
}

void relay_client_write(struct relay *relay)
{
	struct iovec iov[2];
	size_t parts = 0;

	while (relay->out.active) {
		size_t done = relay->out.done, into = 0;
		ssize_t n;

		parts = 0;
		if (done == 0)
			iov[parts++] = (struct iovec){ &relay->out.header, RELAY_HEADER_SIZE };
		else
			into = done - RELAY_HEADER_SIZE;
		if (relay->out.size > into)
			iov[parts++] = (struct iovec){ (char *)relay->out.payload + into,
						       relay->out.size - into };
		n = fd_send(relay->client, iov, parts, relay->out.fds, relay->out.fd_count,
			    MSG_DONTWAIT);
		if (n == -EAGAIN)
			return;
		/* The kernel takes a page or more, or nothing: to QEMU a header in two parts is the
		 * end of the connection. Reading will then tell that it is over. */
		if (n < 0 || (done == 0 && (size_t)n < RELAY_HEADER_SIZE)) {
			do
				relay_client_finish_out(relay);
			while (relay->out.active);
			shutdown(relay->client, SHUT_RDWR);
			return;
		}
		fd_close_all(relay->out.fds, relay->out.fd_count);
		relay->out.fd_count = 0;
		relay->out.done += n;
		if (relay->out.done == RELAY_HEADER_SIZE + relay->out.size)
			relay_client_finish_out(relay);
	}
}

/* NULL, or what is wrong with the header. */
static const char *check_client_header(const struct message_header *header)
{
	uint32_t type = header->flags & MESSAGE_TYPE;

	if (header->size < sizeof(*header) || header->size - sizeof(*header) > RELAY_PAYLOAD_MAX)
		return "wrong message size";
	if (type != MESSAGE_COMMAND && type != MESSAGE_REPLY)
		return "wrong message type";
	return NULL;
}

/* A reply of the client: whose command does it answer? false: nobody's any more, drop it. */
static bool claim_reverse(struct relay *relay, struct message_header *header,
			  uint32_t *ret_generation)
{
	struct relay_reverse *reverse;

	if (header->id >= RELAY_MAX_REVERSE)
		return false;
	reverse = &relay->reverse[header->id];
	if (!reverse->generation || reverse->command != header->command)
		return false;
	*ret_generation = reverse->generation;
	reverse->generation = 0;
	reverse->next_free = relay->reverse_free;
	relay->reverse_free = header->id;
	header->id = reverse->id;
	return *ret_generation == relay->generation;
}

static void submit(struct relay *relay, struct stored_message *message)
{
	struct message_header *header = &message->header;

	relay->in_done = 0;
	message->fd_count = relay->in_fd_count;
	memcpy(message->fds, relay->in_fds, relay->in_fd_count * sizeof(int));
	relay->in_fd_count = 0;
	if ((header->flags & MESSAGE_TYPE) == MESSAGE_REPLY) {
		if (!claim_reverse(relay, header, &message->generation)) {
			message_store_free(&relay->store, message);
			return;
		}
	} else {
		message->wants_reply = !(header->flags & MESSAGE_NO_REPLY);
	}
	message->sequence = ++relay->last_sequence;
	message_store_append(&relay->store, message);
	relay_channel_write(relay);
}

/* More of what is being read, with its descriptors: are all @size bytes at @into there? */
static bool receive(struct relay *relay, void *into, size_t size)
{
	struct iovec iov = { (char *)into + relay->in_done, size - relay->in_done };
	int *fds = relay->in_fds + relay->in_fd_count;
	size_t count = 0;
	ssize_t n;

	n = fd_receive(relay->client, &iov, 1, fds, RELAY_MAX_FDS - relay->in_fd_count, &count,
		       MSG_DONTWAIT);
	if (n == -EAGAIN)
		return false;
	if (n <= 0) {
		client_gone(relay, n == -EMSGSIZE ? "too many descriptors" : NULL);
		return false;
	}
	relay->in_fd_count += count;
	relay->in_done += n;
	return relay->in_done == size;
}

/* 1: the header is there; 0: not yet, or no more client. */
static int read_header(struct relay *relay)
{
	const char *wrong;

	if (!receive(relay, &relay->in_header, RELAY_HEADER_SIZE))
		return 0;
	wrong = check_client_header(&relay->in_header);
	if (wrong) {
		client_gone(relay, wrong);
		return 0;
	}
	return 1;
}

/* 1: the payload is there; 0: not yet, or no more client. */
static int read_payload(struct relay *relay)
{
	struct stored_message *message = relay->in;

	return relay->in_done == message->payload_size ||
	       receive(relay, message->payload, message->payload_size);
}

void relay_client_read(struct relay *relay)
{
	int i;

	for (i = 0; i < RELAY_PER_RUN && relay->client >= 0; i++) {
		if (!relay->in) {
			int r;

			if (message_store_full(&relay->store))
				return;
			if (relay->in_done < RELAY_HEADER_SIZE && !read_header(relay))
				return;
			r = message_store_new(&relay->store, &relay->in_header, &relay->in);
			if (r == -EAGAIN)
				return;
			if (r < 0) {
				client_gone(relay, strerror(-r));
				return;
			}
			relay->in_done = 0;
		}
		if (!read_payload(relay))
			return;
		submit(relay, steal_pointer(relay->in));
	}
}

int relay_client_event(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct relay *relay = opaque;

	if (revents & EPOLLOUT)
		relay_client_write(relay);
	if (revents & EPOLLIN)
		relay_client_read(relay);
	else if (revents & (EPOLLHUP | EPOLLERR))
		client_gone(relay, NULL);
	relay_resume(relay);
	return 0;
}
