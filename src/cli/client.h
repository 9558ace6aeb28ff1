/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include "base/json.h"

/* Long enough for a volume to be created and a guest to be asked; a user can interrupt it. */
#define CLIENT_TIMEOUT_MS 120000

/**
 * client_call() - ask the daemon
 * @arguments: reference taken over; may be NULL
 * @ret_result: owned by the caller; may be NULL
 *
 * Return: 0, or -errno with the daemon's sentence; -ECONNREFUSED when there is no daemon.
 */
int client_call(const char *command, struct json_object *arguments, int timeout_ms,
		struct json_object **ret_result, struct error **errp);

#endif
