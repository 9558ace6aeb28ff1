/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_RELAY_INTERNAL_H
#define KEEPER_RELAY_INTERNAL_H

#include "keeper/fd-store.h"
#include "keeper/message-store.h"
#include "keeper/relay.h"

/*
 * What the relay's files share. relay.c: a relay's life and what it waits for; relay-client.c: the
 * side to QEMU; relay-channel.c: the side to the controller of the moment; relay-generation.c: from
 * one controller to the next.
 */
#define RELAY_MAX_REVERSE 1024u /* commands of the controller that the client has not answered */
#define RELAY_RING_SIZE	  (4u * 1024 * 1024)
#define RELAY_PAGE	  4096u
#define RELAY_PER_RUN	  16 /* messages; then the other devices get their turn */

enum relay_bulk_layout {
	BULK_TO_CONTROLLER = RELAY_PAGE,
	BULK_TO_KEEPER = BULK_TO_CONTROLLER + ROUND_UP(STORE_BULK_SIZE, RELAY_PAGE),
	BULK_SIZE = BULK_TO_KEEPER + RELAY_RING_SIZE,
};

static_assert(RELAY_RING_SIZE >= 2 * RELAY_PAYLOAD_MAX, "relay-frame.h");
static_assert(STORE_BULK_SIZE >= 2 * RELAY_PAYLOAD_MAX, "relay-frame.h");
static_assert((RELAY_RING_SIZE & (RELAY_RING_SIZE - 1)) == 0,
	      "positions wrap with the 32-bit counter");

/* A datagram as it comes from the controller; one byte more than the largest tells a longer one. */
struct relay_datagram {
	struct relay_frame frame;
	struct message_header header;
	char payload[RELAY_INLINE_MAX + 1];
};

/* A command of the controller on its way: wire id is the index. */
struct relay_reverse {
	uint32_t generation; /* 0: free */
	uint16_t id, command;
	uint16_t next_free;
};

/* A message to the client. */
struct relay_out {
	struct relay_out *next;
	bool active;
	struct message_header header;
	const char *payload;
	char *copy; /* payload, when it had to outlive the ring and the datagram */
	size_t size, done;
	int fds[RELAY_MAX_FDS];
	size_t fd_count;
	bool in_ring;
	uint32_t release;
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
	bool broken; /* the channel is open and not used any more */
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

	struct relay_reverse reverse[RELAY_MAX_REVERSE];
	uint16_t reverse_free; /* head of the list; RELAY_MAX_REVERSE: none */

	struct relay_out out;		    /* the one that is being written */
	struct relay_out *late, **late_end; /* answers of a dead controller that are still to be */
	struct relay_datagram datagram;
};

static inline struct relay_bulk *relay_bulk_head(struct relay *relay)
{
	return (struct relay_bulk *)relay->bulk_map;
}

/** relay_use_bulk() - map the bulk file, which is the relay's from here on; 0 or -errno */
int relay_use_bulk(struct relay *relay, int fd);

/** relay_update_events() - wait for what can be gone on with */
void relay_update_events(struct relay *relay);

/** relay_resume() - at the end of each event: read on where something that was waited for has come
 */
void relay_resume(struct relay *relay);

/** relay_client_wanted() - may the client's next message be read? */
bool relay_client_wanted(const struct relay *relay);
void relay_client_read(struct relay *relay);

/** relay_client_write() - go on with relay->out */
void relay_client_write(struct relay *relay);

/** relay_client_finish_out() - relay->out is written, or dropped; the next late one takes its
 * place */
void relay_client_finish_out(struct relay *relay);

int relay_client_event(sd_event_source *source, int fd, uint32_t revents, void *opaque);

/** relay_channel_wanted() - may the controller's next datagram be read? */
bool relay_channel_wanted(const struct relay *relay);

/** relay_channel_use() - watch the channel that is in @relay; 0 or -errno */
int relay_channel_use(struct relay *relay);

/** relay_channel_write() - send what the channel takes */
void relay_channel_write(struct relay *relay);

/**
 * relay_channel_acknowledged() - look at what the controller has handled without saying so in a
 * datagram
 * @said: what it has said in one
 *
 * Return: false when it claims more than it was sent.
 */
bool relay_channel_acknowledged(struct relay *relay, uint64_t said);

/** relay_channel_drain() - the controller is dead: take what it has sent. false: no memory for it
 */
bool relay_channel_drain(struct relay *relay);

/** relay_channel_broken() - use the channel no more and tell the owner; harmless the second time */
void relay_channel_broken(struct relay *relay, const char *why);
void relay_channel_close(struct relay *relay);

/** relay_generation_forget() - drop what a successor was to be told first */
void relay_generation_forget(struct relay *relay);

#endif
