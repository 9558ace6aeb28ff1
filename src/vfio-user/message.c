// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vfio-user/message.h"

#include <errno.h>

#include "base/util.h"

#define KNOWN_FLAGS (VFIO_USER_FLAG_TYPE_MASK | VFIO_USER_FLAG_NO_REPLY | VFIO_USER_FLAG_ERROR)

/* Does [@offset, @offset + @count) lie inside @size bytes? */
static bool inside(uint64_t offset, uint64_t count, uint64_t size)
{
	return count <= size && offset <= size - count;
}

static int judge_version(const struct vfio_user_message *message)
{
	const struct vfio_user_version *version = message->payload;

	if (message->payload_size < sizeof(*version))
		return -EINVAL;
	/* The JSON text must end where the message does. */
	if (message->payload_size > sizeof(*version) &&
	    version->data[message->payload_size - sizeof(*version) - 1] != '\0')
		return -EINVAL;
	return version->major == 0 ? 0 : -ENOTSUP;
}

static int judge_dma_map(const struct vfio_user_message *message)
{
	const struct vfio_user_dma_map *map = message->payload;

	if (message->payload_size < sizeof(*map) || map->argsz < sizeof(*map))
		return -EINVAL;
	if (map->flags & ~(VFIO_USER_DMA_READABLE | VFIO_USER_DMA_WRITEABLE))
		return -EINVAL;
	if (message->fd_count > 1)
		return -EINVAL;
	if (map->size == 0 || map->addr + map->size - 1 < map->addr)
		return -EINVAL;
	/* The end must be a file offset that exists. */
	if (!inside(map->offset, map->size, INT64_MAX))
		return -EINVAL;
	return 0;
}

static int judge_dma_unmap(const struct vfio_user_message *message)
{
	const struct vfio_user_dma_unmap *unmap = message->payload;

	if (message->payload_size < sizeof(*unmap) || unmap->argsz < sizeof(*unmap) ||
	    unmap->argsz > VFIO_USER_MAX_DATA)
		return -EINVAL;
	switch (unmap->flags) {
	case 0:
		/* An empty or wrapping range is one that was never mapped. */
		return 0;
	case VFIO_USER_UNMAP_ALL:
		return unmap->addr || unmap->size ? -EINVAL : 0;
	default:
		/* VFIO_USER_UNMAP_DIRTY_BITMAP among them: nobody tracks dirty pages here. */
		return -EINVAL;
	}
}

static int judge_get_info(const struct vfio_user_message *message)
{
	const struct vfio_user_device_info_reply *info = message->payload;

	if (message->payload_size < sizeof(*info) || info->argsz < sizeof(*info))
		return -EINVAL;
	return 0;
}

static int judge_get_region_info(const struct vfio_user_message *message)
{
	const struct vfio_region_info *info = message->payload;

	if (message->payload_size < sizeof(*info) || info->argsz < sizeof(*info))
		return -EINVAL;
	return info->index < VFIO_PCI_NUM_REGIONS ? 0 : -EINVAL;
}

static int judge_get_region_io_fds(const struct vfio_user_message *message)
{
	const struct vfio_user_region_io_fds *request = message->payload;

	if (message->payload_size < sizeof(*request) || request->argsz < sizeof(*request) ||
	    request->argsz > VFIO_USER_MAX_DATA || request->flags || request->count)
		return -EINVAL;
	return request->index < VFIO_PCI_NUM_REGIONS ? 0 : -EINVAL;
}

static int judge_get_irq_info(const struct vfio_user_message *message)
{
	const struct vfio_irq_info *info = message->payload;

	if (message->payload_size < sizeof(*info) || info->argsz < sizeof(*info))
		return -EINVAL;
	return info->index < VFIO_PCI_NUM_IRQS ? 0 : -EINVAL;
}

/* What follows the action: nothing, a byte a vector, or a descriptor a vector (none: take away). */
static int judge_irq_data(const struct vfio_user_message *message, const struct vfio_irq_set *set)
{
	size_t data_size = message->payload_size - sizeof(*set);

	switch (set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK) {
	case VFIO_IRQ_SET_DATA_NONE:
		return message->fd_count ? -EINVAL : 0;
	case VFIO_IRQ_SET_DATA_BOOL:
		if (message->fd_count || data_size < set->count ||
		    set->argsz - sizeof(*set) < set->count)
			return -EINVAL;
		return 0;
	case VFIO_IRQ_SET_DATA_EVENTFD:
		return !message->fd_count || message->fd_count == set->count ? 0 : -EINVAL;
	default:
		return -EINVAL;
	}
}

static int judge_set_irqs(const struct vfio_user_device_info *info,
			  const struct vfio_user_message *message)
{
	const struct vfio_irq_set *set = message->payload;
	uint32_t action, data;

	if (message->payload_size < sizeof(*set) || set->argsz < sizeof(*set) ||
	    set->argsz > VFIO_USER_MAX_DATA)
		return -EINVAL;
	if (set->flags & ~(VFIO_IRQ_SET_DATA_TYPE_MASK | VFIO_IRQ_SET_ACTION_TYPE_MASK))
		return -EINVAL;
	if (set->index >= VFIO_PCI_NUM_IRQS || set->start >= info->irq_counts[set->index] ||
	    !inside(set->start, set->count, info->irq_counts[set->index]))
		return -EINVAL;
	action = set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
	data = set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
	if (action != VFIO_IRQ_SET_ACTION_TRIGGER && action != VFIO_IRQ_SET_ACTION_MASK &&
	    action != VFIO_IRQ_SET_ACTION_UNMASK)
		return -EINVAL;
	if ((set->index == VFIO_PCI_ERR_IRQ_INDEX || set->index == VFIO_PCI_REQ_IRQ_INDEX) &&
	    action != VFIO_IRQ_SET_ACTION_TRIGGER)
		return -EINVAL;
	/* No vectors: the form that disables the index. */
	if (set->count == 0 &&
	    (action != VFIO_IRQ_SET_ACTION_TRIGGER || data != VFIO_IRQ_SET_DATA_NONE))
		return -EINVAL;
	return judge_irq_data(message, set);
}

