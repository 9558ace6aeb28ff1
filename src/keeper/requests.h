/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_REQUESTS_H
#define KEEPER_REQUESTS_H

#include "base/json.h"
#include "control/channel.h"

struct keeper;

/* keeper.sock: what the daemon may ask (docs/control.md). */
struct requests;

/** requests_new() - NULL with a sentence */
struct requests *requests_new(struct keeper *keeper, struct error **errp);

/** requests_hold() - leave what the daemon asks from now on in the sockets, or go on */
void requests_hold(struct requests *requests, bool hold);

/** requests_may_be_carried() - has everything been answered but @request? */
bool requests_may_be_carried(const struct requests *requests,
			     const struct control_request *request);

/** requests_save() - for requests_load() in the program that this process becomes, which answers
 * @request, and what is in the sockets */
struct json_object *requests_save(const struct requests *requests,
				  const struct control_request *request);
/** requests_load() - @ret_request: NULL: nobody waits for it */
struct requests *requests_load(struct keeper *keeper, struct json_object *json,
			       struct control_request **ret_request, struct error **errp);
void requests_free(struct requests *requests);

#endif
