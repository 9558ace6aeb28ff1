// SPDX-License-Identifier: LGPL-2.1-or-later
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/util.h"
#include "vfio-user/server.h"

/*
 * What a client may do to the server: any stream of bytes, with any descriptors.
 *
 * The input is a sequence of steps. A byte chooses: how many descriptors go with the next write
 * (two bits), of which kind (two bits), and whether what follows is a message whose header is made
 * right (id, size and type), so that mutations reach the handlers, or raw bytes. Then a length of
 * two bytes, then that many bytes.
 */
#define MAX_STEPS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz_device {
	struct vfio_user_server *server;
	uint8_t memory[8192];
	bool over;
	bool reset;
};

static void device_read(void *opaque, unsigned region, uint64_t offset, void *buf, size_t len)
{
	struct fuzz_device *device = opaque;

	memcpy(buf, device->memory + offset, len);
}

static void device_write(void *opaque, unsigned region, uint64_t offset, const void *buf,
			 size_t len)
{
	struct fuzz_device *device = opaque;

	memcpy(device->memory + offset, buf, len);
	/* A device uses what it was given: guest memory, and interrupts. */
	if (offset < 4096) {
		struct vfio_user_dma *dma = vfio_user_server_dma(device->server);
		uint64_t iova;
		char *p;

		memcpy(&iova, device->memory, sizeof(iova));
		p = vfio_user_dma_resolve(dma, iova, 64,
					  VFIO_USER_ACCESS_READ | VFIO_USER_ACCESS_WRITE);
		if (p)
			p[63] = p[0];
		else if (vfio_user_dma_contains(dma, iova, 64, VFIO_USER_ACCESS_WRITE))
			vfio_user_dma_write_message(dma, 0, iova, device->memory, 64);
		vfio_user_irq_trigger(vfio_user_server_irq(device->server), device->memory[8]);
		vfio_user_irq_set_intx(vfio_user_server_irq(device->server), device->memory[9] & 1);
		if (vfio_user_dma_mark_retired(dma))
			vfio_user_dma_release_retired(dma);
	}
}

static void device_reset(void *opaque)
{
	struct fuzz_device *device = opaque;

	device->reset = true;
}

static void device_nothing(void *opaque)
{
}

static void device_disconnected(void *opaque, int error)
{
	struct fuzz_device *device = opaque;

	device->over = true;
}

static const struct vfio_user_device_ops ops = {
	.region_read = device_read,
	.region_write = device_write,
	.reset = device_reset,
	.dma_pause = device_nothing,
	.dma_resume = device_nothing,
	.disconnected = device_disconnected,
};

static void describe(struct vfio_user_device_info *info)
{
	unsigned i;

	memset(info, 0, sizeof(*info));
	for (i = 0; i < VFIO_PCI_NUM_REGIONS; i++)
		info->regions[i].fd = -1;
	info->regions[0] = (struct vfio_user_region){
		.size = 8192,
		.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE,
		.fd = -1,
	};
	info->regions[VFIO_PCI_CONFIG_REGION_INDEX] = (struct vfio_user_region){
		.size = 4096,
		.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE,
		.fd = -1,
	};
	info->irq_counts[VFIO_PCI_INTX_IRQ_INDEX] = 1;
	info->irq_counts[VFIO_PCI_MSIX_IRQ_INDEX] = 17;
	info->irq_counts[VFIO_PCI_REQ_IRQ_INDEX] = 1;
}

static void swallow_replies(int fd)
{
	char buf[4096];

	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
}

/* Send one step, as far as the socket takes it. */
static void send_step(int sock, uint8_t choice, const uint8_t *data, size_t size, int memfd,
		      int event)
{
	static const unsigned counts[] = { 0, 1, 2, 16 };
	struct vfio_user_header header = { 0 };
	struct iovec iov[2] = { { &header, sizeof(header) }, { (void *)data, size } };
	int fds[16];
	bool framed = choice & 0x10;
	unsigned i, count = counts[choice & 3];

	for (i = 0; i < count; i++)
		fds[i] = (choice >> 2 & 3) == 0 ? memfd : (choice >> 2 & 3) == 1 ? event : sock;
	if (!framed) {
		if (size)
			fd_send(sock, iov + 1, 1, fds, count, MSG_DONTWAIT);
		return;
	}
	if (size < 2)
		return;
	header.id = choice;
	header.command = data[0];
	header.flags = data[1] & 0x11;
	iov[1] = (struct iovec){ (void *)(data + 2), size - 2 };
	header.size = sizeof(header) + size - 2;
	fd_send(sock, iov, 2, fds, count, MSG_DONTWAIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_close_ int memfd = memfd_create("fuzz", MFD_CLOEXEC);
	_cleanup_close_ int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct fuzz_device device = { 0 };
	struct vfio_user_device_info info;
	unsigned steps;
	int pair[2];

	log_open("fuzz", LOG_EMERG);
	if (ftruncate(memfd, 64 * KiB) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return 0;
	describe(&info);
	device.server = vfio_user_server_new(vfio_user_transport_socket_new(pair[1]), &info, &ops,
					     &device, NULL);
	for (steps = 0; steps < MAX_STEPS && size >= 3 && !device.over; steps++) {
		size_t len = MIN((size_t)(data[1] | data[2] << 8), size - 3);

		send_step(pair[0], data[0], data + 3, len, memfd, event);
		vfio_user_server_process(device.server);
		if (device.reset && data[0] & 0x20) {
			device.reset = false;
			vfio_user_server_reset_done(device.server);
		}
		swallow_replies(pair[0]);
		data += 3 + len;
		size -= 3 + len;
	}
	vfio_user_server_free(device.server);
	close(pair[0]);
	return 0;
}
