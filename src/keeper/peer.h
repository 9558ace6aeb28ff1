/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_PEER_H
#define KEEPER_PEER_H

#include <sys/types.h>
#include <systemd/sd-event.h>

#include "base/error.h"
#include "base/json.h"

/*
 * The one process that may connect to the domain's sockets: its QEMU. All guests of a host may
 * share a uid, so it is known by its pid: the content of libvirt's pid file, and where there is
 * none, whoever comes first. From then on the process is watched.
 */
struct peer {
	sd_event *event;
	const char *pidfile; /* borrowed; NULL: none */
	pid_t pid;	     /* 0: nobody has connected yet */
	int pidfd;
	sd_event_source *source;
	void (*gone)(void *opaque); /* the process has ended */
	void *opaque;
};

void peer_init(struct peer *peer, sd_event *event, const char *pidfile, void (*gone)(void *opaque),
	       void *opaque);
void peer_done(struct peer *peer);

/** peer_admit() - is this connection the domain's QEMU's? 0, -EACCES, or -errno */
int peer_admit(struct peer *peer, int fd);

/** peer_save() - for peer_load() in the program that this process becomes */
struct json_object *peer_save(const struct peer *peer);
int peer_load(struct peer *peer, struct json_object *json);

#endif
