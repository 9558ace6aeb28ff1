/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_MAILBOX_H
#define CONTROLLER_MAILBOX_H

#include "nvme/host.h"

/*
 * Calls to one thread from any other, without a lock: senders push on a stack, the receiver takes
 * the whole stack at once and turns it over, so that each sender's calls run in the order sent.
 */
struct mailbox {
	struct nvme_host_call *head;
};

/** mailbox_push() - any thread. Return: it was empty, so the receiver may have to be woken. */
bool mailbox_push(struct mailbox *mailbox, struct nvme_host_call *call);

/** mailbox_empty() - a hint; exact for the receiver after a full fence */
static inline bool mailbox_empty(const struct mailbox *mailbox)
{
	return !READ_ONCE(mailbox->head);
}

/** mailbox_run() - the receiver: run what is there. Return: whether there was anything. */
bool mailbox_run(struct mailbox *mailbox);

#endif
