// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "keeper/fd-store.h"
#include "keeper/message-store.h"

/*
 * Theory of operation
 *
 * base/relay-frame.h has the rules of the channel; this is the keeper's end of it.
 *
 * From the client: one message at a time is read, never a byte beyond it, so that descriptors
 * belong to the message they came with. It is stored, numbered, and sent when the channel takes it.
 * A full store stops the reading; the client then waits in its send().
 *
 * To the client: one message at a time is written, straight from where the controller put it (the
 * datagram's buffer or the ring); while it is not written whole, nothing is read from the
 * controller. So there is no queue, and a reply whose command has left the store is either written
 * or is `out`, which outlives the controller.
 *
 * A controller that breaks a rule loses its channel, not the client its connection. A client that
 * breaks one loses the connection.
 */
#define MAX_REVERSE	 1024u /* commands of the controller that the client has not answered */
#define RING_SIZE	 (4u * 1024 * 1024)
#define PAGE		 4096u
#define MESSAGES_PER_RUN 16 /* then the other devices get their turn */
#define RETRY_US	 5000

enum bulk_layout {
	BULK_TO_CONTROLLER = PAGE,
	BULK_TO_KEEPER = BULK_TO_CONTROLLER + ROUND_UP(STORE_BULK_SIZE, PAGE),
	BULK_SIZE = BULK_TO_KEEPER + RING_SIZE,
};

static_assert(RING_SIZE >= 2 * RELAY_PAYLOAD_MAX, "relay-frame.h");
static_assert(STORE_BULK_SIZE >= 2 * RELAY_PAYLOAD_MAX, "relay-frame.h");
static_assert((RING_SIZE & (RING_SIZE - 1)) == 0, "positions wrap with the 32-bit counter");

/* A datagram as it comes from the controller; one byte more than the largest tells a longer one. */
struct datagram {
	struct relay_frame frame;
	struct message_header header;
	char payload[RELAY_INLINE_MAX + 1];
};

/* A command of the controller on its way: wire id is the index. */
struct reverse {
	uint32_t generation; /* 0: free */
	uint16_t id, command;
	uint16_t next_free;
};

struct relay {
	sd_event *event;
	unsigned index;
	const struct relay_ops *ops;
	void *opaque;

	int client; /* -1: none yet, or no more */
	sd_event_source *client_source;
	uint32_t client_events;
	struct message_header in_header;
	size_t in_done; /* of the header, then of in's payload */
	int in_fds[RELAY_MAX_FDS];
	size_t in_fd_count;
	struct stored_message *in; /* NULL: the header is being read */

	int channel; /* -1: no controller */
	sd_event_source *channel_source;
	uint32_t channel_events;
	uint32_t generation;
	sd_event_source *retry;

	int bulk_fd;
	char *bulk_map;
	uint32_t released; /* what relay_bulk.released says */

	struct message_store store;
	uint64_t last_sequence;
	struct stored_message *restore, **restore_end; /* to be sent before the store's */
	unsigned restore_replies;		       /* still to come, and to be dropped */
	struct fd_store *fd_store;

	struct reverse reverse[MAX_REVERSE];
	uint16_t reverse_free; /* head of the list; MAX_REVERSE: none */

	struct {
		bool active;
		struct message_header header;
		const char *payload;
		char *copy; /* payload, when it had to outlive the ring */
		size_t size, done;
		int fds[RELAY_MAX_FDS];
		size_t fd_count;
		bool in_ring;
		uint32_t release;
	} out;
	struct datagram datagram;
};

static struct relay_bulk *bulk_head(struct relay *relay)
{
	return (struct relay_bulk *)relay->bulk_map;
}

/* May the client's next message be read? */
static bool client_wanted(const struct relay *relay)
{
	if (relay->in)
		return true;
	/* A header that is complete but has no message yet waits for a bulk piece. */
	return !message_store_full(&relay->store) && relay->in_done < RELAY_HEADER_SIZE;
}

static bool channel_wanted(const struct relay *relay)
{
	return !relay->out.active && relay->reverse_free < MAX_REVERSE;
}

static void update_events(struct relay *relay)
{
	uint32_t events;

	if (relay->client >= 0) {
		events = (client_wanted(relay) ? EPOLLIN : 0) | (relay->out.active ? EPOLLOUT : 0);
		if (events != relay->client_events)
			sd_event_source_set_io_events(relay->client_source, events);
		relay->client_events = events;
	}
	if (relay->channel >= 0) {
		events = (channel_wanted(relay) ? EPOLLIN : 0) |
			 (relay->restore || relay->store.unsent ? EPOLLOUT : 0);
		if (events != relay->channel_events)
			sd_event_source_set_io_events(relay->channel_source, events);
		relay->channel_events = events;
	}
}

