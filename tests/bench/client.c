// SPDX-License-Identifier: LGPL-2.1-or-later
#include "bench/client.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"
#include "vfio-user/protocol.h"

#define MAX_REPLY 4096

static int connect_to(const char *path, struct error **errp)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int sock;

	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(errp, ENAMETOOLONG, "the socket's path is too long");
	memcpy(address.sun_path, path, strlen(path) + 1);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return error_set_errno(errp, errno, "cannot make a socket");
	if (connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int code = errno;

		close(sock);
		return error_set_errno(errp, code, "cannot connect to %s", path);
	}
	return sock;
}

/* Send a command and wait for its reply, which is at least @reply_size bytes behind the header. */
static int call(struct client *client, unsigned command, const void *payload, size_t size,
		const int *fds, size_t fd_count, void *reply, size_t reply_size,
		struct error **errp)
{
	struct vfio_user_header header = {
		.id = ++client->next_id,
		.command = command,
		.size = sizeof(header) + size,
		.flags = VFIO_USER_FLAG_COMMAND,
	};
	const struct iovec iov[] = { { &header, sizeof(header) }, { (void *)payload, size } };
	uint8_t data[MAX_REPLY];
	ssize_t sent = fd_send(client->sock, iov, ARRAY_SIZE(iov), fds, fd_count, 0);
	int ret;

	if (sent != (ssize_t)header.size)
		return error_set_errno(errp, sent < 0 ? -sent : EIO, "command %u", command);
	ret = fd_read_full(client->sock, &header, sizeof(header));
	if (ret < 0)
		return error_set_errno(errp, -ret, "command %u", command);
	if (header.size < sizeof(header) || header.size - sizeof(header) > sizeof(data))
		return error_set(errp, EPROTO, "command %u: a reply of %u bytes", command,
				 header.size);
	ret = fd_read_full(client->sock, data, header.size - sizeof(header));
	if (ret < 0)
		return error_set_errno(errp, -ret, "command %u", command);
	if (header.flags & VFIO_USER_FLAG_ERROR)
		return error_set_errno(errp, header.error ? header.error : EIO, "command %u",
				       command);
	if (header.size - sizeof(header) < reply_size)
		return error_set(errp, EPROTO, "command %u: a reply of %u bytes", command,
				 header.size);
	if (reply_size)
		memcpy(reply, data, reply_size);
	return 0;
}

static int negotiate(struct client *client, struct error **errp)
{
	static const char capabilities[] =
		"{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576,"
		"\"pgsizes\":4096,\"write_multiple\":true}}";
	struct {
		struct vfio_user_version version;
		char json[sizeof(capabilities)];
	} request = { .version = { .minor = 1 } };

	memcpy(request.json, capabilities, sizeof(capabilities));
	return call(client, VFIO_USER_VERSION, &request, sizeof(request), NULL, 0, NULL, 0, errp);
}

static int share_memory(struct client *client, uint64_t size, bool hugepages, struct error **errp)
{
	_cleanup_close_ int fd = memfd_create("guest", MFD_CLOEXEC | (hugepages ? MFD_HUGETLB : 0));
	struct vfio_user_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_USER_DMA_READABLE | VFIO_USER_DMA_WRITEABLE,
		.addr = CLIENT_BASE,
	};

	size = ROUND_UP(size, 2 * MiB);
	map.size = size;
	if (fd < 0 || ftruncate(fd, size) < 0)
		return error_set_errno(errp, errno, "cannot make guest memory");
	client->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (client->memory == MAP_FAILED) {
		client->memory = NULL;
		return error_set_errno(errp, errno, "cannot map guest memory");
	}
	client->base = CLIENT_BASE;
	client->size = size;
	return call(client, VFIO_USER_DMA_MAP, &map, sizeof(map), &fd, 1, NULL, 0, errp);
}

int client_open(struct client *client, const char *path, uint64_t size, bool hugepages,
		struct error **errp)
{
	int ret;

	*client = (struct client){ .sock = connect_to(path, errp) };
	if (client->sock < 0)
		return client->sock;
	ret = negotiate(client, errp);
	if (ret == 0)
		ret = share_memory(client, size, hugepages, errp);
	if (ret < 0)
		client_close(client);
	return ret;
}

