// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/mailbox.h"

bool mailbox_push(struct mailbox *mailbox, struct nvme_host_call *call)
{
	struct nvme_host_call *head = READ_ONCE(mailbox->head);

	do
		call->next = head;
	while (!__atomic_compare_exchange_n(&mailbox->head, &head, call, true, __ATOMIC_SEQ_CST,
					    __ATOMIC_RELAXED));
	return !head;
}

static struct nvme_host_call *turn_over(struct nvme_host_call *newest)
{
	struct nvme_host_call *oldest = NULL;

	while (newest) {
		struct nvme_host_call *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	return oldest;
}

bool mailbox_run(struct mailbox *mailbox)
{
	struct nvme_host_call *call;

	if (mailbox_empty(mailbox))
		return false;
	call = turn_over(__atomic_exchange_n(&mailbox->head, NULL, __ATOMIC_ACQUIRE));
	while (call) {
		/* A call that runs may be sent again, or freed. */
		struct nvme_host_call *next = call->next;

		call->run(call);
		call = next;
	}
	return true;
}