static void close_channel(struct relay *relay)
{
	relay->channel_source = sd_event_source_disable_unref(relay->channel_source);
	if (relay->channel >= 0)
		close(steal_fd(&relay->channel));
}

static void drop_restore(struct relay *relay)
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
	close_channel(relay);
	drop_restore(relay);
	/* The ring begins anew with the next generation, this message must go on. */
	if (relay->out.active && relay->out.in_ring) {
		relay->out.copy = malloc(relay->out.size);
		if (!relay->out.copy) {
			log_error("nvme%u: no memory for the rest of a message", relay->index);
			relay_close_client(relay);
			return;
		}
		memcpy(relay->out.copy, relay->out.payload, relay->out.size);
		relay->out.payload = relay->out.copy;
		relay->out.in_ring = false;
	}
	update_events(relay);
}

static void controller_broken(struct relay *relay, const char *why)
{
	if (relay->channel < 0)
		return;
	relay_detach(relay);
	relay->ops->controller_closed(relay->opaque, why);
}

static void finish_out(struct relay *relay)
{
	fd_close_all(relay->out.fds, relay->out.fd_count);
	relay->out.fd_count = 0;
	if (relay->out.in_ring) {
		relay->released = relay->out.release;
		STORE_RELEASE(bulk_head(relay)->released, relay->released);
		syscall(SYS_futex, &bulk_head(relay)->released, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	}
	free(relay->out.copy);
	relay->out.copy = NULL;
	relay->out.in_ring = false;
	relay->out.active = false;
}

void relay_close_client(struct relay *relay)
{
	relay->client_source = sd_event_source_disable_unref(relay->client_source);
	if (relay->client >= 0)
		close(steal_fd(&relay->client));
	close_channel(relay);
	drop_restore(relay);
	finish_out(relay);
	fd_close_all(relay->in_fds, relay->in_fd_count);
	relay->in_fd_count = 0;
	if (relay->in)
		message_store_free(&relay->store, steal_pointer(relay->in));
	message_store_done(&relay->store);
}

static void client_gone(struct relay *relay, const char *why)
{
	if (relay->client < 0)
		return;
	if (why)
		log_guest(LOG_WARNING, "nvme%u: the client is cut off: %s", relay->index, why);
	relay_close_client(relay);
	relay->ops->client_closed(relay->opaque);
}

/*
 * To the controller
 */

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

static void write_channel(struct relay *relay)
{
	int r = 0;

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
		controller_broken(relay, strerror(-r));
}

/* Look at what the controller has handled without saying so in a datagram. */
static bool take_acknowledgements(struct relay *relay, uint64_t said)
{
	uint64_t processed = LOAD_ACQUIRE(bulk_head(relay)->processed);

	processed = MAX(processed, said);
	if (processed > relay->last_sequence)
		return false;
	message_store_acknowledge(&relay->store, processed);
	return true;
}

/*
 * From the client
 */

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
	struct reverse *reverse;

	if (header->id >= MAX_REVERSE)
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
	write_channel(relay);
}

/* 1: the header is there; 0: not yet, or no more client. */
static int read_header(struct relay *relay)
{
	struct iovec iov = { (char *)&relay->in_header + relay->in_done,
			     RELAY_HEADER_SIZE - relay->in_done };
	int *fds = relay->in_fds + relay->in_fd_count;
	const char *wrong;
	size_t count = 0;
	ssize_t n;

	n = fd_receive(relay->client, &iov, 1, fds, RELAY_MAX_FDS - relay->in_fd_count, &count,
		       MSG_DONTWAIT);
	if (n == -EAGAIN)
		return 0;
	if (n <= 0) {
		client_gone(relay, n == -EMSGSIZE ? "too many descriptors" : NULL);
		return 0;
	}
	relay->in_fd_count += count;
	relay->in_done += n;
	if (relay->in_done < RELAY_HEADER_SIZE)
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
	struct iovec iov = { (char *)message->payload + relay->in_done,
			     message->payload_size - relay->in_done };
	int *fds = relay->in_fds + relay->in_fd_count;
	size_t count = 0;
	ssize_t n;

	if (iov.iov_len == 0)
		return 1;
	n = fd_receive(relay->client, &iov, 1, fds, RELAY_MAX_FDS - relay->in_fd_count, &count,
		       MSG_DONTWAIT);
	if (n == -EAGAIN)
		return 0;
	if (n <= 0) {
		client_gone(relay, n == -EMSGSIZE ? "too many descriptors" : NULL);
		return 0;
	}
	relay->in_fd_count += count;
	relay->in_done += n;
	return relay->in_done == message->payload_size;
}

