/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_FORMATS_H
#define KEEPER_FORMATS_H

#include "control/channel.h"

struct device;
struct keeper;

/* Formats to another block size, which is to be in the domain's definition before the guest hears of it. */
struct formats {
	struct control_connection *daemon; /* NULL: there is none */
	sd_event_source *timer;		   /* NULL: nothing is to be recorded */
	uint64_t asked;			   /* when the daemon was last; CLOCK_MONOTONIC, us */
};

/** formats_handle() - the controller's event "block-size" about @device */
void formats_handle(struct keeper *keeper, struct device *device, struct json_object *data);

/** formats_look() - have the daemon look, as long as anything is to be recorded */
void formats_look(struct keeper *keeper);

void formats_done(struct formats *formats);

#endif
