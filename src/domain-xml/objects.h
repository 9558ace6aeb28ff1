/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DOMAIN_XML_OBJECTS_H
#define DOMAIN_XML_OBJECTS_H

#include "domain-xml/attach.h"

/*
 * The objects of ours in QEMU, as JSON that both the command line and QMP take; inside the folder
 * only. NULL when out of memory.
 */

/** objects_vmstate() - dbus-vmstate, connected to the keeper's bus */
struct json_object *objects_vmstate(const char *uuid, const struct rewrite_options *options);

/** objects_chardev() - arguments of chardev-add: a client of the keeper's monitor socket */
struct json_object *objects_chardev(const char *uuid, const struct rewrite_options *options);

/** objects_chardev_argument() - the same for -chardev, which takes no JSON; malloc()ed */
char *objects_chardev_argument(const char *uuid, const struct rewrite_options *options);

/** objects_monitor() - monitor-qmp on that character device */
struct json_object *objects_monitor(void);

/** objects_port() - a root port on q35 */
struct json_object *objects_port(unsigned number, const struct metadata_placement *place,
				 unsigned chassis);

#endif
