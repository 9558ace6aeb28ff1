/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_MESSAGE_STORE_H
#define KEEPER_MESSAGE_STORE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/fd.h"
#include "keeper/message.h"

/*
 * The client's messages that the controller has not acknowledged, in the order of their numbers,
 * and the pieces of the bulk file that the large ones are in.
 */

/* More than RELAY_ACK_INTERVAL: the acknowledgement comes before it is full. */
#define STORE_MAX_MESSAGES 256u
/* A payload that does not fit into a datagram takes a piece of this size. */
#define STORE_PIECE_SIZE  ROUND_UP(RELAY_PAYLOAD_MAX, 8)
#define STORE_PIECE_COUNT 4u
#define STORE_BULK_SIZE	  (STORE_PIECE_COUNT * STORE_PIECE_SIZE)

struct stored_message {
	struct stored_message *next;
	struct message_header header;
	uint64_t sequence;
	uint32_t flags; /* RELAY_FLAG_RESTORE */
	bool wants_reply;
	uint32_t generation; /* of a client's reply: the one whose command it answers; else 0 */
	size_t payload_size;
	void *payload;	/* in `small`, of its own, or in the bulk area */
	int bulk_piece; /* -1: not in the bulk area */
	int fds[RELAY_MAX_FDS];
	size_t fd_count;
	char small[128]; /* a register access fits: no allocation */
};

struct message_store {
	struct stored_message *head, **end;
	struct stored_message *unsent; /* first one that this generation has not been sent */
	struct stored_message *spare;
	unsigned count;
	unsigned pieces; /* bit mask of those in use */
	char *bulk;	 /* where the pieces are mapped */
};

void message_store_init(struct message_store *store);
/** message_store_done() - free everything, descriptors too */
void message_store_done(struct message_store *store);

/** message_store_full() - nothing may be added until something is acknowledged */
bool message_store_full(const struct message_store *store);

/**
 * message_store_new() - a message with room for its payload, not yet in the list
 *
 * Return: 0, -EAGAIN when all bulk pieces are in use, or -ENOMEM.
 */
int message_store_new(struct message_store *store, const struct message_header *header,
		      struct stored_message **ret);

/** message_store_new_in() - the same with what is in @piece already; -1: it is in none. -EINVAL when
 * that is in use, or cannot be */
int message_store_new_in(struct message_store *store, const struct message_header *header,
			 int piece, struct stored_message **ret);

/** message_store_free() - one that is not in the list */
void message_store_free(struct message_store *store, struct stored_message *message);

void message_store_append(struct message_store *store, struct stored_message *message);

/** message_store_find() - the sent command with that number that waits for its reply, or NULL */
struct stored_message *message_store_find(struct message_store *store, uint64_t sequence);

/** message_store_remove() - take it out of the list and free it */
void message_store_remove(struct message_store *store, struct stored_message *message);

/** message_store_acknowledge() - all that wants no reply up to that number has been handled */
void message_store_acknowledge(struct message_store *store, uint64_t sequence);

/** message_store_rewind() - a new generation: everything is to be sent again, but for replies to
 * commands of its predecessors */
void message_store_rewind(struct message_store *store);

#endif