void client_close(struct client *client)
{
	if (client->memory)
		munmap(client->memory, client->size);
	if (client->sock >= 0)
		close(client->sock);
	client->memory = NULL;
	client->sock = -1;
}

struct access_message {
	struct vfio_user_region_access access;
	uint64_t value;
};

int client_read(struct client *client, unsigned region, uint64_t offset, unsigned count,
		uint64_t *ret, struct error **errp)
{
	struct vfio_user_region_access access = {
		.offset = offset,
		.region = region,
		.count = count,
	};
	struct access_message reply = { .value = 0 };
	int err = call(client, VFIO_USER_REGION_READ, &access, sizeof(access), NULL, 0, &reply,
		       sizeof(access) + count, errp);

	*ret = reply.value;
	return err;
}

int client_write(struct client *client, unsigned region, uint64_t offset, unsigned count,
		 uint64_t value, struct error **errp)
{
	struct access_message message = {
		.access = { .offset = offset, .region = region, .count = count },
		.value = value,
	};

	return call(client, VFIO_USER_REGION_WRITE, &message, sizeof(message.access) + count, NULL,
		    0, NULL, 0, errp);
}

void client_doorbell(struct client *client, uint64_t offset, uint32_t value)
{
	struct {
		struct vfio_user_header header;
		struct vfio_user_region_access access;
		uint32_t value;
	} __attribute__((packed)) message = {
		.header = { .id = ++client->next_id,
			    .command = VFIO_USER_REGION_WRITE,
			    .size = sizeof(message),
			    .flags = VFIO_USER_FLAG_COMMAND | VFIO_USER_FLAG_NO_REPLY },
		.access = { .offset = offset,
			    .region = VFIO_PCI_BAR0_REGION_INDEX,
			    .count = sizeof(message.value) },
		.value = value,
	};

	client->system_calls++;
	if (send(client->sock, &message, sizeof(message), MSG_NOSIGNAL) != sizeof(message)) {
		fprintf(stderr, "the server has gone away: %s\n", strerror(errno));
		exit(EXIT_FAILURE);
	}
}

int client_map_doorbells(struct client *client, struct error **errp)
{
	struct {
		struct vfio_user_header header;
		struct vfio_region_info info;
		struct vfio_region_info_cap_sparse_mmap cap;
		struct vfio_region_sparse_mmap_area area;
	} message = {
		.header = { .id = ++client->next_id,
			    .command = VFIO_USER_DEVICE_GET_REGION_INFO,
			    .size = sizeof(message.header) + sizeof(message.info),
			    .flags = VFIO_USER_FLAG_COMMAND },
		.info = { .argsz = sizeof(message) - sizeof(message.header),
			  .index = VFIO_PCI_BAR0_REGION_INDEX },
	};
	struct iovec iov = { &message, message.header.size };
	size_t fd_count = 0;
	ssize_t n = fd_send(client->sock, &iov, 1, NULL, 0, 0);
	int fd = -1;

	iov.iov_len = sizeof(message);
	if (n > 0)
		n = fd_receive(client->sock, &iov, 1, &fd, 1, &fd_count, 0);
	if (n != sizeof(message) || fd_count != 1)
		return error_set(errp, ENOTSUP, "the controller's doorbells cannot be mapped");
	client->doorbells = mmap(NULL, message.area.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
				 message.info.offset + message.area.offset);
	close(fd);
	if (client->doorbells == MAP_FAILED)
		return error_set_errno(errp, errno, "cannot map the doorbells");
	return 0;
}

int client_set_vectors(struct client *client, int eventfd, unsigned count, struct error **errp)
{
	int fds[VFIO_USER_MAX_FDS];
	unsigned i, start, part;
	int ret = 0;

	for (i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = eventfd;
	for (start = 0; ret == 0 && start < count; start += part) {
		struct vfio_irq_set set = {
			.argsz = sizeof(set),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = VFIO_PCI_MSIX_IRQ_INDEX,
			.start = start,
		};

		set.count = part = MIN(count - start, (unsigned)ARRAY_SIZE(fds));
		ret = call(client, VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set), fds, part, NULL, 0,
			   errp);
	}
	return ret;
}
