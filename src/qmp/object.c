// SPDX-License-Identifier: LGPL-2.1-or-later
#include "qmp/object.h"

#include <errno.h>

/* Whether the list that @command answers has an entry whose @key is @value. */
static int list_has(const struct qmp_transport *qmp, const char *command,
		    struct json_object *arguments, const char *key, const char *value,
		    struct error **errp)
{
	_cleanup_json_ struct json_object *answer = NULL;
	size_t i;
	int r;

	r = qmp_execute(qmp, command, arguments, &answer, errp);
	if (r < 0)
		return r;
	if (!json_object_is_type(answer, json_type_array))
		return error_set(errp, EPROTO, "%s: the answer is not a list", command);
	for (i = 0; i < json_object_array_length(answer); i++) {
		struct json_object *entry = json_object_array_get_idx(answer, i);

		if (string_equal(json_string_or(entry, key, ""), value))
			return 1;
	}
	return 0;
}

int qmp_object_exists(const struct qmp_transport *qmp, const char *id, struct error **errp)
{
	struct json_object *arguments = json_object_new_object();

	json_add_string(arguments, "path", "/objects");
	return list_has(qmp, "qom-list", arguments, "name", id, errp);
}

int qmp_chardev_exists(const struct qmp_transport *qmp, const char *id, struct error **errp)
{
	return list_has(qmp, "query-chardev", NULL, "label", id, errp);
}

int qmp_memory_is_shared(const struct qmp_transport *qmp, struct error **errp)
{
	_cleanup_json_ struct json_object *answer = NULL;
	size_t i, n;
	int r;

	r = qmp_execute(qmp, "query-memdev", NULL, &answer, errp);
	if (r < 0)
		return r;
	if (!json_object_is_type(answer, json_type_array))
		return error_set(errp, EPROTO, "query-memdev: the answer is not a list");
	n = json_object_array_length(answer);
	for (i = 0; i < n; i++)
		if (!json_bool_or(json_object_array_get_idx(answer, i), "share", false))
			return 0;
	return n > 0;
}
