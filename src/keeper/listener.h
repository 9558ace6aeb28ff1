/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_LISTENER_H
#define KEEPER_LISTENER_H

#include "base/json.h"
#include "keeper/peer.h"

/*
 * A socket for one connection of the domain's QEMU. Others are accepted and closed at once: left
 * in the backlog they would freeze the QEMU that waits there. After the first good one the path is
 * gone.
 */
struct listener;

struct listener_options {
	const char *path;
	uid_t uid;
	gid_t gid;
	struct peer *peer;
	/* @fd: owned by the callee. */
	void (*accepted)(void *opaque, int fd);
	void *opaque;
};

/** listener_new() - bind and listen; NULL with a sentence */
struct listener *listener_new(sd_event *event, const struct listener_options *options,
			      struct error **errp);

/** listener_save() - for listener_load() in the program that this process becomes */
struct json_object *listener_save(const struct listener *listener);
struct listener *listener_load(sd_event *event, const struct listener_options *options,
			       struct json_object *json, struct error **errp);

/** listener_free() - the path is removed */
void listener_free(struct listener *listener);

/** listener_used() - has QEMU connected, be it gone again? */
bool listener_used(const struct listener *listener);

const char *listener_path(const struct listener *listener);

#endif
