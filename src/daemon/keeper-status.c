// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/keeper-status.h"

static struct json_object *find(struct json_object *object, const char *list_key, const char *key,
				unsigned number)
{
	struct json_object *list = json_child(object, list_key, json_type_array);
	size_t i;

	for (i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *item = json_object_array_get_idx(list, i);

		if (json_u64_or(item, key, UINT64_MAX) == number)
			return item;
	}
	return NULL;
}

struct json_object *keeper_status_controller(struct json_object *status, unsigned index)
{
	return find(status, "controllers", "index", index);
}

struct json_object *keeper_status_namespace(struct json_object *controller, unsigned nsid)
{
	return find(controller, "namespaces", "nsid", nsid);
}

const struct metadata_controller *keeper_status_other_source(
	struct json_object *status, const struct metadata *wish,
	const struct metadata_controller *controller, unsigned nsid, const char *path)
{
	size_t i;

	for (i = 0; i < wish->controller_count; i++) {
		const struct metadata_controller *other = &wish->controllers[i];
		struct json_object *there = keeper_status_namespace(
			keeper_status_controller(status, other->index), nsid);
		const char *source = json_string_or(there, "source", NULL);

		if (other->index != controller->index &&
		    metadata_same_subsystem(other, controller) && source &&
		    !string_equal(source, path))
			return other;
	}
	return NULL;
}

size_t keeper_status_namespace_count(struct json_object *controller)
{
	struct json_object *list = json_child(controller, "namespaces", json_type_array);

	return list ? json_object_array_length(list) : 0;
}

bool keeper_status_connected(struct json_object *controller)
{
	return json_bool_or(controller, "connected", false);
}

bool keeper_status_migrates(struct json_object *status)
{
	return !string_equal(json_string_or(status, "migration", "none"), "none");
}
