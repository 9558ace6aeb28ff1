/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_DEVICE_INTERNAL_H
#define KEEPER_DEVICE_INTERNAL_H

#include "keeper/device.h"

/* Shared by device.c, which has what a device is made of, and device-call.c, which has the controller
 * use it. */

/** device_new_namespace() - parsed, its image open and perhaps locked, in the list; NULL with a
 * sentence */
struct device_namespace *device_new_namespace(struct device *device, struct json_object *json,
					      bool locked, struct error **errp);

/** device_drop_namespace() - out of the list, its image unlocked and closed; if there is one such */
void device_drop_namespace(struct device *device, uint32_t nsid);

#endif