static void read_client(struct relay *relay)
{
	int i;

	for (i = 0; i < MESSAGES_PER_RUN && relay->client >= 0; i++) {
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

/*
 * From the controller
 */

static void write_client(struct relay *relay)
{
	struct iovec iov[2];
	size_t parts = 0, total = RELAY_HEADER_SIZE + relay->out.size;

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
			finish_out(relay);
			shutdown(relay->client, SHUT_RDWR);
			return;
		}
		fd_close_all(relay->out.fds, relay->out.fd_count);
		relay->out.fd_count = 0;
		relay->out.done += n;
		if (relay->out.done == total)
			finish_out(relay);
	}
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
	struct reverse *reverse = &relay->reverse[relay->reverse_free];
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

/* @fds: owned from here on. */
static const char *handle_datagram(struct relay *relay, size_t size, const int *fds,
				   size_t fd_count)
{
	const struct relay_frame *frame = &relay->datagram.frame;
	const struct message_header *header = &relay->datagram.header;
	const char *wrong = NULL;
	bool drop = false;

	memcpy(relay->out.fds, fds, fd_count * sizeof(int));
	relay->out.fd_count = fd_count;
	if (size < sizeof(*frame))
		return "short frame";
	if (frame->kind == RELAY_ACK) {
		if (size != sizeof(*frame) || fd_count)
			return "wrong acknowledgement";
		return take_acknowledgements(relay, frame->sequence)
			       ? NULL
			       : "acknowledges what was never sent";
	}
	if (frame->kind != RELAY_MESSAGE)
		return "unknown frame";
	wrong = check_frame(relay, size, fd_count);
	if (!wrong && (header->flags & MESSAGE_TYPE) == MESSAGE_REPLY)
		wrong = check_reply(relay, &drop);
	else if (!wrong)
		wrong = check_command(relay);
	if (wrong)
		return wrong;
	relay->out.header = *header;
	relay->out.size = header->size - sizeof(*header);
	relay->out.done = 0;
	relay->out.in_ring = frame->flags & RELAY_FLAG_BULK;
	relay->out.release = frame->bulk_release;
	relay->out.payload =
		relay->out.in_ring ? relay->bulk_map + frame->bulk_offset : relay->datagram.payload;
	relay->out.active = true;
	if (drop || relay->client < 0)
		finish_out(relay);
	else
		write_client(relay);
	return NULL;
}

static void read_channel(struct relay *relay)
{
	int i;

	for (i = 0; i < MESSAGES_PER_RUN && relay->channel >= 0 && channel_wanted(relay); i++) {
		struct iovec iov = { &relay->datagram, sizeof(relay->datagram) };
		int fds[RELAY_MAX_FDS];
		const char *wrong;
		size_t count = 0;
		ssize_t n;

		n = fd_receive(relay->channel, &iov, 1, fds, ARRAY_SIZE(fds), &count, MSG_DONTWAIT);
		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			controller_broken(relay, n == 0 || n == -ECONNRESET
							 ? "it closed the channel"
							 : strerror(-n));
			return;
		}
		wrong = handle_datagram(relay, n, fds, count);
		if (wrong) {
			finish_out(relay);
			controller_broken(relay, wrong);
			return;
		}
	}
}

/*
 * Events
 */

/* Read on where something that was waited for has come. */
static void resume(struct relay *relay)
{
	if (relay->channel >= 0 &&
	    (relay->store.count > RELAY_ACK_INTERVAL / 2 || relay->store.pieces) &&
	    !take_acknowledgements(relay, 0))
		controller_broken(relay, "acknowledges what was never sent");
	if (relay->client >= 0 && !relay->in && relay->in_done == RELAY_HEADER_SIZE)
		read_client(relay);
	/* Room for a large message comes without a datagram to wake us. */
	if (relay->client >= 0 && relay->channel >= 0 && !client_wanted(relay)) {
		sd_event_source_set_time_relative(relay->retry, RETRY_US);
		sd_event_source_set_enabled(relay->retry, SD_EVENT_ONESHOT);
	}
	update_events(relay);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *opaque)
{
	resume(opaque);
	return 0;
}

