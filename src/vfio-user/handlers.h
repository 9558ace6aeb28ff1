/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VFIO_USER_HANDLERS_H
#define VFIO_USER_HANDLERS_H

#include "vfio-user/server.h"

/* The inside of the server: what the handlers in their several files share. */
struct vfio_user_server {
	struct vfio_user_transport *transport;
	struct vfio_user_device_info info;
	const struct vfio_user_device_ops *ops;
	void *device;
	struct vfio_user_dma *dma;
	struct vfio_user_irq *irq;
	int epoll_fd;	/* the transport and the INTx unmask eventfd */
	int watched_fd; /* a duplicate of that eventfd, as the epoll set knows it; -1: none */
	int error;	/* the connection is over */

	bool negotiated;
	unsigned client_max_fds;

	bool reset_pending;
	struct vfio_user_header reset_header;

	void *scratch; /* VFIO_USER_MAX_MESSAGE bytes for a reply's data */
};

/* What a handler wants to answer. Its data may be in the message (payload) or in server->scratch.
 */
struct vfio_user_reply {
	const void *data;
	size_t size;
	int fd; /* -1: none; stays the owner's */
	bool later;
};

/* The workers stand still between these two. */
void vfio_user_server_pause(struct vfio_user_server *server);
void vfio_user_server_resume(struct vfio_user_server *server);

/** vfio_user_server_watch_unmask() - wait on the INTx unmask eventfd that there is now */
int vfio_user_server_watch_unmask(struct vfio_user_server *server);

/* Return: 0: reply as filled in; -errno: reply with that error. */
typedef int (*vfio_user_handler)(struct vfio_user_server *server, struct vfio_user_message *message,
				 struct vfio_user_reply *reply);

int vfio_user_handle_version(struct vfio_user_server *server, struct vfio_user_message *message,
			     struct vfio_user_reply *reply);
int vfio_user_handle_dma_map(struct vfio_user_server *server, struct vfio_user_message *message,
			     struct vfio_user_reply *reply);
int vfio_user_handle_dma_unmap(struct vfio_user_server *server, struct vfio_user_message *message,
			       struct vfio_user_reply *reply);
int vfio_user_handle_get_info(struct vfio_user_server *server, struct vfio_user_message *message,
			      struct vfio_user_reply *reply);
int vfio_user_handle_get_region_info(struct vfio_user_server *server,
				     struct vfio_user_message *message,
				     struct vfio_user_reply *reply);
int vfio_user_handle_get_region_io_fds(struct vfio_user_server *server,
				       struct vfio_user_message *message,
				       struct vfio_user_reply *reply);
int vfio_user_handle_get_irq_info(struct vfio_user_server *server,
				  struct vfio_user_message *message, struct vfio_user_reply *reply);
int vfio_user_handle_feature(struct vfio_user_server *server, struct vfio_user_message *message,
			     struct vfio_user_reply *reply);
int vfio_user_handle_set_irqs(struct vfio_user_server *server, struct vfio_user_message *message,
			      struct vfio_user_reply *reply);
int vfio_user_handle_region_read(struct vfio_user_server *server, struct vfio_user_message *message,
				 struct vfio_user_reply *reply);
int vfio_user_handle_region_write(struct vfio_user_server *server,
				  struct vfio_user_message *message, struct vfio_user_reply *reply);
int vfio_user_handle_region_write_multi(struct vfio_user_server *server,
					struct vfio_user_message *message,
					struct vfio_user_reply *reply);

#endif
