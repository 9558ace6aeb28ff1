/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_REQUESTS_INTERNAL_H
#define KEEPER_REQUESTS_INTERNAL_H

#include "base/json.h"
#include "control/channel.h"

/* The daemon's requests: shared by requests.c, which receives them, and request-*.c, which do what
 * they ask. */
struct keeper;

/**
 * request_fn - does what one command asks and answers @request, at once or later
 * @arguments: checked against the command table
 */
typedef void request_fn(struct keeper *keeper, struct control_request *request,
			struct json_object *arguments);

/* request-device.c */
request_fn request_add_controller;
request_fn request_remove_controller;
request_fn request_add_namespace;
request_fn request_remove_namespace;
request_fn request_resize_namespace;
request_fn request_set_block_size;
request_fn request_set_iotune;

/* request-status.c */
request_fn request_status;

/* requests.c */
/** requests_fail_copy() - answer @request with @err, which stays the caller's */
void requests_fail_copy(struct control_request *request, const struct error *err);

#endif
