// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/unit/vfio-user/rig.h"

#include <errno.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/fd.h"

static void device_read(void *device, unsigned region, uint64_t offset, void *buf, size_t len)
{
	struct rig *rig = device;

	rig->reads++;
	memcpy(buf, rig->bar0 + offset, len);
}

static void device_write(void *device, unsigned region, uint64_t offset, const void *buf,
			 size_t len)
{
	struct rig *rig = device;

	rig->writes++;
	if (rig->on_write)
		rig->on_write(rig);
	memcpy(rig->bar0 + offset, buf, len);
}

static void device_reset(void *device)
{
	struct rig *rig = device;

	rig->resets++;
	if (rig->reset_at_once)
		vfio_user_server_reset_done(rig->server);
}

static void device_pause(void *device)
{
	struct rig *rig = device;

	rig->pauses++;
	if (rig->on_pause)
		rig->on_pause(rig);
}

static void device_resume(void *device)
{
	struct rig *rig = device;

	rig->resumes++;
}

static void device_disconnected(void *device, int error)
{
	struct rig *rig = device;

	rig->disconnects++;
	rig->disconnect_error = error;
}

const struct vfio_user_device_ops rig_ops = {
	.region_read = device_read,
	.region_write = device_write,
	.reset = device_reset,
	.dma_pause = device_pause,
	.dma_resume = device_resume,
	.disconnected = device_disconnected,
};

void rig_device_info(struct vfio_user_device_info *info, int mmap_fd)
{
	unsigned i;

	memset(info, 0, sizeof(*info));
	for (i = 0; i < VFIO_PCI_NUM_REGIONS; i++)
		info->regions[i].fd = -1;
	info->regions[VFIO_PCI_BAR0_REGION_INDEX] = (struct vfio_user_region){
		.size = 8192,
		.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE,
		.fd = mmap_fd,
		.area_count = mmap_fd >= 0,
		.areas = { { 4096, 4096 } },
	};
	info->regions[VFIO_PCI_CONFIG_REGION_INDEX] = (struct vfio_user_region){
		.size = 4096,
		.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE,
		.fd = -1,
	};
	/* One that can only be read. */
	info->regions[VFIO_PCI_BAR2_REGION_INDEX] = (struct vfio_user_region){
		.size = 4096,
		.flags = VFIO_REGION_INFO_FLAG_READ,
		.fd = -1,
	};
	info->irq_counts[VFIO_PCI_INTX_IRQ_INDEX] = 1;
	info->irq_counts[VFIO_PCI_MSIX_IRQ_INDEX] = RIG_VECTORS;
	info->irq_counts[VFIO_PCI_ERR_IRQ_INDEX] = 1;
	info->irq_counts[VFIO_PCI_REQ_IRQ_INDEX] = 1;
}

int rig_setup_raw(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct vfio_user_device_info info;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	rig->fd = pair[0];
	rig->relay_fd = -1;
	rig_device_info(&info, -1);
	rig->server = vfio_user_server_new(vfio_user_transport_socket_new(pair[1]), &info, &rig_ops,
					   rig, NULL);
	assert_non_null(rig->server);
	rig->dma = vfio_user_server_dma(rig->server);
	rig->irq = vfio_user_server_irq(rig->server);
	*state = rig;
	return 0;
}

int rig_setup(void **state)
{
	rig_setup_raw(state);
	return rig_version(*state, 0, "{\"capabilities\":{\"max_msg_fds\":16}}");
}

int rig_teardown(void **state)
{
	struct rig *rig = *state;

	fd_close_all(rig->reply_fds, rig->reply_fd_count);
	vfio_user_server_free(rig->server);
	close(rig->fd);
	if (rig->relay_fd >= 0)
		close(rig->relay_fd);
	free(rig);
	return 0;
}

void rig_send_raw(struct rig *rig, const void *data, size_t len, const int *fds, size_t fd_count)
{
	struct iovec iov = { (void *)data, len };

	assert_int_equal(fd_send(rig->fd, &iov, 1, fds, fd_count, 0), len);
}

