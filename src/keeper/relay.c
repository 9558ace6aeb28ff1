// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/relay-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

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
 * or is `out`, which outlives the controller, or is `late`: when the controller dies, what it had
 * sent is taken in one go, for what it has answered has happened.
 *
 * A controller that breaks a rule loses its channel, not the client its connection. A client that
 * breaks one loses the connection.
 */
#define RETRY_US 5000

void relay_update_events(struct relay *relay)
{
	uint32_t events;

	if (relay->client >= 0) {
		events = (relay_client_wanted(relay) ? EPOLLIN : 0) |
			 (relay->out.active ? EPOLLOUT : 0);
		if (events != relay->client_events)
			sd_event_source_set_io_events(relay->client_source, events);
		relay->client_events = events;
	}
	if (relay->channel >= 0 && !relay->broken) {
		events = (relay_channel_wanted(relay) ? EPOLLIN : 0) |
			 (relay->restore || relay->store.unsent ? EPOLLOUT : 0);
		if (events != relay->channel_events)
			sd_event_source_set_io_events(relay->channel_source, events);
		relay->channel_events = events;
	}
}

void relay_resume(struct relay *relay)
{
	if (relay->channel >= 0 && !relay->broken &&
	    (relay->store.count > RELAY_ACK_INTERVAL / 2 || relay->store.pieces) &&
	    !relay_channel_acknowledged(relay, 0))
		relay_channel_broken(relay, "acknowledges what was never sent");
	if (relay->client >= 0 && !relay->in && relay->in_done == RELAY_HEADER_SIZE)
		relay_client_read(relay);
	/* Room for a large message comes without a datagram to wake us. */
	if (relay->client >= 0 && relay->channel >= 0 && !relay_client_wanted(relay)) {
		sd_event_source_set_time_relative(relay->retry, RETRY_US);
		sd_event_source_set_enabled(relay->retry, SD_EVENT_ONESHOT);
	}
	relay_update_events(relay);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *opaque)
{
	relay_resume(opaque);
	return 0;
}

void relay_close_client(struct relay *relay)
{
	relay->client_source = sd_event_source_disable_unref(relay->client_source);
	if (relay->client >= 0)
		close(steal_fd(&relay->client));
	relay_channel_close(relay);
	relay_generation_forget(relay);
	do
		relay_client_finish_out(relay);
	while (relay->out.active);
	fd_close_all(relay->in_fds, relay->in_fd_count);
	relay->in_fd_count = 0;
	if (relay->in)
		message_store_free(&relay->store, steal_pointer(relay->in));
	message_store_done(&relay->store);
}

static void drop_bulk(struct relay *relay)
{
	if (relay->bulk_map)
		munmap(relay->bulk_map, BULK_SIZE);
	relay->bulk_map = NULL;
	if (relay->bulk_fd >= 0)
		close(steal_fd(&relay->bulk_fd));
}

int relay_use_bulk(struct relay *relay, int fd)
{
	void *map;

	drop_bulk(relay);
	relay->bulk_fd = fd;
	if (fd < 0)
		return fd;
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
	relay->late_end = &relay->late;
	message_store_init(&relay->store);
	for (i = 0; i < RELAY_MAX_REVERSE; i++)
		relay->reverse[i].next_free = i + 1;
	relay->fd_store = fd_store_new();
	if (!relay->fd_store ||
	    relay_use_bulk(relay, fd_sealed_memfd("virtnvme-bulk", BULK_SIZE)) < 0 ||
	    sd_event_add_time_relative(event, &relay->retry, CLOCK_MONOTONIC, 0, 1, on_retry,
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
	drop_bulk(relay);
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
		r = sd_event_add_io(relay->event, &relay->client_source, fd, EPOLLIN,
				    relay_client_event, relay);
	if (r < 0) {
		close(fd);
		return r;
	}
	relay->client = fd;
	relay->client_events = EPOLLIN;
	relay_update_events(relay);
	return 0;
}

bool relay_is_quiet(struct relay *relay)
{
	int unread = 0;

	if (relay->client < 0)
		return true;
	if (relay->channel >= 0 && !relay_channel_acknowledged(relay, 0))
		relay_channel_broken(relay, "acknowledges what was never sent");
	return ioctl(relay->client, FIONREAD, &unread) == 0 && unread == 0 && !relay->in &&
	       relay->in_done == 0 && relay->store.count == 0 && !relay->restore;
}

bool relay_is_handled(struct relay *relay)
{
	return relay->channel >= 0 && !relay->broken && relay_channel_acknowledged(relay, 0) &&
	       relay->store.head == relay->store.unsent && !relay->restore &&
	       !relay->restore_replies;
}

uint64_t relay_irq_changes(const struct relay *relay)
{
	return fd_store_irq_changes(relay->fd_store);
}
