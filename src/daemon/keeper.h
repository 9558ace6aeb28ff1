/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_KEEPER_H
#define DAEMON_KEEPER_H

#include "base/json.h"

/*
 * The keepers as the daemon sees them: a socket in the runtime directory of the domain's UUID.
 * Whether we started one or an earlier daemon did makes no difference. All of this blocks: worker
 * threads only.
 */
#define KEEPER_TIMEOUT_MS	20000
#define KEEPER_START_TIMEOUT_MS 50000
#define KEEPER_STOP_TIMEOUT_MS	5000

/** keeper_directory() - "<runtime dir>/<uuid>"; malloc()ed */
char *keeper_directory(const char *uuid);

/**
 * keeper_start() - start one and wait until it serves
 * @name: the domain's
 * @config: docs/control.md; borrowed
 *
 * Return: 0, or -errno with the keeper's sentence.
 */
int keeper_start(const char *name, struct json_object *config, struct error **errp);

/**
 * keeper_call() - ask a domain's keeper
 * @arguments: reference taken over; may be NULL
 *
 * Return: 0, -ENOENT when there is no keeper, else -errno with a sentence.
 */
int keeper_call(const char *uuid, const char *command, struct json_object *arguments,
		struct json_object **ret_result, struct error **errp);

/** keeper_runs() - is there one? */
bool keeper_runs(const char *uuid);

/** keeper_stop() - and wait until it has gone; 0 also when there was none */
int keeper_stop(const char *uuid, struct error **errp);

/** keeper_for_each() - the UUIDs of all that have a runtime directory */
void keeper_for_each(void (*visit)(const char *uuid));

/** keeper_own_sockets() - give the sockets that QEMU connects to, to its user; 0 or -errno */
int keeper_own_sockets(const char *uuid, uid_t uid, gid_t gid);

/** keeper_reap() - collect those of our children that ended; main thread, on SIGCHLD */
void keeper_reap(void);

#endif
