// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/message-store.h"

#include <errno.h>

#include "base/util.h"

#define MAX_SPARE 16u

void message_store_init(struct message_store *store)
{
	memset(store, 0, sizeof(*store));
	store->end = &store->head;
}

static void release_contents(struct message_store *store, struct stored_message *message)
{
	fd_close_all(message->fds, message->fd_count);
	message->fd_count = 0;
	if (message->bulk_piece >= 0)
		store->pieces &= ~(1u << message->bulk_piece);
	else if (message->payload != message->small)
		free(message->payload);
	message->payload = NULL;
}

void message_store_free(struct message_store *store, struct stored_message *message)
{
	release_contents(store, message);
	message->next = store->spare;
	store->spare = message;
}

void message_store_done(struct message_store *store)
{
	while (store->head) {
		struct stored_message *message = store->head;

		store->head = message->next;
		release_contents(store, message);
		free(message);
	}
	while (store->spare) {
		struct stored_message *message = store->spare;

		store->spare = message->next;
		free(message);
	}
	message_store_init(store);
}

bool message_store_full(const struct message_store *store)
{
	return store->count >= STORE_MAX_MESSAGES;
}

static int free_piece(const struct message_store *store)
{
	unsigned i;

	for (i = 0; i < STORE_PIECE_COUNT; i++)
		if (!(store->pieces & (1u << i)))
			return i;
	return -EAGAIN;
}

int message_store_new(struct message_store *store, const struct message_header *header,
		      struct stored_message **ret)
{
	int piece = -1;

	if (header->size - sizeof(*header) > RELAY_INLINE_MAX) {
		piece = free_piece(store);
		if (piece < 0)
			return piece;
	}
	return message_store_new_in(store, header, piece, ret);
}

int message_store_new_in(struct message_store *store, const struct message_header *header,
			 int piece, struct stored_message **ret)
{
	size_t size = header->size - sizeof(*header);
	struct stored_message *message = store->spare;

	if ((piece >= 0) != (size > RELAY_INLINE_MAX) || piece >= (int)STORE_PIECE_COUNT ||
	    (piece >= 0 && store->pieces & (1u << piece)))
		return -EINVAL;
	if (message)
		store->spare = message->next;
	else
		message = malloc(sizeof(*message));
	if (!message)
		return -ENOMEM;
	if (piece >= 0)
		store->pieces |= 1u << piece;
	memset(message, 0, offsetof(struct stored_message, small));
	message->header = *header;
	message->payload_size = size;
	message->bulk_piece = piece;
	if (piece >= 0)
		message->payload = store->bulk + piece * STORE_PIECE_SIZE;
	else if (size <= sizeof(message->small))
		message->payload = message->small;
	else
		message->payload = malloc(size);
	if (!message->payload) {
		message->payload = message->small;
		message_store_free(store, message);
		return -ENOMEM;
	}
	*ret = message;
	return 0;
}

void message_store_append(struct message_store *store, struct stored_message *message)
{
	message->next = NULL;
	*store->end = message;
	store->end = &message->next;
	store->count++;
	if (!store->unsent)
		store->unsent = message;
}

static void unlink_message(struct message_store *store, struct stored_message **link)
{
	struct stored_message *message = *link;

	if (store->unsent == message)
		store->unsent = message->next;
	*link = message->next;
	if (!message->next)
		store->end = link;
	store->count--;
	message_store_free(store, message);
}

struct stored_message *message_store_find(struct message_store *store, uint64_t sequence)
{
	struct stored_message *message;

	for (message = store->head; message && message != store->unsent; message = message->next)
		if (message->sequence == sequence)
			return message->wants_reply ? message : NULL;
	return NULL;
}

void message_store_remove(struct message_store *store, struct stored_message *message)
{
	struct stored_message **link = &store->head;

	while (*link != message)
		link = &(*link)->next;
	unlink_message(store, link);
}

void message_store_acknowledge(struct message_store *store, uint64_t sequence)
{
	struct stored_message **link = &store->head;

	while (*link && *link != store->unsent && (*link)->sequence <= sequence) {
		if ((*link)->wants_reply)
			link = &(*link)->next;
		else
			unlink_message(store, link);
	}
}

void message_store_rewind(struct message_store *store)
{
	struct stored_message **link = &store->head;

	while (*link) {
		if ((*link)->generation)
			unlink_message(store, link);
		else
			link = &(*link)->next;
	}
	store->unsent = store->head;
}
