// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vfio-user/server.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>

#include "base/fd.h"
#include "base/log.h"
#include "vfio-user/dma-internal.h"
#include "vfio-user/handlers.h"
#include "vfio-user/irq-internal.h"
#include "vfio-user/message.h"

/*
 * Theory of operation
 *
 * Receive, judge (message.c), dispatch (the table below), reply, in the order of arrival. Only
 * DEVICE_RESET is answered later: it waits for I/O, which may itself wait for messages of the
 * client, so those that come after it are handled meanwhile.
 *
 * A message that is wrong gets an errno. The connection ends only when the stream cannot be
 * followed any more (the transport says so), before VERSION has gone well, and when a reply to a
 * command of ours is nonsense.
 */

/* One process() hands the control thread back after so many. */
#define BATCH 64

static int handle_reset(struct vfio_user_server *server, struct vfio_user_message *message,
			struct vfio_user_reply *reply)
{
	if (server->reset_pending)
		return -EBUSY;
	server->reset_pending = true;
	server->reset_header = message->header;
	reply->later = true;
	server->ops->reset(server->device);
	return 0;
}

static const struct command {
	const char *name;
	vfio_user_handler handle;
} commands[] = {
	[VFIO_USER_VERSION] = { "VERSION", vfio_user_handle_version },
	[VFIO_USER_DMA_MAP] = { "DMA_MAP", vfio_user_handle_dma_map },
	[VFIO_USER_DMA_UNMAP] = { "DMA_UNMAP", vfio_user_handle_dma_unmap },
	[VFIO_USER_DEVICE_GET_INFO] = { "DEVICE_GET_INFO", vfio_user_handle_get_info },
	[VFIO_USER_DEVICE_GET_REGION_INFO] = { "DEVICE_GET_REGION_INFO",
					       vfio_user_handle_get_region_info },
	[VFIO_USER_DEVICE_GET_REGION_IO_FDS] = { "DEVICE_GET_REGION_IO_FDS",
						 vfio_user_handle_get_region_io_fds },
	[VFIO_USER_DEVICE_GET_IRQ_INFO] = { "DEVICE_GET_IRQ_INFO", vfio_user_handle_get_irq_info },
	[VFIO_USER_DEVICE_SET_IRQS] = { "DEVICE_SET_IRQS", vfio_user_handle_set_irqs },
	[VFIO_USER_REGION_READ] = { "REGION_READ", vfio_user_handle_region_read },
	[VFIO_USER_REGION_WRITE] = { "REGION_WRITE", vfio_user_handle_region_write },
	[VFIO_USER_REGION_WRITE_MULTI] = { "REGION_WRITE_MULTI",
					   vfio_user_handle_region_write_multi },
	[VFIO_USER_DEVICE_RESET] = { "DEVICE_RESET", handle_reset },
	[VFIO_USER_DEVICE_FEATURE] = { "DEVICE_FEATURE", vfio_user_handle_feature },
};

static const char *command_name(uint16_t command)
{
	if (command < ARRAY_SIZE(commands) && commands[command].name)
		return commands[command].name;
	return "unknown command";
}

struct vfio_user_server *vfio_user_server_new(struct vfio_user_transport *transport,
					      const struct vfio_user_device_info *info,
					      const struct vfio_user_device_ops *ops, void *device,
					      struct error **errp)
{
	struct vfio_user_server *server = calloc(1, sizeof(*server));
	struct epoll_event event = { .events = EPOLLIN };

	if (!server) {
		transport->ops->free(transport);
		error_set_errno(errp, ENOMEM, "vfio-user server");
		return NULL;
	}
	*server = (struct vfio_user_server){
		.transport = transport,
		.info = *info,
		.ops = ops,
		.device = device,
		.dma = vfio_user_dma_new(transport),
		.irq = vfio_user_irq_new(info->irq_counts),
		.epoll_fd = epoll_create1(EPOLL_CLOEXEC),
		.watched_fd = -1,
		.scratch = malloc(VFIO_USER_MAX_MESSAGE),
	};
	event.data.fd = transport->fd;
	if (!server->dma || !server->irq || !server->scratch || server->epoll_fd < 0 ||
	    epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, transport->fd, &event) < 0) {
		error_set_errno(errp, errno ? errno : ENOMEM, "vfio-user server");
		vfio_user_server_free(server);
		return NULL;
	}
	return server;
}

void vfio_user_server_free(struct vfio_user_server *server)
{
	if (!server)
		return;
	if (server->dma)
		vfio_user_dma_end(server->dma);
	server->transport->ops->free(server->transport);
	vfio_user_dma_free(server->dma);
	vfio_user_irq_free(server->irq);
	if (server->watched_fd >= 0)
		close(server->watched_fd);
	if (server->epoll_fd >= 0)
		close(server->epoll_fd);
	free(server->scratch);
	free(server);
}

