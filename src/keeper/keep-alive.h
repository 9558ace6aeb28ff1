/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_KEEP_ALIVE_H
#define KEEPER_KEEP_ALIVE_H

struct device;
struct keeper;

/*
 * A guest that has set a Keep Alive Timeout is given up by the controller when it was silent for so
 * long; not when it could not speak, because somebody had stopped it. That only QEMU knows, and the
 * controller asks us.
 */

/** keep_alive_handle() - the controller's event "silent" about @device */
void keep_alive_handle(struct keeper *keeper, struct device *device);

/** keep_alive_resumed() - QEMU runs again, or what it did before is not known */
void keep_alive_resumed(struct keeper *keeper);

#endif
