// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/relay-internal.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* The relay's side to the controller of the moment. */

bool relay_channel_wanted(const struct relay *relay)
{
	return !relay->out.active && relay->reverse_free < RELAY_MAX_REVERSE;
}

void relay_channel_close(struct relay *relay)
{
	relay->channel_source = sd_event_source_disable_unref(relay->channel_source);
	if (relay->channel >= 0)
		close(steal_fd(&relay->channel));
	relay->broken = false;
}

void relay_channel_broken(struct relay *relay, const char *why)
{
	if (relay->channel < 0 || relay->broken)
		return;
	relay->broken = true;
	relay->channel_source = sd_event_source_disable_unref(relay->channel_source);
	relay->ops->controller_closed(relay->opaque, why);
}

/* 0, -EAGAIN when the channel is full, or -errno. */
static int send_stored(struct relay *relay, const struct stored_message *message)
{
	struct relay_frame frame = {
		.kind = RELAY_MESSAGE,
		.flags = message->flags,
		.sequence = message->sequence,
		.fd_count = message->fd_count,
	};
	struct iovec iov[3] = {
		{ &frame, sizeof(frame) },
		{ (void *)&message->header, sizeof(message->header) },
		{ message->payload, message->payload_size },
	};
	size_t parts = message->payload_size ? 3 : 2;
	ssize_t n;

	if (message->bulk_piece >= 0) {
		frame.flags |= RELAY_FLAG_BULK;
		frame.bulk_offset = (char *)message->payload - relay->bulk_map;
		parts = 2;
	}
	n = fd_send(relay->channel, iov, parts, message->fds, message->fd_count, MSG_DONTWAIT);
	return n < 0 ? n : 0;
}

void relay_channel_write(struct relay *relay)
{
	int r = 0;

	if (relay->broken)
		return;
	while (relay->channel >= 0 && relay->restore) {
		struct stored_message *message = relay->restore;

		r = send_stored(relay, message);
		if (r < 0)
			goto out;
		relay->restore = message->next;
		if (!relay->restore)
			relay->restore_end = &relay->restore;
		message_store_free(&relay->store, message);
	}
	while (relay->channel >= 0 && relay->store.unsent) {
		r = send_stored(relay, relay->store.unsent);
		if (r < 0)
			goto out;
		relay->store.unsent = relay->store.unsent->next;
	}
out:
	/* A channel that was closed tells it by end of file, after what is still in it. */
	if (r < 0 && r != -EAGAIN && r != -EPIPE && r != -ECONNRESET)
		relay_channel_broken(relay, strerror(-r));
}

bool relay_channel_acknowledged(struct relay *relay, uint64_t said)
{
	uint64_t processed = LOAD_ACQUIRE(relay_bulk_head(relay)->processed);

	processed = MAX(processed, said);
	if (processed > relay->last_sequence)
		return false;
	message_store_acknowledge(&relay->store, processed);
	return true;
}

/* NULL, or what is wrong with the message's frame and size. */
static const char *check_frame(const struct relay *relay, size_t size, size_t fd_count)
{
	const struct relay_frame *frame = &relay->datagram.frame;
	const struct message_header *header = &relay->datagram.header;
	size_t payload;

	if (frame->flags & ~RELAY_FLAG_BULK || frame->fd_count != fd_count)
		return "wrong frame";
	if (size < sizeof(*frame) + sizeof(*header))
		return "message without a header";
	if (header->size < sizeof(*header) || header->size - sizeof(*header) > RELAY_PAYLOAD_MAX)
		return "wrong message size";
	payload = header->size - sizeof(*header);
	if (!(frame->flags & RELAY_FLAG_BULK))
		return size == sizeof(*frame) + header->size && payload <= RELAY_INLINE_MAX
			       ? NULL
			       : "the size is not what was sent";
	if (size != sizeof(*frame) + sizeof(*header) || payload == 0)
		return "wrong bulk message";
	if (frame->bulk_offset % 8 || frame->bulk_offset < BULK_TO_KEEPER ||
	    frame->bulk_offset > BULK_SIZE - payload)
		return "bulk payload outside its area";
	return NULL;
}

/* NULL when it is to be sent, else what is wrong. *ret_drop: neither. */
static const char *check_reply(struct relay *relay, bool *ret_drop)
{
	const struct relay_frame *frame = &relay->datagram.frame;
	const struct message_header *header = &relay->datagram.header;
	struct stored_message *command;

	*ret_drop = false;
	if (header->flags & ~(MESSAGE_TYPE | MESSAGE_ERROR))
		return "reply with wrong flags";
	if (frame->sequence == 0) {
		if (relay->restore_replies == 0)
			return "reply to nothing";
		relay->restore_replies--;
		*ret_drop = true;
		return NULL;
	}
	command = message_store_find(&relay->store, frame->sequence);
	if (!command)
		return "reply to a command that is answered or never was";
	if (command->header.id != header->id || command->header.command != header->command)
		return "reply with another id or command";
	if (!(header->flags & MESSAGE_ERROR))
		fd_store_note(relay->fd_store, &command->header, command->payload, command->fds,
			      command->fd_count);
	message_store_remove(&relay->store, command);
	return NULL;
}

static const char *check_command(struct relay *relay)
{
	struct message_header *header = &relay->datagram.header;
	struct relay_reverse *reverse = &relay->reverse[relay->reverse_free];
	uint16_t wire_id = relay->reverse_free;

	if (header->flags != MESSAGE_COMMAND || header->error ||
	    relay->datagram.frame.sequence != 0 || relay->datagram.frame.fd_count)
		return "command with wrong flags";
	if (header->command != MESSAGE_DMA_READ && header->command != MESSAGE_DMA_WRITE)
		return "command that a server does not send";
	relay->reverse_free = reverse->next_free;
	reverse->generation = relay->generation;
	reverse->id = header->id;
	reverse->command = header->command;
	header->id = wire_id;
	return NULL;
}

