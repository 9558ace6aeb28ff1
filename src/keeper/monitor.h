/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_MONITOR_H
#define KEEPER_MONITOR_H

#include "keeper/listener.h"

/* QEMU's second QMP monitor, of which QEMU is the connecting end. It is always drained: a monitor
 * that nobody reads fills QEMU's memory. */
struct monitor;

/** monitor_new() - serve @options->path; accepted and opaque are set here. NULL with a sentence */
struct monitor *monitor_new(sd_event *event, const struct listener_options *options,
			    struct error **errp);
void monitor_free(struct monitor *monitor);

/** monitor_connected() - has QEMU greeted and accepted our capabilities? */
bool monitor_connected(const struct monitor *monitor);

#endif