int vfio_user_server_fd(const struct vfio_user_server *server)
{
	return server->epoll_fd;
}

struct vfio_user_dma *vfio_user_server_dma(struct vfio_user_server *server)
{
	return server->dma;
}

struct vfio_user_irq *vfio_user_server_irq(struct vfio_user_server *server)
{
	return server->irq;
}

void vfio_user_server_pause(struct vfio_user_server *server)
{
	server->ops->dma_pause(server->device);
}

void vfio_user_server_resume(struct vfio_user_server *server)
{
	server->ops->dma_resume(server->device);
}

int vfio_user_server_watch_unmask(struct vfio_user_server *server)
{
	struct epoll_event event = { .events = EPOLLIN };
	int fd = vfio_user_irq_unmask_fd(server->irq);

	/* A duplicate: closing the last descriptor of ours takes it out of the set for certain only
	 * if no other holds the same description, and the client does. */
	if (server->watched_fd >= 0) {
		epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, server->watched_fd, NULL);
		close(server->watched_fd);
		server->watched_fd = -1;
	}
	if (fd < 0)
		return 0;
	server->watched_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (server->watched_fd < 0)
		return -errno;
	event.data.fd = server->watched_fd;
	if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->watched_fd, &event) < 0)
		return -EINVAL;
	return 0;
}

static int disconnect(struct vfio_user_server *server, int error)
{
	if (!server->error) {
		server->error = error;
		vfio_user_dma_end(server->dma);
		epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, server->transport->fd, NULL);
		server->ops->disconnected(server->device, error);
	}
	return server->error;
}

static int send_reply(struct vfio_user_server *server, const struct vfio_user_header *command,
		      int error, const struct vfio_user_reply *reply)
{
	struct vfio_user_header header = {
		.id = command->id,
		.command = command->command,
		.flags = VFIO_USER_FLAG_REPLY | (error ? VFIO_USER_FLAG_ERROR : 0),
		.error = error,
		.size = sizeof(header) + (error ? 0 : reply->size),
	};
	struct iovec iov = { (void *)reply->data, reply->size };

	if (error)
		return server->transport->ops->send(server->transport, &header, NULL, 0, NULL, 0);
	return server->transport->ops->send(server->transport, &header, &iov, 1, &reply->fd,
					    reply->fd >= 0 ? 1 : 0);
}

void vfio_user_server_reset_done(struct vfio_user_server *server)
{
	struct vfio_user_reply reply = { .fd = -1 };

	if (!server->reset_pending)
		return;
	server->reset_pending = false;
	if (!server->error && !(server->reset_header.flags & VFIO_USER_FLAG_NO_REPLY))
		send_reply(server, &server->reset_header, 0, &reply);
}

/* Return: 0, or -errno when the connection must end. */
static int handle_command(struct vfio_user_server *server, struct vfio_user_message *message)
{
	struct vfio_user_header header = message->header;
	struct vfio_user_reply reply = { .fd = -1 };
	bool was_negotiated = server->negotiated;
	int r, error;

	error = vfio_user_message_judge(&server->info, server->negotiated, message);
	if (error == 0)
		error = commands[header.command].handle(server, message, &reply);
	if (error < 0)
		log_guest(LOG_NOTICE, "the client's %s (%u) was answered with an error: %s",
			  command_name(header.command), header.command, strerror(-error));
	if (reply.later || (header.flags & VFIO_USER_FLAG_NO_REPLY))
		r = 0;
	else
		r = send_reply(server, &header, -error, &reply);
	if (r == 0 && error < 0 && !was_negotiated)
		r = -EPROTO;
	return r;
}

static int handle_message(struct vfio_user_server *server, struct vfio_user_message *message)
{
	int r;

	if ((message->header.flags & VFIO_USER_FLAG_TYPE_MASK) == VFIO_USER_FLAG_REPLY)
		r = vfio_user_dma_reply(server->dma, message);
	else
		r = handle_command(server, message);
	fd_close_all(message->fds, message->fd_count);
	return r;
}

int vfio_user_server_process(struct vfio_user_server *server)
{
	unsigned i;

	if (server->error)
		return server->error;
	if (server->watched_fd >= 0)
		vfio_user_irq_unmask_by_fd(server->irq);
	for (i = 0; i < BATCH; i++) {
		struct vfio_user_message message;
		int r = server->transport->ops->receive(server->transport, &message);

		if (r == 0)
			return 0;
		if (r > 0)
			r = handle_message(server, &message);
		if (r < 0)
			return disconnect(server, r);
	}
	return 0;
}
