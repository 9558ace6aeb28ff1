/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_REQUESTS_H
#define DAEMON_REQUESTS_H

#include <systemd/sd-event.h>

#include "base/json.h"

/*
 * The control socket: who asks, and who answers.
 */

/** requests_serve() - @fd: a listening socket, owned from here on. 0 or -errno */
int requests_serve(sd_event *event, int fd);

/*
 * The handlers. They run in worker threads; @arguments are checked against the command table, the
 * result is the caller's.
 */
typedef int (*request_fn)(struct json_object *arguments, struct json_object **ret_result,
			  struct error **errp);

/* request-domain.c */
int request_define(struct json_object *arguments, struct json_object **ret_result,
		   struct error **errp);
int request_look(struct json_object *arguments, struct json_object **ret_result,
		 struct error **errp);
int request_unmanage(struct json_object *arguments, struct json_object **ret_result,
		     struct error **errp);
/* request-upgrade.c */
int request_upgrade(struct json_object *arguments, struct json_object **ret_result,
		    struct error **errp);
/* request-disk.c */
int request_attach_disk(struct json_object *arguments, struct json_object **ret_result,
			struct error **errp);
int request_detach_disk(struct json_object *arguments, struct json_object **ret_result,
			struct error **errp);
int request_resize(struct json_object *arguments, struct json_object **ret_result,
		   struct error **errp);
/* request-info.c */
int request_list(struct json_object *arguments, struct json_object **ret_result,
		 struct error **errp);
int request_info(struct json_object *arguments, struct json_object **ret_result,
		 struct error **errp);
int request_host_status(struct json_object *arguments, struct json_object **ret_result,
			struct error **errp);

/* request-migrate.c */
int request_migrate_check(struct json_object *arguments, struct json_object **ret_result,
			  struct error **errp);

#endif