static int judge_access(const struct vfio_user_device_info *info, uint32_t region, uint64_t offset,
			uint32_t count, uint32_t needed)
{
	if (region >= VFIO_PCI_NUM_REGIONS || count > VFIO_USER_MAX_ACCESS ||
	    !inside(offset, count, info->regions[region].size))
		return -EINVAL;
	return info->regions[region].flags & needed ? 0 : -EINVAL;
}

static int judge_region_read(const struct vfio_user_device_info *info,
			     const struct vfio_user_message *message)
{
	const struct vfio_user_region_access *access = message->payload;

	if (message->payload_size < sizeof(*access))
		return -EINVAL;
	return judge_access(info, access->region, access->offset, access->count,
			    VFIO_REGION_INFO_FLAG_READ);
}

static int judge_region_write(const struct vfio_user_device_info *info,
			      const struct vfio_user_message *message)
{
	const struct vfio_user_region_access *access = message->payload;

	if (message->payload_size < sizeof(*access) ||
	    message->payload_size - sizeof(*access) != access->count)
		return -EINVAL;
	return judge_access(info, access->region, access->offset, access->count,
			    VFIO_REGION_INFO_FLAG_WRITE);
}

/* All of it before the first is executed: a multi-write is refused whole. */
static int judge_write_multi(const struct vfio_user_device_info *info,
			     const struct vfio_user_message *message)
{
	const struct vfio_user_region_write_multi *multi = message->payload;
	uint64_t i;

	if (message->payload_size < sizeof(*multi) || multi->count > VFIO_USER_MULTI_MAX ||
	    message->payload_size != sizeof(*multi) + multi->count * sizeof(multi->writes[0]))
		return -EINVAL;
	for (i = 0; i < multi->count; i++) {
		const struct vfio_user_region_write_one *one = &multi->writes[i];
		int r;

		if (one->count > sizeof(one->data))
			return -EINVAL;
		r = judge_access(info, one->region, one->offset, one->count,
				 VFIO_REGION_INFO_FLAG_WRITE);
		if (r < 0)
			return r;
	}
	return 0;
}

static int judge_feature(const struct vfio_user_message *message)
{
	const struct vfio_device_feature *feature = message->payload;

	if (message->payload_size < sizeof(*feature) || feature->argsz < sizeof(*feature) ||
	    feature->argsz > VFIO_USER_MAX_DATA)
		return -EINVAL;
	return 0;
}

static int judge_payload(const struct vfio_user_device_info *info,
			 const struct vfio_user_message *message)
{
	switch (message->header.command) {
	case VFIO_USER_VERSION:
		return judge_version(message);
	case VFIO_USER_DMA_MAP:
		return judge_dma_map(message);
	case VFIO_USER_DMA_UNMAP:
		return judge_dma_unmap(message);
	case VFIO_USER_DEVICE_GET_INFO:
		return judge_get_info(message);
	case VFIO_USER_DEVICE_GET_REGION_INFO:
		return judge_get_region_info(message);
	case VFIO_USER_DEVICE_GET_REGION_IO_FDS:
		return judge_get_region_io_fds(message);
	case VFIO_USER_DEVICE_GET_IRQ_INFO:
		return judge_get_irq_info(message);
	case VFIO_USER_DEVICE_SET_IRQS:
		return judge_set_irqs(info, message);
	case VFIO_USER_REGION_READ:
		return judge_region_read(info, message);
	case VFIO_USER_REGION_WRITE:
		return judge_region_write(info, message);
	case VFIO_USER_REGION_WRITE_MULTI:
		return judge_write_multi(info, message);
	case VFIO_USER_DEVICE_RESET:
		return message->payload_size ? -EINVAL : 0;
	case VFIO_USER_DEVICE_FEATURE:
		return judge_feature(message);
	case VFIO_USER_MIG_DATA_READ:
	case VFIO_USER_MIG_DATA_WRITE:
		return -ENOTSUP;
	default:
		/* Among them what only a server may send. */
		return -EINVAL;
	}
}

int vfio_user_message_judge(const struct vfio_user_device_info *info, bool negotiated,
			    const struct vfio_user_message *message)
{
	uint16_t command = message->header.command;
	uint32_t flags = message->header.flags;

	if (negotiated == (command == VFIO_USER_VERSION))
		return -EINVAL;
	if ((flags & ~KNOWN_FLAGS) || (flags & VFIO_USER_FLAG_ERROR))
		return -EINVAL;
	if (message->fd_count && command != VFIO_USER_DMA_MAP &&
	    command != VFIO_USER_DEVICE_SET_IRQS)
		return -EINVAL;
	return judge_payload(info, message);
}
