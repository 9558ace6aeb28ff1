/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <json-c/json.h>

#include "base/error.h"

/*
 * json-c with types checked: every getter says in a sentence which key is missing or of the wrong
 * type. Objects are json-c's, reference counted; a getter returns a borrowed reference.
 */

static inline void cleanup_json(struct json_object **object)
{
	json_object_put(*object);
}

#define _cleanup_json_ _cleanup_(cleanup_json)

/** json_parse() - exactly one JSON object or array of @len bytes, at most 32 deep; owned by the
 * caller; NULL with a sentence */
struct json_object *json_parse(const char *text, size_t len, struct error **errp);

/** json_string() - a required string; NULL with a sentence. Borrowed. */
const char *json_string(struct json_object *object, const char *key, struct error **errp);

/** json_string_or() - an optional string; @fallback when it is missing or not a string */
const char *json_string_or(struct json_object *object, const char *key, const char *fallback);

/** json_u64() - a required non-negative integer; 0 or -EINVAL */
int json_u64(struct json_object *object, const char *key, uint64_t *ret, struct error **errp);

/** json_u64_or() - an optional non-negative integer */
uint64_t json_u64_or(struct json_object *object, const char *key, uint64_t fallback);

/** json_bool_or() - an optional boolean */
bool json_bool_or(struct json_object *object, const char *key, bool fallback);

/** json_child() - an optional member of that type; NULL when it is missing or of another type.
 * Borrowed. */
struct json_object *json_child(struct json_object *object, const char *key, enum json_type type);

/* Building; the new value belongs to @object. A NULL @value adds nothing. */
void json_add_string(struct json_object *object, const char *key, const char *value);
void json_add_u64(struct json_object *object, const char *key, uint64_t value);
void json_add_bool(struct json_object *object, const char *key, bool value);
/** json_add() - @value's reference goes to @object */
void json_add(struct json_object *object, const char *key, struct json_object *value);

/** json_text() - one line; valid as long as the object and until the next call for it */
const char *json_text(struct json_object *object);

#endif
