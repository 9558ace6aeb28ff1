/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VFIO_USER_TRANSPORT_H
#define VFIO_USER_TRANSPORT_H

#include <sys/uio.h>

#include "vfio-user/protocol.h"

/*
 * How whole vfio-user messages reach the server. Two implementations: `transport-socket` frames
 * them on a SOCK_STREAM connection of its own (standalone), `transport-relay` gets them one per
 * datagram from the keeper over SOCK_SEQPACKET (bulk payloads through a ring shared with it). The
 * server above does not know which.
 *
 * Control thread only, but for send(), which any thread may call: a message is written as one
 * piece.
 */
struct vfio_user_transport;

/* One received message. Descriptors are owned by the receiver, which sets an entry to -1 when it
 * keeps one. */
struct vfio_user_message {
	struct vfio_user_header header; /* size and type checked by the transport */
	void *payload; /* header.size - 16 bytes, 8-aligned, valid until the next receive */
	size_t payload_size;
	int fds[VFIO_USER_MAX_FDS];
	size_t fd_count;
};

struct vfio_user_transport_ops {
	/* 1: a message; 0: none now (wait for fd to become readable); -errno: the connection is
	 * over. */
	int (*receive)(struct vfio_user_transport *transport, struct vfio_user_message *ret);
	/*
	 * Header, then payload. 0 or -errno. Blocks while the peer does not drain, at most for a
	 * while, then fails: a peer that does not read is a dead peer.
	 */
	int (*send)(struct vfio_user_transport *transport, const struct vfio_user_header *header,
		    const struct iovec *payload, size_t iovcnt, const int *fds, size_t fd_count);
	void (*free)(struct vfio_user_transport *transport);
};

struct vfio_user_transport {
	const struct vfio_user_transport_ops *ops;
	int fd; /* to wait on */
};

/** vfio_user_transport_socket_new() - @fd: a connected SOCK_STREAM socket, owned from here on;
 * NULL: no memory */
struct vfio_user_transport *vfio_user_transport_socket_new(int fd);

/** vfio_user_transport_relay_new() - @fd: the SOCK_SEQPACKET channel to the keeper, owned from here
 * on */
struct vfio_user_transport *vfio_user_transport_relay_new(int fd);

#endif
