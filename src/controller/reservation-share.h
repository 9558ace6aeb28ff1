/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_RESERVATION_SHARE_H
#define CONTROLLER_RESERVATION_SHARE_H

#include "base/error.h"
#include "controller/generation-lock.h"
#include "controller/io-thread.h"
#include "nvme/share.h"

/*
 * The memory in which all users of an image on this host keep its reservations (nvme/reservation.h): a
 * file that is given to us, mapped. Its lock is one of the file's description, is_alive() asks for the
 * generation lock of the image. Control thread, but for the functions of struct nvme_share.
 *
 * The durable file has the same lock: of a process that dies the kernel gives it back when the last
 * request for the file is over, as with an image, so nothing that was written before lands later.
 */
struct reservation_share;

struct reservation_fds {
	int file;  /* that all who share the image have in common; -1: there are no reservations */
	int watch; /* fd_watch_writes() of it */
	int durable; /* also in common: what lasts through a loss of power; -1: nothing does */
};

#define RESERVATION_FDS_NONE ((struct reservation_fds){ -1, -1, -1 })

/** reservation_fds_close() - those that are there */
void reservation_fds_close(struct reservation_fds *fds);

static inline struct reservation_fds reservation_fds_steal(struct reservation_fds *fds)
{
	struct reservation_fds stolen = *fds;

	*fds = RESERVATION_FDS_NONE;
	return stolen;
}

/**
 * reservation_share_open() - map the file
 * @fds: owned from here on, also on failure
 * @lock: of the image; as long as the share
 *
 * Return: NULL with a sentence.
 */
struct reservation_share *reservation_share_open(struct reservation_fds fds,
						 const struct generation_lock *lock,
						 struct error **errp);

struct nvme_share *reservation_share_nvme(struct reservation_share *share);

/** reservation_share_watch() - see what others change, and say so when nothing is under way any more; no
 * wake-up before */
void reservation_share_watch(struct reservation_share *share, sd_event *event,
			     struct io_threads *threads, struct nvme_controller *ctrl,
			     uint32_t nsid);

/** reservation_share_close() - when the namespace is gone; harmless with NULL */
void reservation_share_close(struct reservation_share *share);

#endif
