/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_GENERATION_LOCK_H
#define CONTROLLER_GENERATION_LOCK_H

#include <systemd/sd-event.h>

#include "base/util.h"

/*
 * One namespace's claim to be the generation of its controller that uses the image: the lock of
 * block/lock.h, asked for again by a timer until the predecessor's last request is over. Control
 * thread only.
 */
struct generation_lock {
	sd_event *event;
	int fd; /* -1: nobody else can have it */
	bool read_only;
	uint64_t key;
	unsigned controller; /* names it in logs */
	uint32_t nsid;
	void (*acquired)(void *opaque);
	void *opaque;

	bool held;
	uint64_t waited_usec;
	sd_event_source *timer; /* until it is held */
};

/**
 * generation_lock_init() - without taking it
 * @lock: event, fd (owned from here on), read_only, controller, nsid, acquired and opaque are set
 * @uuid: of the controller: the same for every generation of it, and for no other user of the image
 */
void generation_lock_init(struct generation_lock *lock, const uint8_t uuid[16]);

/**
 * generation_lock_take() - or begin to wait for it
 *
 * Return: is it held now, or not needed? Else acquired() is called later, unless it is released
 * before. Harmless while it is held or waited for.
 */
bool generation_lock_take(struct generation_lock *lock);

/** generation_lock_release() - give it back, or wait no more; nothing of ours is under way */
void generation_lock_release(struct generation_lock *lock);

/** generation_lock_destroy() - and close @fd: the kernel releases it with the last request */
void generation_lock_destroy(struct generation_lock *lock);

#endif
