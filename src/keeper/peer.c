// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "keeper/carry.h"

void peer_init(struct peer *peer, sd_event *event, const char *pidfile, void (*gone)(void *opaque),
	       void *opaque)
{
	*peer = (struct peer){
		.event = event,
		.pidfile = pidfile,
		.pidfd = -1,
		.gone = gone,
		.opaque = opaque,
	};
}

void peer_done(struct peer *peer)
{
	peer->source = sd_event_source_disable_unref(peer->source);
	if (peer->pidfd >= 0)
		close(steal_fd(&peer->pidfd));
}

static pid_t read_pidfile(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	char text[32];
	ssize_t n;
	long pid;
	char *end;

	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	pid = strtol(text, &end, 10);
	return (*end == '\0' || *end == '\n') && pid > 0 ? (pid_t)pid : 0;
}

static int on_exit_of_peer(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct peer *peer = opaque;

	peer_done(peer);
	peer->gone(peer->opaque);
	return 0;
}

static int watch(struct peer *peer, int pidfd)
{
	int r;

	peer->pidfd = pidfd;
	if (peer->pidfd < 0)
		return -errno;
	r = sd_event_add_io(peer->event, &peer->source, peer->pidfd, EPOLLIN, on_exit_of_peer,
			    peer);
	if (r < 0)
		close(steal_fd(&peer->pidfd));
	return r < 0 ? r : 0;
}

int peer_admit(struct peer *peer, int fd)
{
	struct ucred credentials;
	socklen_t len = sizeof(credentials);
	int r;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &len) < 0)
		return -errno;
	if (peer->pidfile && read_pidfile(peer->pidfile) != credentials.pid) {
		log_guest(LOG_WARNING,
			  "process %d is refused: it is not this domain's QEMU as %s says",
			  (int)credentials.pid, peer->pidfile);
		return -EACCES;
	}
	if (peer->pid == credentials.pid)
		return 0;
	if (peer->pid) {
		log_guest(LOG_WARNING, "process %d is refused: this domain's QEMU is process %d",
			  (int)credentials.pid, (int)peer->pid);
		return -EACCES;
	}
	peer->pid = credentials.pid;
	r = watch(peer, syscall(SYS_pidfd_open, peer->pid, 0));
	if (r < 0) {
		peer->pid = 0;
		return r;
	}
	log_info("QEMU is process %d", (int)peer->pid);
	return 0;
}

struct json_object *peer_save(const struct peer *peer)
{
	struct json_object *json = json_object_new_object();

	json_add_u64(json, "pid", peer->pid);
	carry_fd(json, "pidfd", peer->pidfd);
	return json;
}

int peer_load(struct peer *peer, struct json_object *json)
{
	peer->pid = json_u64_or(json, "pid", 0);
	return peer->pid ? watch(peer, carried_fd(json, "pidfd")) : 0;
}
