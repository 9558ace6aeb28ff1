/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_KEEPER_STATUS_H
#define DAEMON_KEEPER_STATUS_H

#include "base/json.h"
#include "domain-xml/metadata.h"

/* Reading a keeper's `status`. All borrowed from it. */

/** keeper_status_controller() - by index; NULL when it has none such */
struct json_object *keeper_status_controller(struct json_object *status, unsigned index);

/** keeper_status_namespace() - of a controller (may be NULL) by nsid; NULL when there is none */
struct json_object *keeper_status_namespace(struct json_object *controller, unsigned nsid);

/**
 * keeper_status_other_source() - is there another path to a disk of @controller, of which the keeper has another
 * source than @path open?
 * @wish: says which controllers are of one subsystem
 *
 * Return: that path's controller, or NULL.
 */
const struct metadata_controller *keeper_status_other_source(
	struct json_object *status, const struct metadata *wish,
	const struct metadata_controller *controller, unsigned nsid, const char *path);

/** keeper_status_namespace_count() - of a controller (may be NULL) */
size_t keeper_status_namespace_count(struct json_object *controller);

/** keeper_status_connected() - has QEMU connected to a controller (may be NULL)? */
bool keeper_status_connected(struct json_object *controller);

/** keeper_status_migrates() - does the guest come or go: a migration, save, dump or restore is under
 * way? @status may be NULL */
bool keeper_status_migrates(struct json_object *status);

#endif
