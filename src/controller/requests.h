/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_REQUESTS_H
#define CONTROLLER_REQUESTS_H

#include <systemd/sd-event.h>

#include "controller/io-thread.h"

/* Under a keeper: its commands (docs/control.md, "controller") make and take away devices. */
struct requests;

/**
 * requests_new() - serve the keeper
 * @fd: the channel to it, owned from here on. When it ends, everything is drained and closed, and
 *	the event loop ends
 */
struct requests *requests_new(sd_event *event, struct io_threads *threads, int fd,
			      struct error **errp);

void requests_free(struct requests *requests);

#endif