static int on_client(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct relay *relay = opaque;

	if (revents & EPOLLOUT)
		write_client(relay);
	if (revents & EPOLLIN)
		read_client(relay);
	else if (revents & (EPOLLHUP | EPOLLERR))
		client_gone(relay, NULL);
	resume(relay);
	return 0;
}

static int on_channel(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct relay *relay = opaque;

	if (revents & EPOLLOUT)
		write_channel(relay);
	if (revents & EPOLLIN)
		read_channel(relay);
	else if (revents & (EPOLLHUP | EPOLLERR) && channel_wanted(relay))
		controller_broken(relay, "it closed the channel");
	resume(relay);
	return 0;
}

/*
 * Life
 */

static int make_bulk(struct relay *relay)
{
	void *map;

	relay->bulk_fd = memfd_create("virtnvme-bulk", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (relay->bulk_fd < 0 || ftruncate(relay->bulk_fd, BULK_SIZE) < 0 ||
	    fcntl(relay->bulk_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	map = mmap(NULL, BULK_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, relay->bulk_fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	relay->bulk_map = map;
	relay->store.bulk = relay->bulk_map + BULK_TO_CONTROLLER;
	return 0;
}

struct relay *relay_new(sd_event *event, unsigned index, const struct relay_ops *ops, void *opaque)
{
	struct relay *relay = calloc(1, sizeof(*relay));
	unsigned i;

	if (!relay)
		return NULL;
	relay->event = event;
	relay->index = index;
	relay->ops = ops;
	relay->opaque = opaque;
	relay->client = -1;
	relay->channel = -1;
	relay->bulk_fd = -1;
	relay->restore_end = &relay->restore;
	message_store_init(&relay->store);
	for (i = 0; i < MAX_REVERSE; i++)
		relay->reverse[i].next_free = i + 1;
	relay->fd_store = fd_store_new();
	if (!relay->fd_store || make_bulk(relay) < 0 ||
	    sd_event_add_time_relative(event, &relay->retry, CLOCK_MONOTONIC, 0, 0, on_retry,
				       relay) < 0 ||
	    sd_event_source_set_enabled(relay->retry, SD_EVENT_OFF) < 0) {
		relay_free(relay);
		return NULL;
	}
	return relay;
}

void relay_free(struct relay *relay)
{
	if (!relay)
		return;
	relay_close_client(relay);
	sd_event_source_disable_unref(relay->retry);
	fd_store_free(relay->fd_store);
	if (relay->bulk_map)
		munmap(relay->bulk_map, BULK_SIZE);
	if (relay->bulk_fd >= 0)
		close(relay->bulk_fd);
	free(relay);
}

bool relay_has_client(const struct relay *relay)
{
	return relay->client >= 0;
}

int relay_set_client(struct relay *relay, int fd)
{
	int r;

	r = fd_set_nonblock(fd, true);
	if (r == 0)
		r = sd_event_add_io(relay->event, &relay->client_source, fd, EPOLLIN, on_client,
				    relay);
	if (r < 0) {
		close(fd);
		return r;
	}
	relay->client = fd;
	relay->client_events = EPOLLIN;
	update_events(relay);
	return 0;
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
		.to_keeper_size = RING_SIZE,
	};
	struct iovec iov[2] = { { &frame, sizeof(frame) }, { &hello, sizeof(hello) } };
	ssize_t n = fd_send(relay->channel, iov, 2, &relay->bulk_fd, 1, MSG_DONTWAIT);

	return n < 0 ? n : 0;
}

int relay_attach(struct relay *relay, unsigned generation, int *ret_channel, int *ret_bulk)
{
	_cleanup_close_ int theirs = -1;
	int pair[2], r;

	if (!fd_store_complete(relay->fd_store))
		return -ENOTRECOVERABLE;
	relay_detach(relay);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	relay->channel = pair[0];
	theirs = pair[1];
	relay->generation = generation;
	relay->released = 0;
	WRITE_ONCE(bulk_head(relay)->released, 0);
	WRITE_ONCE(bulk_head(relay)->processed, 0);
	message_store_rewind(&relay->store);
	r = send_hello(relay);
	if (r == 0)
		r = fd_store_replay(relay->fd_store, queue_restore, relay);
	if (r == 0)
		r = sd_event_add_io(relay->event, &relay->channel_source, relay->channel, EPOLLIN,
				    on_channel, relay);
	if (r < 0) {
		relay_detach(relay);
		return r;
	}
	relay->channel_events = EPOLLIN;
	write_channel(relay);
	update_events(relay);
	*ret_channel = steal_fd(&theirs);
	*ret_bulk = relay->bulk_fd;
	return 0;
}