/* NULL, or what is wrong. *ret_drop: there is nothing to send on. A dead controller's commands are
 * not sent on. */
static const char *check_datagram(struct relay *relay, size_t size, size_t fd_count, bool dead,
				  bool *ret_drop)
{
	const struct relay_frame *frame = &relay->datagram.frame;
	const char *wrong;

	*ret_drop = true;
	if (size < sizeof(*frame))
		return "short frame";
	if (frame->kind == RELAY_ACK) {
		if (size != sizeof(*frame) || fd_count)
			return "wrong acknowledgement";
		return relay_channel_acknowledged(relay, frame->sequence)
			       ? NULL
			       : "acknowledges what was never sent";
	}
	if (frame->kind != RELAY_MESSAGE)
		return "unknown frame";
	wrong = check_frame(relay, size, fd_count);
	if (wrong)
		return wrong;
	if ((relay->datagram.header.flags & MESSAGE_TYPE) == MESSAGE_REPLY)
		return check_reply(relay, ret_drop);
	*ret_drop = dead;
	return dead ? NULL : check_command(relay);
}

/* The message in the datagram, its payload where the controller put it; @fds are its own. */
static struct relay_out make_out(struct relay *relay, const int *fds, size_t fd_count)
{
	const struct relay_frame *frame = &relay->datagram.frame;
	struct relay_out out = {
		.active = true,
		.header = relay->datagram.header,
		.size = relay->datagram.header.size - RELAY_HEADER_SIZE,
		.in_ring = frame->flags & RELAY_FLAG_BULK,
		.release = frame->bulk_release,
		.fd_count = fd_count,
	};

	memcpy(out.fds, fds, fd_count * sizeof(int));
	out.payload = out.in_ring ? relay->bulk_map + frame->bulk_offset : relay->datagram.payload;
	return out;
}

/*
 * The next datagram: 1; 0 when there is none; or -errno as of the channel.
 * @ret: not active when it is no message
 * @ret_drop: the message is not to be sent on
 * @ret_wrong: the rule that it breaks, or NULL
 */
static int read_datagram(struct relay *relay, bool dead, struct relay_out *ret, bool *ret_drop,
			 const char **ret_wrong)
{
	struct iovec iov = { &relay->datagram, sizeof(relay->datagram) };
	int fds[RELAY_MAX_FDS];
	size_t count = 0;
	ssize_t n;

	ret->active = false;
	n = fd_receive(relay->channel, &iov, 1, fds, ARRAY_SIZE(fds), &count, MSG_DONTWAIT);
	if (n <= 0)
		return n == -EAGAIN ? 0 : n == 0 ? -ECONNRESET : n;
	*ret_wrong = check_datagram(relay, n, count, dead, ret_drop);
	if (*ret_wrong || relay->datagram.frame.kind != RELAY_MESSAGE)
		fd_close_all(fds, count);
	else
		*ret = make_out(relay, fds, count);
	return 1;
}

static void read_channel(struct relay *relay)
{
	int i;

	for (i = 0; i < RELAY_PER_RUN && !relay->broken && relay_channel_wanted(relay); i++) {
		const char *wrong = NULL;
		bool drop;
		int r = read_datagram(relay, false, &relay->out, &drop, &wrong);

		if (r == 0)
			return;
		if (r < 0 && r != -ECONNRESET)
			wrong = strerror(-r);
		if (r < 0 || wrong) {
			relay_channel_broken(relay, wrong);
			return;
		}
		if (!relay->out.active)
			continue;
		if (drop || relay->client < 0)
			relay_client_finish_out(relay);
		else
			relay_client_write(relay);
	}
}

/* Its payload is to outlive where it is. */
static bool keep(struct relay_out *out)
{
	if (!out->active || out->copy)
		return true;
	out->copy = malloc(out->size + 1);
	if (!out->copy)
		return false;
	memcpy(out->copy, out->payload, out->size);
	out->payload = out->copy;
	out->in_ring = false;
	return true;
}

bool relay_channel_drain(struct relay *relay)
{
	const char *wrong = NULL;
	struct relay_out out;
	bool drop;

	if (!keep(&relay->out))
		return false;
	while (!relay->broken && read_datagram(relay, true, &out, &drop, &wrong) > 0 && !wrong) {
		struct relay_out *late;

		if (!out.active)
			continue;
		late = !drop && relay->client >= 0 && keep(&out) ? malloc(sizeof(*late)) : NULL;
		if (!late) {
			fd_close_all(out.fds, out.fd_count);
			free(out.copy);
			if (!drop && relay->client >= 0)
				return false;
			continue;
		}
		*late = out;
		late->next = NULL;
		*relay->late_end = late;
		relay->late_end = &late->next;
	}
	/* Whether or not something is being written: the next one takes its place in any case. */
	if (relay->late && !relay->out.active)
		relay_client_finish_out(relay);
	if (relay->out.active)
		relay_client_write(relay);
	return true;
}

static int on_event(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct relay *relay = opaque;

	if (revents & EPOLLOUT)
		relay_channel_write(relay);
	if (revents & EPOLLIN)
		read_channel(relay);
	else if (revents & (EPOLLHUP | EPOLLERR) && relay_channel_wanted(relay))
		relay_channel_broken(relay, NULL);
	relay_resume(relay);
	return 0;
}

int relay_channel_use(struct relay *relay)
{
	relay->channel_events = EPOLLIN;
	return sd_event_add_io(relay->event, &relay->channel_source, relay->channel, EPOLLIN,
			       on_event, relay);
}
