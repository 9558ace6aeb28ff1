// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "vfio-user/handlers.h"

/* Where region_info says that a region is in the device's file: only for the eye, as in VFIO. */
#define REGION_SHIFT 40

static void add_region(struct vfio_user_device_info *info, unsigned index, uint64_t size)
{
	info->regions[index].size = size;
	info->regions[index].flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
}

void vfio_user_device_info_init(struct vfio_user_device_info *info,
				const struct pci_config_layout *layout)
{
	unsigned i;

	memset(info, 0, sizeof(*info));
	for (i = 0; i < VFIO_PCI_NUM_REGIONS; i++)
		info->regions[i].fd = -1;
	add_region(info, VFIO_PCI_BAR0_REGION_INDEX, layout->bar0_size);
	if (pci_config_bar4_size(layout))
		add_region(info, VFIO_PCI_BAR4_REGION_INDEX, pci_config_bar4_size(layout));
	add_region(info, VFIO_PCI_CONFIG_REGION_INDEX, sizeof(((struct pci_config *)NULL)->bytes));
	info->irq_counts[VFIO_PCI_INTX_IRQ_INDEX] = 1;
	info->irq_counts[VFIO_PCI_MSIX_IRQ_INDEX] = layout->msix_vectors;
	/* Never signalled; QEMU complains when it cannot ask for them. */
	info->irq_counts[VFIO_PCI_ERR_IRQ_INDEX] = 1;
	info->irq_counts[VFIO_PCI_REQ_IRQ_INDEX] = 1;
}

int vfio_user_handle_get_info(struct vfio_user_server *server, struct vfio_user_message *message,
			      struct vfio_user_reply *reply)
{
	struct vfio_user_device_info_reply *info = message->payload;

	*info = (struct vfio_user_device_info_reply){
		.argsz = sizeof(*info),
		.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
		.num_regions = VFIO_PCI_NUM_REGIONS,
		.num_irqs = VFIO_PCI_NUM_IRQS,
	};
	reply->data = info;
	reply->size = sizeof(*info);
	return 0;
}

static size_t put_sparse_areas(const struct vfio_user_region *region, void *buf)
{
	struct vfio_region_info_cap_sparse_mmap *cap = buf;
	unsigned i;

	cap->header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
	cap->header.version = 1;
	cap->nr_areas = region->area_count;
	for (i = 0; i < region->area_count; i++) {
		cap->areas[i].offset = region->areas[i].offset;
		cap->areas[i].size = region->areas[i].size;
	}
	return sizeof(*cap) + region->area_count * sizeof(cap->areas[0]);
}

/*
 * The capability and the descriptor are sent only to who has room for the capability: QEMU asks
 * once with the bare structure, then again with the argsz it was told. It wants to know already then
 * where the capability would be.
 */
int vfio_user_handle_get_region_info(struct vfio_user_server *server,
				     struct vfio_user_message *message,
				     struct vfio_user_reply *reply)
{
	const struct vfio_region_info *request = message->payload;
	const struct vfio_user_region *region = &server->info.regions[request->index];
	struct vfio_region_info *info = server->scratch;
	bool mappable = region->size && region->fd >= 0 && server->client_max_fds > 0;
	size_t size = sizeof(*info);
	uint32_t room = request->argsz;

	memset(info, 0,
	       sizeof(*info) + sizeof(struct vfio_region_info_cap_sparse_mmap) +
		       ARRAY_SIZE(region->areas) * sizeof(struct vfio_region_sparse_mmap_area));
	info->index = request->index;
	info->size = region->size;
	info->offset = (uint64_t)request->index << REGION_SHIFT;
	info->flags = region->flags & (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE);
	if (mappable)
		info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
	if (mappable && region->area_count) {
		info->flags |= VFIO_REGION_INFO_FLAG_CAPS;
		size += put_sparse_areas(region, info + 1);
		info->cap_offset = sizeof(*info);
	}
	info->argsz = size;
	reply->data = info;
	reply->size = room >= size ? size : sizeof(*info);
	if (mappable && room >= size)
		reply->fd = region->fd;
	return 0;
}

/* No ioeventfds and ioregionfds: every trapped access comes as a message. */
int vfio_user_handle_get_region_io_fds(struct vfio_user_server *server,
				       struct vfio_user_message *message,
				       struct vfio_user_reply *reply)
{
	struct vfio_user_region_io_fds *request = message->payload;

	request->argsz = sizeof(*request);
	reply->data = request;
	reply->size = sizeof(*request);
	return 0;
}

int vfio_user_handle_get_irq_info(struct vfio_user_server *server,
				  struct vfio_user_message *message, struct vfio_user_reply *reply)
{
	struct vfio_irq_info *info = message->payload;

	info->argsz = sizeof(*info);
	info->count = server->info.irq_counts[info->index];
	info->flags = VFIO_IRQ_INFO_EVENTFD;
	/* As a kernel driver's INTx: masked by being raised, until the client unmasks it. */
	if (info->index == VFIO_PCI_INTX_IRQ_INDEX)
		info->flags |= VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
	reply->data = info;
	reply->size = sizeof(*info);
	return 0;
}

/* There is none: neither migration nor dirty page tracking is done by the device. */
int vfio_user_handle_feature(struct vfio_user_server *server, struct vfio_user_message *message,
			     struct vfio_user_reply *reply)
{
	return -ENOTTY;
}
