// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/json.h"

#include <errno.h>
#include <limits.h>

#define MAX_DEPTH 32

struct json_object *json_parse(const char *text, size_t len, struct error **errp)
{
	struct json_tokener *tokener;
	struct json_object *object;
	enum json_tokener_error status;

	if (len > INT_MAX) {
		error_set(errp, E2BIG, "JSON text of %zu bytes is too long", len);
		return NULL;
	}
	tokener = json_tokener_new_ex(MAX_DEPTH);
	if (!tokener) {
		error_set_errno(errp, ENOMEM, "JSON");
		return NULL;
	}
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	object = json_tokener_parse_ex(tokener, text, len);
	status = json_tokener_get_error(tokener);
	if (status != json_tokener_success || json_tokener_get_parse_end(tokener) != len) {
		error_set(errp, EINVAL, "not valid JSON at byte %zu: %s",
			  json_tokener_get_parse_end(tokener),
			  status == json_tokener_success ? "trailing text"
							 : json_tokener_error_desc(status));
		json_object_put(object);
		object = NULL;
	} else if (!object) {
		error_set(errp, EINVAL, "JSON null where a value is wanted");
	}
	json_tokener_free(tokener);
	return object;
}

struct json_object *json_child(struct json_object *object, const char *key, enum json_type type)
{
	struct json_object *child;

	if (!json_object_is_type(object, json_type_object) ||
	    !json_object_object_get_ex(object, key, &child) || !json_object_is_type(child, type))
		return NULL;
	return child;
}

const char *json_string(struct json_object *object, const char *key, struct error **errp)
{
	struct json_object *child = json_child(object, key, json_type_string);

	if (!child) {
		error_set(errp, EINVAL, "\"%s\" is missing or not a string", key);
		return NULL;
	}
	return json_object_get_string(child);
}

const char *json_string_or(struct json_object *object, const char *key, const char *fallback)
{
	struct json_object *child = json_child(object, key, json_type_string);

	return child ? json_object_get_string(child) : fallback;
}

int json_u64(struct json_object *object, const char *key, uint64_t *ret, struct error **errp)
{
	struct json_object *child = json_child(object, key, json_type_int);

	/* json-c clamps on reading: a negative number reads as 0, so look at the signed value
	 * first. */
	if (!child || json_object_get_int64(child) < 0)
		return error_set(errp, EINVAL, "\"%s\" is missing or not a non-negative integer",
				 key);
	*ret = json_object_get_uint64(child);
	return 0;
}

uint64_t json_u64_or(struct json_object *object, const char *key, uint64_t fallback)
{
	uint64_t value;

	return json_u64(object, key, &value, NULL) == 0 ? value : fallback;
}

bool json_bool_or(struct json_object *object, const char *key, bool fallback)
{
	struct json_object *child = json_child(object, key, json_type_boolean);

	return child ? json_object_get_boolean(child) : fallback;
}

void json_add(struct json_object *object, const char *key, struct json_object *value)
{
	json_object_object_add(object, key, value);
}

void json_add_string(struct json_object *object, const char *key, const char *value)
{
	if (value)
		json_add(object, key, json_object_new_string(value));
}

void json_add_u64(struct json_object *object, const char *key, uint64_t value)
{
	json_add(object, key, json_object_new_uint64(value));
}

void json_add_bool(struct json_object *object, const char *key, bool value)
{
	json_add(object, key, json_object_new_boolean(value));
}

const char *json_text(struct json_object *object)
{
	return json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
							      JSON_C_TO_STRING_NOSLASHESCAPE);
}
