/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_LOOP_H
#define DAEMON_LOOP_H

#include <systemd/sd-event.h>

/*
 * The main loop, and the way back to it: worker threads hand their results over, since connections
 * and requests are used by the main thread only.
 */
int loop_init(sd_event *event);

/** loop_post() - run @run(@opaque) in the main loop; from any thread */
void loop_post(void (*run)(void *opaque), void *opaque);

/** loop_post_later() - the same, after @usec; from any thread */
void loop_post_later(uint64_t usec, void (*run)(void *opaque), void *opaque);

#endif
