// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/refusal.h"

#include <errno.h>
#include <sys/socket.h>
#include <time.h>

#include "base/fd.h"
#include "base/util.h"
#include "vfio-user/protocol.h"

#define PATIENCE_USEC 1000000
/* More than that at a time are not waited for. */
#define MAX_WAITING 16

struct refusal {
	int fd;
	sd_event_source *io, *timer;
};

static unsigned waiting;

static void end(struct refusal *refusal)
{
	sd_event_source_disable_unref(refusal->io);
	sd_event_source_disable_unref(refusal->timer);
	close(refusal->fd);
	free(refusal);
	waiting--;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *opaque)
{
	end(opaque);
	return 0;
}

/* Whatever else it says stays unread: its first message is all that is answered. */
static int on_io(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct refusal *refusal = opaque;
	struct vfio_user_header header;
	struct iovec iov = { &header, sizeof(header) };

	if (recv(fd, &header, sizeof(header), MSG_DONTWAIT) == sizeof(header)) {
		header.size = sizeof(header);
		header.flags = VFIO_USER_FLAG_REPLY | VFIO_USER_FLAG_ERROR;
		header.error = EBUSY;
		fd_send(fd, &iov, 1, NULL, 0, MSG_DONTWAIT);
	}
	/* Until it has read that and hung up itself, or for a second. */
	sd_event_source_set_io_events(refusal->io, 0);
	if (revents & (EPOLLHUP | EPOLLERR))
		end(refusal);
	return 0;
}

void refusal_send(sd_event *event, int fd)
{
	struct refusal *refusal = waiting < MAX_WAITING ? calloc(1, sizeof(*refusal)) : NULL;

	if (!refusal) {
		close(fd);
		return;
	}
	waiting++;
	refusal->fd = fd;
	if (sd_event_add_io(event, &refusal->io, fd, EPOLLIN, on_io, refusal) < 0 ||
	    sd_event_add_time_relative(event, &refusal->timer, CLOCK_MONOTONIC, PATIENCE_USEC, 0,
				       on_timer, refusal) < 0)
		end(refusal);
}
