/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_RECOVERY_H
#define NVME_RECOVERY_H

#include "nvme/queue.h"

struct nvme_controller;

/* What a predecessor left in flight, see recovery.c. */
enum nvme_recovery {
	NVME_RECOVERY_OVER,
	NVME_RECOVERY_TO_LOOK, /* which completions are in the queue? */
	NVME_RECOVERY_WRITTEN, /* what was missing is on its way by message */
};

/** nvme_recovery_adopt() - what is decided by the state alone; before there are workers */
void nvme_recovery_adopt(struct nvme_controller *ctrl);

/** nvme_recovery_settle() - see to it that what was posted is in the queue. Return: whether there
 * was anything to do and could be done. */
bool nvme_recovery_settle(struct nvme_cq *cq);

/** nvme_recovery_can_settle() - would nvme_recovery_settle() do anything? */
bool nvme_recovery_can_settle(struct nvme_cq *cq);

/** nvme_recovery_left() - commands that are not taken over yet: none is fetched meanwhile */
static inline bool nvme_recovery_left(const struct nvme_sq *sq)
{
	return sq->journal.left < sq->journal.inherited_count;
}

/** nvme_recovery_take_over() - go on with as many as there are requests. Return: how many. */
unsigned nvme_recovery_take_over(struct nvme_sq *sq);

#endif
