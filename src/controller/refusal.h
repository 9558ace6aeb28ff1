/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_REFUSAL_H
#define CONTROLLER_REFUSAL_H

#include <systemd/sd-event.h>

/**
 * refusal_send() - tell a second client that the device is in use
 * @fd: its connection, owned from here on
 *
 * Its VERSION is answered with EBUSY, then the connection is closed; after a second in any case.
 * Not just closed at once: QEMU 11.1 aborts when its connection ends before VERSION is answered,
 * with a running guest in it if it was a hot-plug.
 */
void refusal_send(sd_event *event, int fd);

#endif
