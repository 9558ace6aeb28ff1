/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_CARRY_H
#define KEEPER_CARRY_H

#include <stddef.h>

#include "base/json.h"

/*
 * What a keeper carries over an execve of itself: one JSON object, in which descriptors are numbers
 * and bytes are hexadecimal. Each part of the keeper saves and loads its own.
 */

/* Of the object's meaning, and of what a controller shares with its keeper: the bulk file's layout.
 * A keeper that does not know it is not executed (--can-adopt). */
#define CARRY_VERSION 2u

/** carry_fd() - @fd (-1: nothing is added) stays open over the execve */
void carry_fd(struct json_object *json, const char *key, int fd);
/** carry_fds() - the same for a list; entries may be -1 */
void carry_fds(struct json_object *json, const char *key, const int *fds, size_t count);
void carry_bytes(struct json_object *json, const char *key, const void *bytes, size_t size);

/** carried_fd() - -1: there is none */
int carried_fd(struct json_object *json, const char *key);
/** carried_fds() - at most @max; how many */
size_t carried_fds(struct json_object *json, const char *key, int *fds, size_t max);
/** carried_bytes() - exactly @size of them; 0 or -EINVAL */
int carried_bytes(struct json_object *json, const char *key, void *bytes, size_t size);
/** carried_size() - how many there are */
size_t carried_size(struct json_object *json, const char *key);

#endif
