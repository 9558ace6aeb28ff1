/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_RESERVATION_H
#define NVME_RESERVATION_H

#include <pthread.h>

#include "nvme/namespace.h"
#include "nvme/request.h"
#include "nvme/reservation-state.h"
#include "nvme/share.h"

/*
 * Theory of operation
 *
 * Reservations are what all controllers that share an image agree on, whatever process and guest they
 * belong to: it is in memory that they share (share.h), the *page*. What is there may have been written
 * by anybody who was taken over by his guest, so it is copied before it is judged and used.
 *
 * The state is there twice. Who changes it has the lock, writes the copy that is not in force, and
 * stores the number of the change: the one store by which it is made, for everybody, and by which a
 * process that is killed has made it or not. Copy `change & 1` is in force.
 *
 * Each controller has a *place* in the page. `seen` in it says that it knows of this change, and that
 * nothing which it has sent to the image before is under way any more. Acquire, which takes something
 * from other hosts, ends only when all others have seen it, or are no more: what a fenced host has
 * written has landed before, and nothing of it lands later.
 *
 * Every request for the image asks in nvme_io_submit(). A namespace has a *verdict*: what its guest may
 * not do, and as of which change. It costs a load and a comparison; only when the number has moved (or
 * the guest's Host Identifier) is the page looked at.
 *
 * Crashes: a command that changes anything is journalled STARTED with the number that its change is
 * going to have, and the page says of each place which change was its last. So a successor knows whether
 * the command was executed, and does it never twice. There is one such command at a time of a
 * controller and namespace: the `owner`.
 *
 * Where the state persists through a loss of power, before a change or after it, it is in a file, too
 * (reservation-durable.h), and is there before the change is made. The lock is kept meanwhile: who else
 * wants to change something waits for it, and so for the kernel, should we die. The command is at an
 * image as far as freeze and reset go, and no thread waits.
 */
struct nvme_reservation_staging;

struct nvme_reservation {
	struct nvme_share *share;
	const uint32_t *change;
	unsigned place;
	pthread_mutex_t lock;	    /* of who finds the verdict; not of who reads it */
	uint64_t verdict;	    /* atomic: see nvme_reservation_refuses() */
	struct nvme_request *owner; /* atomic */
	struct nvme_reservation_staging *staging; /* the owner's; NULL: nothing can persist */
};

#define NVME_VERDICT_VALID    (1ULL << 63)
#define NVME_VERDICT_BITS     32 /* NVME_RESERVATION_NO_* from there */
#define NVME_VERDICT_OF(word) ((word) & (NVME_VERDICT_VALID | UINT32_MAX))

/**
 * nvme_reservation_open() - of a namespace that comes
 *
 * Return: 0; -EBADMSG: the page, or what persists, is nobody's that we know; -ENOSPC: no place in it;
 * -EBUSY: somebody has begun it and does not end; or another -errno of what persists.
 */
int nvme_reservation_open(struct nvme_namespace *ns, struct nvme_share *share);

/** nvme_reservation_leave() - the namespace goes for good: its place is free */
void nvme_reservation_leave(const struct nvme_namespace *ns);

/** nvme_reservation_close() - nothing of the namespace is in flight; harmless without one */
void nvme_reservation_close(struct nvme_namespace *ns);

/** nvme_reservation_is_offered() - has any namespace of the controller reservations? */
bool nvme_reservation_is_offered(struct nvme_controller *ctrl);

/** nvme_reservation_notices() - the word of the namespace's place, see reservation-log.h. Return: is it to
 * be had? */
bool nvme_reservation_notices(const struct nvme_namespace *ns, uint64_t *ret);

/** nvme_reservation_host_changed() - the Host Identifier of this controller has */
void nvme_reservation_host_changed(struct nvme_controller *ctrl);

/** nvme_reservation_persists() - do they through a loss of power? Return: is it to be had? */
bool nvme_reservation_persists(const struct nvme_namespace *ns, bool *ret);

/** nvme_reservation_judge_persistence() - Set Features of 83h, of one namespace or all. @request->execute
 * stays what it is where there is nothing to do. */
nvme_status nvme_reservation_judge_persistence(struct nvme_request *request);

/** nvme_reservation_parse() - Register, Report, Acquire, Release */
nvme_status nvme_reservation_parse(struct nvme_request *request);

/** nvme_reservation_poll() - those that wait for others. Return: has any gone on? */
bool nvme_reservation_poll(struct nvme_worker *worker);

/** nvme_reservation_drop() - all that wait, with their queues */
void nvme_reservation_drop(struct nvme_worker *worker);

/** nvme_reservation_judge() - find the verdict anew. Return: NVME_RESERVATION_NO_* */
unsigned nvme_reservation_judge(const struct nvme_namespace *ns);

/** nvme_reservation_forbids() - given what may not be done: this? */
bool nvme_reservation_forbids(const struct nvme_request *request, unsigned conflicts);

/** nvme_reservation_refuses() - may request->block not go to the image? */
static inline bool nvme_reservation_refuses(const struct nvme_request *request)
{
	const struct nvme_reservation *reservation = request->ns->reservation;
	uint64_t verdict;
	unsigned conflicts;

	if (!reservation)
		return false;
	verdict = READ_ONCE(reservation->verdict);
	conflicts = verdict >> NVME_VERDICT_BITS & 3;
	if (NVME_VERDICT_OF(verdict) != (NVME_VERDICT_VALID | LOAD_ACQUIRE(*reservation->change)))
		conflicts = nvme_reservation_judge(request->ns);
	return conflicts && nvme_reservation_forbids(request, conflicts);
}

#endif