uint16_t rig_send(struct rig *rig, uint16_t command, uint32_t flags, const void *payload,
		  size_t size, const int *fds, size_t fd_count)
{
	struct vfio_user_header header = { .id = ++rig->next_id,
					   .command = command,
					   .flags = flags,
					   .size = sizeof(header) + size };
	struct iovec iov[2] = { { &header, sizeof(header) }, { (void *)payload, size } };

	assert_int_equal(fd_send(rig->fd, iov, 2, fds, fd_count, 0), sizeof(header) + size);
	return header.id;
}

int rig_process(struct rig *rig)
{
	return vfio_user_server_process(rig->server);
}

bool rig_receive(struct rig *rig)
{
	struct iovec iov = { &rig->header, sizeof(rig->header) };
	size_t count = 0;

	fd_close_all(rig->reply_fds, rig->reply_fd_count);
	rig->reply_fd_count = 0;
	if (fd_receive(rig->fd, &iov, 1, rig->reply_fds, 16, &rig->reply_fd_count, MSG_DONTWAIT) !=
	    sizeof(rig->header))
		return false;
	rig->reply_size = rig->header.size - sizeof(rig->header);
	assert_true(rig->reply_size <= sizeof(rig->reply));
	iov = (struct iovec){ rig->reply, rig->reply_size };
	if (rig->reply_size)
		assert_int_equal(fd_receive(rig->fd, &iov, 1, NULL, 0, &count, MSG_WAITALL),
				 rig->reply_size);
	return true;
}

int rig_call_fds(struct rig *rig, uint16_t command, const void *payload, size_t size,
		 const int *fds, size_t fd_count)
{
	uint16_t id = rig_send(rig, command, 0, payload, size, fds, fd_count);

	rig_process(rig);
	if (!rig_receive(rig))
		return -1;
	assert_int_equal(rig->header.id, id);
	assert_int_equal(rig->header.command, command);
	assert_int_equal(rig->header.flags & VFIO_USER_FLAG_TYPE_MASK, VFIO_USER_FLAG_REPLY);
	if (!(rig->header.flags & VFIO_USER_FLAG_ERROR))
		return 0;
	assert_int_equal(rig->reply_size, 0);
	assert_int_not_equal(rig->header.error, 0);
	return rig->header.error;
}

int rig_call(struct rig *rig, uint16_t command, const void *payload, size_t size)
{
	return rig_call_fds(rig, command, payload, size, NULL, 0);
}

int rig_version(struct rig *rig, uint16_t major, const char *json)
{
	size_t size = sizeof(struct vfio_user_version) + (json ? strlen(json) + 1 : 0);
	_cleanup_free_ struct vfio_user_version *version = calloc(1, size);

	version->major = major;
	version->minor = 1;
	if (json)
		memcpy(version->data, json, strlen(json) + 1);
	return rig_call(rig, VFIO_USER_VERSION, version, size);
}

int rig_map(struct rig *rig, uint64_t iova, uint64_t size, uint64_t offset, uint32_t flags, int fd)
{
	struct vfio_user_dma_map map = {
		.argsz = sizeof(map), .flags = flags, .offset = offset, .addr = iova, .size = size
	};

	return rig_call_fds(rig, VFIO_USER_DMA_MAP, &map, sizeof(map), &fd, fd >= 0 ? 1 : 0);
}

int rig_unmap(struct rig *rig, uint64_t iova, uint64_t size, uint32_t flags)
{
	struct vfio_user_dma_unmap unmap = {
		.argsz = sizeof(unmap), .flags = flags, .addr = iova, .size = size
	};

	return rig_call(rig, VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap));
}

int rig_set_irqs(struct rig *rig, uint32_t flags, uint32_t index, uint32_t start, uint32_t count,
		 const void *data, size_t size, const int *fds, size_t fd_count)
{
	_cleanup_free_ struct vfio_irq_set *set = calloc(1, sizeof(*set) + size);

	*set = (struct vfio_irq_set){ .argsz = sizeof(*set) + size,
				      .flags = flags,
				      .index = index,
				      .start = start,
				      .count = count };
	if (size)
		memcpy(set->data, data, size);
	return rig_call_fds(rig, VFIO_USER_DEVICE_SET_IRQS, set, sizeof(*set) + size, fds,
			    fd_count);
}

int rig_memfd(size_t size)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	return fd;
}
