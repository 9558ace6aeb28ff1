// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/generation-lock.h"

#include <errno.h>

#include "base/log.h"
#include "block/lock.h"

/* How long to wait for a predecessor before asking again: an eighth of what was waited so far, so
 * that the guest waits for at most so much longer than it has to. */
#define WAIT_MIN_USEC 500u
#define WAIT_MAX_USEC 50000u
#define WAIT_PART     8u

static uint64_t hash_key(const uint8_t uuid[16], uint32_t nsid)
{
	uint64_t hash = 0xcbf29ce484222325ULL; /* FNV-1a */
	size_t i;

	for (i = 0; i < 16; i++)
		hash = (hash ^ uuid[i]) * 0x100000001b3ULL;
	hash = (hash ^ nsid) * 0x100000001b3ULL;
	return hash % BLOCK_LOCK_GENERATION_KEYS;
}

void generation_lock_init(struct generation_lock *lock, const uint8_t uuid[16])
{
	lock->key = hash_key(uuid, lock->nsid);
	lock->held = false;
	lock->timer = NULL;
}

static int try_lock(struct generation_lock *lock)
{
	int ret = block_lock_generation(lock->fd, lock->read_only, lock->key);

	if (ret == -EAGAIN)
		return ret;
	/* The image itself was locked in the same way before. */
	if (ret < 0)
		log_warning("controller %u: namespace %u: cannot see when a predecessor's "
			    "requests are over: %s",
			    lock->controller, lock->nsid, strerror(-ret));
	lock->held = true;
	return 0;
}

static int try_again(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct generation_lock *lock = opaque;

	if (try_lock(lock) == -EAGAIN) {
		uint64_t wait = MAX(lock->waited_usec / WAIT_PART, (uint64_t)WAIT_MIN_USEC);

		wait = MIN(wait, (uint64_t)WAIT_MAX_USEC);
		lock->waited_usec += wait;
		sd_event_source_set_time_relative(source, wait);
		sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
		return 0;
	}
	lock->timer = sd_event_source_disable_unref(lock->timer);
	log_info("controller %u: namespace %u: the predecessor's requests are over",
		 lock->controller, lock->nsid);
	lock->acquired(lock->opaque);
	return 0;
}

bool generation_lock_take(struct generation_lock *lock)
{
	if (lock->fd < 0 || lock->held || lock->timer)
		return !lock->timer;
	if (try_lock(lock) == 0)
		return true;
	lock->waited_usec = WAIT_MIN_USEC;
	if (sd_event_add_time_relative(lock->event, &lock->timer, CLOCK_MONOTONIC, WAIT_MIN_USEC, 1,
				       try_again, lock) < 0)
		abort();
	return false;
}

void generation_lock_release(struct generation_lock *lock)
{
	lock->timer = sd_event_source_disable_unref(lock->timer);
	if (lock->fd < 0)
		return;
	block_unlock_generation(lock->fd, lock->key);
	lock->held = false;
}

void generation_lock_destroy(struct generation_lock *lock)
{
	lock->timer = sd_event_source_disable_unref(lock->timer);
	cleanup_close(&lock->fd);
}
