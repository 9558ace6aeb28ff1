/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef FAILED_DEVICE_H
#define FAILED_DEVICE_H

#include <systemd/sd-event.h>

#include "base/error.h"

/*
 * An NVMe controller that has failed: it reads as one (CSTS.CFS), and no command, queue or doorbell
 * has any effect. Nothing that a guest wrote is looked at, and its memory is not touched.
 */
struct failed_device;

/**
 * failed_device_new() - answer for a device from now on
 * @vectors: interrupt vectors that it had
 * @channel: from the keeper, owned from here on
 *
 * Return: NULL with a sentence.
 */
struct failed_device *failed_device_new(sd_event *event, unsigned index, unsigned vectors,
					int channel, struct error **errp);
void failed_device_free(struct failed_device *device);

#endif
