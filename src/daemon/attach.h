/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_ATTACH_H
#define DAEMON_ATTACH_H

#include "domain-xml/metadata.h"
#include "qmp/qmp.h"

/**
 * attach_controllers() - hot-plug what is wished and has no place in the guest yet
 * @xml: the live XML, @wish's metadata in it
 * @wish: where each one came to be is recorded here; the disks of one that QEMU would not take are
 *	marked failed
 *
 * The safety net (dbus-vmstate, monitor) comes first: a controller without it would be lost in a
 * migration.
 */
void attach_controllers(const struct qmp_transport *qmp, const char *xml, struct metadata *wish);

/**
 * attach_park() - a controller has lost its last disk
 *
 * It is unplugged only from a QEMU that is known to survive that (qmp/device.h); else it stays in
 * the guest, empty.
 */
void attach_park(const struct qmp_transport *qmp, unsigned index);

/** attach_fail() - mark all disks of a controller that are not attached */
void attach_fail(struct metadata_controller *controller, const char *reason);

/** attach_fail_disk() - mark one */
void attach_fail_disk(struct metadata_disk *disk, const char *reason);

/** attach_find() - where QEMU has a controller; 0 or -ENOENT */
int attach_find(struct json_object *pci, unsigned index, struct metadata_placement *ret);

#endif
