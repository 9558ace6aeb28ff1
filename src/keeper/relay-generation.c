// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/relay-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/log.h"

/* One controller leaves, its successor comes. */

void relay_generation_forget(struct relay *relay)
{
	while (relay->restore) {
		struct stored_message *message = relay->restore;

		relay->restore = message->next;
		message_store_free(&relay->store, message);
	}
	relay->restore_end = &relay->restore;
	relay->restore_replies = 0;
}

void relay_detach(struct relay *relay)
{
	bool kept = true;

	if (relay->channel >= 0) {
		kept = relay_channel_drain(relay);
		relay_channel_acknowledged(relay, 0);
	}
	relay_channel_close(relay);
	relay_generation_forget(relay);
	if (!kept) {
		log_error("nvme%u: no memory for the rest of a message", relay->index);
		relay_close_client(relay);
		return;
	}
	relay_update_events(relay);
}

/* A fd_store_emit: what was remembered becomes a message that goes before all others. */
static int queue_restore(void *opaque, const struct message_header *header, const void *payload,
			 const int *fds, size_t fd_count)
{
	struct relay *relay = opaque;
	struct stored_message *message;
	int r;

	r = message_store_new(&relay->store, header, &message);
	if (r < 0)
		return r;
	message->flags = RELAY_FLAG_RESTORE;
	memcpy(message->payload, payload, message->payload_size);
	for (; message->fd_count < fd_count; message->fd_count++) {
		int fd = fcntl(fds[message->fd_count], F_DUPFD_CLOEXEC, 3);

		if (fd < 0) {
			r = -errno;
			message_store_free(&relay->store, message);
			return r;
		}
		message->fds[message->fd_count] = fd;
	}
	message->next = NULL;
	*relay->restore_end = message;
	relay->restore_end = &message->next;
	if (!(header->flags & MESSAGE_NO_REPLY))
		relay->restore_replies++;
	return 0;
}

static int send_hello(struct relay *relay)
{
	struct relay_frame frame = { .kind = RELAY_HELLO, .fd_count = 1 };
	struct relay_hello hello = {
		.version = RELAY_VERSION,
		.generation = relay->generation,
		.to_controller_offset = BULK_TO_CONTROLLER,
		.to_controller_size = BULK_TO_KEEPER - BULK_TO_CONTROLLER,
		.to_keeper_offset = BULK_TO_KEEPER,
		.to_keeper_size = RELAY_RING_SIZE,
	};
	struct iovec iov[2] = { { &frame, sizeof(frame) }, { &hello, sizeof(hello) } };
	ssize_t n = fd_send(relay->channel, iov, 2, &relay->bulk_fd, 1, MSG_DONTWAIT);

	return n < 0 ? n : 0;
}

int relay_attach(struct relay *relay, unsigned generation, bool bare, int *ret_channel,
		 int *ret_bulk)
{
	_cleanup_close_ int theirs = -1;
	int pair[2], r;

	if (!bare && !fd_store_complete(relay->fd_store))
		return -ENOTRECOVERABLE;
	relay_detach(relay);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	relay->channel = pair[0];
	theirs = pair[1];
	relay->generation = generation;
	relay->released = 0;
	WRITE_ONCE(relay_bulk_head(relay)->released, 0);
	WRITE_ONCE(relay_bulk_head(relay)->processed, 0);
	message_store_rewind(&relay->store);
	r = send_hello(relay);
	if (r == 0)
		r = fd_store_replay(relay->fd_store, queue_restore, relay);
	if (r == 0)
		r = relay_channel_use(relay);
	if (r < 0) {
		relay_detach(relay);
		return r;
	}
	relay_channel_write(relay);
	relay_update_events(relay);
	*ret_channel = steal_fd(&theirs);
	*ret_bulk = relay->bulk_fd;
	return 0;
}
