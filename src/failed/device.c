// SPDX-License-Identifier: LGPL-2.1-or-later
#include "failed/device.h"

#include <errno.h>
#include <sys/epoll.h>

#include "base/i18n.h"
#include "base/log.h"
#include "controller/pci-function.h"
#include "nvme/limits.h"
#include "nvme/spec.h"
#include "vfio-user/server.h"

struct failed_device {
	unsigned index;
	struct vfio_user_server *server;
	sd_event_source *source;
	struct pci_config config;
};

/* What a driver wants to see before it believes CSTS: a controller that would be ready in 500 ms.
 */
static const uint32_t registers[] = {
	[NVME_REG_CAP / 4] =
		NVME_CAP_MQES(NVME_MAX_IO_ENTRIES - 1) | NVME_CAP_CQR | (uint32_t)NVME_CAP_TO(1),
	[NVME_REG_CAP / 4 + 1] = NVME_CAP_CSS_NVM >> 32,
	[NVME_REG_VS / 4] = NVME_VS_2_0,
	[NVME_REG_CSTS / 4] = NVME_CSTS_CFS,
};

static void ignore(void *opaque)
{
}

static void ignore_setting(void *opaque, bool on)
{
}

static const struct pci_config_ops config_ops = { ignore_setting, ignore_setting, ignore };

static void region_read(void *opaque, unsigned region, uint64_t offset, void *buf, size_t len)
{
	struct failed_device *device = opaque;

	if (region == VFIO_PCI_CONFIG_REGION_INDEX) {
		pci_config_read(&device->config, offset, buf, len);
		return;
	}
	memset(buf, 0, len);
	if (offset < sizeof(registers))
		memcpy(buf, (const char *)registers + offset, MIN(len, sizeof(registers) - offset));
}

static void region_write(void *opaque, unsigned region, uint64_t offset, const void *buf,
			 size_t len)
{
	struct failed_device *device = opaque;

	if (region == VFIO_PCI_CONFIG_REGION_INDEX)
		pci_config_write(&device->config, offset, buf, len, &config_ops, device);
}

static void reset(void *opaque)
{
	struct failed_device *device = opaque;

	pci_config_reset(&device->config);
	vfio_user_server_reset_done(device->server);
}

static void disconnected(void *opaque, int error)
{
	struct failed_device *device = opaque;

	log_info("controller %u: the client has disconnected", device->index);
	device->source = sd_event_source_disable_unref(device->source);
}

static const struct vfio_user_device_ops ops = {
	.region_read = region_read,
	.region_write = region_write,
	.reset = reset,
	.dma_pause = ignore,
	.dma_resume = ignore,
	.disconnected = disconnected,
};

static int on_message(sd_event_source *source, int fd, uint32_t revents, void *opaque)
{
	struct failed_device *device = opaque;

	vfio_user_server_process(device->server);
	return 0;
}

struct failed_device *failed_device_new(sd_event *event, unsigned index, unsigned vectors,
					int channel, struct error **errp)
{
	const struct pci_config_layout layout = pci_function_layout(vectors);
	struct vfio_user_transport *transport = vfio_user_transport_relay_new(channel);
	struct failed_device *device = calloc(1, sizeof(*device));
	struct vfio_user_device_info info;
	int r;

	if (!device || !transport) {
		if (transport)
			transport->ops->free(transport);
		free(device);
		error_set(errp, ENOMEM, _("out of memory"));
		return NULL;
	}
	device->index = index;
	pci_config_init(&device->config, &layout);
	vfio_user_device_info_init(&info, &layout);
	device->server = vfio_user_server_new(transport, &info, &ops, device, errp);
	if (!device->server) {
		free(device);
		return NULL;
	}
	r = sd_event_add_io(event, &device->source, vfio_user_server_fd(device->server), EPOLLIN,
			    on_message, device);
	if (r < 0) {
		failed_device_free(device);
		error_set_errno(errp, -r, _("cannot wait for the client"));
		return NULL;
	}
	return device;
}

void failed_device_free(struct failed_device *device)
{
	sd_event_source_disable_unref(device->source);
	vfio_user_server_free(device->server);
	free(device);
}
