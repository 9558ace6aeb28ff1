/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_STANDALONE_H
#define CONTROLLER_STANDALONE_H

#include <systemd/sd-event.h>

#include "controller/io-thread.h"
#include "controller/options.h"

/*
 * One device made from the command line, without a keeper: opens and locks the images itself,
 * listens itself, serves one client after another.
 */
struct standalone;

/** standalone_open() - all that needs the file system; NULL with a sentence */
struct standalone *standalone_open(const struct options *options, struct error **errp);

/** standalone_start() - make the device and serve; a failure later ends the event loop */
int standalone_start(struct standalone *standalone, sd_event *event, struct io_threads *threads,
		     struct error **errp);

/** standalone_stop() - drain and close; then end the event loop with success */
void standalone_stop(struct standalone *standalone);

void standalone_free(struct standalone *standalone);

#endif
