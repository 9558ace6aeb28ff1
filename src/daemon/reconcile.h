/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_RECONCILE_H
#define DAEMON_RECONCILE_H

/*
 * Level-triggered: whatever happened to a domain, it is looked at whole. See reconcile.c.
 */

/** reconcile_init() - 0 or -ENOMEM */
int reconcile_init(void);

/** reconcile_request() - look at a domain soon; from any thread, never blocks */
void reconcile_request(const char *uuid);

/** reconcile_request_keepers() - look at every domain that has a keeper */
void reconcile_request_keepers(void);

#endif
