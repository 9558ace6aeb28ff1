/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_FD_STORE_H
#define KEEPER_FD_STORE_H

#include <stdbool.h>
#include <stddef.h>

#include "keeper/message.h"

/*
 * What a controller was told with descriptors and cannot find in its state file: the negotiated
 * version, guest memory, interrupt eventfds. Kept for the controller's successor, as the messages
 * that tell it again.
 */
struct fd_store;

struct fd_store *fd_store_new(void);
void fd_store_free(struct fd_store *store);

/**
 * fd_store_note() - the controller has answered a command of the client with success
 * @fds: owned by the caller; the store sets an entry to -1 when it keeps one
 */
void fd_store_note(struct fd_store *store, const struct message_header *header, const void *payload,
		   int *fds, size_t fd_count);

/**
 * fd_store_complete() - is everything remembered? false when there was too much of it: then there
 * can be no successor
 */
bool fd_store_complete(const struct fd_store *store);

/** fd_store_irq_changes() - counts the messages that set eventfds of vectors */
uint64_t fd_store_irq_changes(const struct fd_store *store);

typedef int (*fd_store_emit)(void *opaque, const struct message_header *header, const void *payload,
			     const int *fds, size_t fd_count);

/** fd_store_replay() - the messages for a successor, in order; stops at the first error of @emit */
int fd_store_replay(const struct fd_store *store, fd_store_emit emit, void *opaque);

#endif
