// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/relay-internal.h"

#include <errno.h>
#include <sys/mman.h>

#include "keeper/carry.h"

/*
 * A relay over an execve of the keeper: both its sockets, what the client has sent and nobody has
 * handled, and what a successor has to be told. The controller notices nothing: what it shares with
 * the relay, the bulk file, is the same, so large messages stay where they are in it.
 */

bool relay_is_recoverable(const struct relay *relay)
{
	return fd_store_complete(relay->fd_store);
}

bool relay_may_be_carried(const struct relay *relay)
{
	return !relay->broken && !relay->restore && !relay->in && relay->in_done == 0 &&
	       relay->in_fd_count == 0 && !relay->out.active;
}

static struct json_object *save_message(const struct message_header *header, const void *payload,
					const int *fds, size_t fd_count)
{
	struct json_object *json = json_object_new_object();

	carry_bytes(json, "header", header, sizeof(*header));
	carry_bytes(json, "payload", payload, header->size - sizeof(*header));
	carry_fds(json, "fds", fds, fd_count);
	return json;
}

/* A fd_store_emit. */
static int save_known(void *opaque, const struct message_header *header, const void *payload,
		      const int *fds, size_t fd_count)
{
	json_object_array_add(opaque, save_message(header, payload, fds, fd_count));
	return 0;
}

struct json_object *relay_save(const struct relay *relay)
{
	struct json_object *json = json_object_new_object();
	struct json_object *known = json_object_new_array(), *store = json_object_new_array();
	const struct stored_message *message;
	bool sent = true;

	carry_fd(json, "client", relay->client);
	carry_fd(json, "channel", relay->channel);
	carry_fd(json, "bulk", relay->bulk_fd);
	json_add_u64(json, "restore_replies", relay->restore_replies);
	json_add_u64(json, "generation", relay->generation);
	json_add_u64(json, "last_sequence", relay->last_sequence);
	carry_bytes(json, "reverse", relay->reverse, sizeof(relay->reverse));
	json_add_u64(json, "reverse_free", relay->reverse_free);
	fd_store_replay(relay->fd_store, save_known, known);
	json_add(json, "known", known);
	for (message = relay->store.head; message; message = message->next) {
		struct json_object *entry = save_message(&message->header, message->payload,
							 message->fds, message->fd_count);

		sent = sent && message != relay->store.unsent;
		json_add_bool(entry, "sent", sent);
		if (message->bulk_piece >= 0)
			json_add_u64(entry, "piece", message->bulk_piece);
		json_add_u64(entry, "sequence", message->sequence);
		json_add_u64(entry, "generation", message->generation);
		json_object_array_add(store, entry);
	}
	json_add(json, "store", store);
	return json;
}

/* 0 or -EINVAL; @payload: room for RELAY_PAYLOAD_MAX bytes */
static int load_message(struct json_object *json, struct message_header *header, void *payload)
{
	if (carried_bytes(json, "header", header, sizeof(*header)) < 0 ||
	    header->size < sizeof(*header) || header->size - sizeof(*header) > RELAY_PAYLOAD_MAX ||
	    header->size - sizeof(*header) != carried_size(json, "payload"))
		return -EINVAL;
	return carried_bytes(json, "payload", payload, header->size - sizeof(*header));
}

static int load_known(struct relay *relay, struct json_object *json, void *payload)
{
	struct message_header header;
	int fds[RELAY_MAX_FDS];
	size_t count;

	if (load_message(json, &header, payload) < 0)
		return -EINVAL;
	count = carried_fds(json, "fds", fds, RELAY_MAX_FDS);
	fd_store_note(relay->fd_store, &header, payload, fds, count);
	fd_close_all(fds, count);
	return 0;
}

static int load_stored(struct relay *relay, struct json_object *json, void *payload)
{
	uint64_t piece = json_u64_or(json, "piece", STORE_PIECE_COUNT);
	struct stored_message *message;
	struct message_header header;
	int r;

	r = load_message(json, &header, payload);
	if (r == 0)
		r = message_store_new_in(&relay->store, &header,
					 piece < STORE_PIECE_COUNT ? (int)piece : -1, &message);
	if (r < 0)
		return r;
	if (message->bulk_piece < 0)
		memcpy(message->payload, payload, message->payload_size);
	message->fd_count = carried_fds(json, "fds", message->fds, RELAY_MAX_FDS);
	message->sequence = json_u64_or(json, "sequence", 0);
	message->generation = json_u64_or(json, "generation", 0);
	message->wants_reply = (header.flags & MESSAGE_TYPE) == MESSAGE_COMMAND &&
			       !(header.flags & MESSAGE_NO_REPLY);
	message_store_append(&relay->store, message);
	if (json_bool_or(json, "sent", false))
		relay->store.unsent = NULL;
	return 0;
}

static int load_list(struct relay *relay, struct json_object *list,
		     int (*load)(struct relay *relay, struct json_object *json, void *payload))
{
	_cleanup_free_ void *payload = malloc(RELAY_PAYLOAD_MAX);
	size_t i, count = list ? json_object_array_length(list) : 0;
	int r = payload ? 0 : -ENOMEM;

	for (i = 0; r == 0 && i < count; i++)
		r = load(relay, json_object_array_get_idx(list, i), payload);
	return r;
}

/* Before the messages, of which some are in it. */
static int load_bulk(struct relay *relay, int fd)
{
	int r = relay_use_bulk(relay, fd);

	if (r == 0)
		relay->released = relay_bulk_head(relay)->released;
	return r;
}

int relay_load(struct relay *relay, struct json_object *json)
{
	int client = carried_fd(json, "client"), r;

	relay->channel = carried_fd(json, "channel");
	relay->restore_replies = json_u64_or(json, "restore_replies", 0);
	relay->generation = json_u64_or(json, "generation", 0);
	relay->last_sequence = json_u64_or(json, "last_sequence", 0);
	relay->reverse_free = json_u64_or(json, "reverse_free", 0);
	r = carried_bytes(json, "reverse", relay->reverse, sizeof(relay->reverse));
	if (r == 0)
		r = load_bulk(relay, carried_fd(json, "bulk"));
	if (r == 0)
		r = load_list(relay, json_child(json, "known", json_type_array), load_known);
	if (r == 0)
		r = load_list(relay, json_child(json, "store", json_type_array), load_stored);
	if (r == 0 && relay->channel >= 0)
		r = relay_channel_use(relay);
	if (r == 0 && client >= 0)
		r = relay_set_client(relay, client);
	if (r == 0)
		relay_update_events(relay);
	return r;
}
