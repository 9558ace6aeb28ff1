/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_NAMESPACES_H
#define CONTROLLER_NAMESPACES_H

#include <systemd/sd-event.h>

#include "controller/host.h"
#include "nvme/controller.h"
#include "controller/reservation-share.h"

/*
 * Theory of operation
 *
 * A device's namespaces: each has its image and, under a keeper, a descriptor of its own to hold the
 * generation lock by (generation-lock.h). One that cannot have the lock yet is attached all the
 * same, not ready. Frozen, nothing is under way and the locks are given back: another process may
 * go on with the state. Control thread only.
 */
struct namespace;

struct namespaces {
	sd_event *event;
	struct host *host;
	struct nvme_controller *ctrl;
	unsigned controller; /* names it in logs */
	const uint8_t *uuid; /* of the controller */

	struct namespace *first;
	void (*closed)(void *opaque); /* all are leaving: tell this */
	void *opaque;
};

/**
 * namespaces_attach() - one more
 * @block: owned from here on, also on failure
 * @lock_fd: of the same file description, to hold the generation lock by; owned from here on. -1:
 * nobody had it before us, and nobody will have it after us
 * @reservations: owned from here on; without a file the namespace has none
 */
int namespaces_attach(struct namespaces *namespaces, const struct nvme_namespace_config *config,
		      struct block *block, int lock_fd, struct reservation_fds reservations,
		      struct error **errp);

/** namespaces_detach() - @done when nothing is in flight and the image is closed; -ENOENT */
int namespaces_detach(struct namespaces *namespaces, uint32_t nsid, void (*done)(void *opaque),
		      void *opaque);

/**
 * namespaces_resize() - read the image's size again and tell the guest
 * @limit: bytes that are not exceeded; 0: none. What is in flight may still be behind them.
 *
 * Return: 0 with the capacity, -EBUSY with a limit and a dead predecessor's requests, or -errno.
 */
int namespaces_resize(struct namespaces *namespaces, uint32_t nsid, uint64_t limit,
		      uint64_t *ret_capacity);

/** namespaces_set_block_size() - see nvme_controller_set_block_size(); 0 or -errno */
int namespaces_set_block_size(struct namespaces *namespaces, uint32_t nsid, uint32_t block_size);

/** namespaces_set_limits() - from now on; 0 or -ENOENT */
int namespaces_set_limits(struct namespaces *namespaces, uint32_t nsid,
			  const struct nvme_limits *limits);

/** namespaces_take_locks() - each is ready when it has its lock */
void namespaces_take_locks(struct namespaces *namespaces);

/** namespaces_release_locks() - none is ready; nothing of ours is under way */
void namespaces_release_locks(struct namespaces *namespaces);

/** namespaces_ask_predecessor() - take locks until no request of a predecessor is under way */
void namespaces_ask_predecessor(struct namespaces *namespaces);

/** namespaces_close() - detach all; @closed when there is none left */
void namespaces_close(struct namespaces *namespaces, void (*closed)(void *opaque), void *opaque);

/** namespaces_free() - close the images of those that are left; the controller is freed */
void namespaces_free(struct namespaces *namespaces);

/** namespaces_describe() - the "namespaces" of device_describe() */
struct json_object *namespaces_describe(const struct namespaces *namespaces);

#endif
