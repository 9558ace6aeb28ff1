/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_IO_ERRORS_H
#define KEEPER_IO_ERRORS_H

#include "base/json.h"

struct device;
struct keeper;

/*
 * error_policy="stop" and "enospace": the controller holds a command that the storage has failed,
 * and says so; the domain is paused, and when somebody has repaired the storage and lets it run
 * again, the controller tries again. libvirt sees a domain that was paused, and virsh resume is the
 * way on.
 */

/** io_errors_handle() - the controller's event "io-error" about @device */
void io_errors_handle(struct keeper *keeper, struct device *device, struct json_object *data);

/** io_errors_resumed() - QEMU runs again */
void io_errors_resumed(struct keeper *keeper);

#endif
