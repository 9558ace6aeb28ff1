// SPDX-License-Identifier: LGPL-2.1-or-later
#include "bench/driver.h"

#include <errno.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>

#include "bench/clock.h"

#define ADMIN_ENTRIES	    16
#define OACS_DOORBELLS	    (1u << 8)
#define ADMIN_DOORBELLS	    0x7c
#define DOORBELLS	    0x1000
#define TIMEOUT_NS	    10000000000ULL

#define PCI_COMMAND	    4
#define PCI_COMMAND_ENABLED 6 /* memory space, bus master */
#define PCI_CAPABILITIES    0x34
#define PCI_CAP_ID_MSIX	    0x11
#define PCI_MSIX_ENABLE	    0x8000

void *driver_alloc(struct driver *driver, uint64_t bytes, struct error **errp)
{
	void *memory = (char *)driver->client.memory + driver->free;

	bytes = ROUND_UP(bytes, NVME_PAGE_SIZE);
	if (bytes > driver->client.size - driver->free) {
		error_set(errp, ENOMEM, "guest memory is too small");
		return NULL;
	}
	driver->free += bytes;
	return memory;
}

uint64_t driver_address(const struct driver *driver, const void *memory)
{
	return driver->client.base + ((const char *)memory - (const char *)driver->client.memory);
}

void driver_set_buffer(const struct driver *driver, struct nvme_command *command,
		       const void *buffer, size_t bytes, uint64_t *list)
{
	uint64_t address = driver_address(driver, buffer);
	size_t pages = DIV_ROUND_UP(bytes, NVME_PAGE_SIZE), i;

	command->prp1 = address;
	command->prp2 = 0;
	if (pages == 2)
		command->prp2 = address + NVME_PAGE_SIZE;
	if (pages <= 2)
		return;
	for (i = 1; i < pages; i++)
		list[i - 1] = address + i * NVME_PAGE_SIZE;
	command->prp2 = driver_address(driver, list);
}

void driver_ring_registers(struct driver *driver, struct driver_queue *queue, bool tail, bool head)
{
	if (tail)
		client_doorbell(&driver->client, DOORBELLS + queue->id * 8, queue->tail);
	if (head)
		client_doorbell(&driver->client, DOORBELLS + queue->id * 8 + 4, queue->head);
}

static int queue_init(struct driver *driver, struct driver_queue *queue, unsigned id,
		      unsigned entries, struct error **errp)
{
	*queue = (struct driver_queue){ .id = id, .entries = entries, .phase = 1 };
	queue->sq = driver_alloc(driver, entries * sizeof(*queue->sq), errp);
	queue->cq = driver_alloc(driver, entries * sizeof(*queue->cq), errp);
	if (!queue->sq || !queue->cq)
		return -ENOMEM;
	if (driver->client.doorbells) {
		queue->shadow = driver->client.doorbells + id * 2;
	} else if (driver->shadow && id) {
		queue->shadow = driver->shadow + id * 2;
		queue->event = driver->event + id * 2;
	}
	return 0;
}

/* Its result; registers until it is there, so the controller must not be expected to be quick. */
static int admin(struct driver *driver, struct nvme_command *command, uint32_t *result,
		 struct error **errp)
{
	struct driver_queue *queue = &driver->admin;
	unsigned at = queue->head;
	uint64_t since = clock_ns();
	uint32_t last;

	driver_put(queue, command);
	driver_ring(driver, queue);
	while ((last = driver_take(queue)) == UINT32_MAX)
		if (clock_ns() - since > TIMEOUT_NS)
			return error_set(errp, ETIMEDOUT, "admin command 0x%02x: no completion",
					 command->opcode);
	driver_ring(driver, queue);
	if (last >> 17)
		return error_set(errp, EIO, "admin command 0x%02x: status 0x%x", command->opcode,
				 last >> 17);
	if (result)
		*result = queue->cq[at].result;
	return 0;
}

static int enable_msix(struct driver *driver, struct error **errp)
{
	uint64_t offset, id, control;
	int ret = client_read(&driver->client, VFIO_PCI_CONFIG_REGION_INDEX, PCI_CAPABILITIES, 1,
			      &offset, errp);

	while (ret == 0 && offset) {
		ret = client_read(&driver->client, VFIO_PCI_CONFIG_REGION_INDEX, offset, 2, &id,
				  errp);
		if (ret == 0 && (id & 0xff) == PCI_CAP_ID_MSIX)
			break;
		offset = id >> 8;
	}
	if (ret < 0)
		return ret;
	if (!offset)
		return error_set(errp, ENOTSUP, "the device has no MSI-X");
	ret = client_read(&driver->client, VFIO_PCI_CONFIG_REGION_INDEX, offset + 2, 2, &control,
			  errp);
	if (ret == 0)
		ret = client_set_vectors(&driver->client, driver->interrupt,
					 driver->queue_count + 1, errp);
	if (ret == 0)
		ret = client_write(&driver->client, VFIO_PCI_CONFIG_REGION_INDEX, offset + 2, 2,
				   control | PCI_MSIX_ENABLE, errp);
	return ret;
}

static int write_register(struct driver *driver, uint64_t offset, unsigned count, uint64_t value,
			  struct error **errp)
{
	return client_write(&driver->client, VFIO_PCI_BAR0_REGION_INDEX, offset, count, value,
			    errp);
}

static int enable(struct driver *driver, struct error **errp)
{
	const uint32_t cc = NVME_CC_EN | NVME_SQE_SHIFT << 16 | NVME_CQE_SHIFT << 20;
	uint64_t since = clock_ns(), csts = 0;
	int ret = queue_init(driver, &driver->admin, 0, ADMIN_ENTRIES, errp);

	if (ret == 0)
		ret = client_write(&driver->client, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, 2,
				   PCI_COMMAND_ENABLED, errp);
	if (ret == 0)
		ret = write_register(driver, NVME_REG_AQA, 4,
				     (ADMIN_ENTRIES - 1) << 16 | (ADMIN_ENTRIES - 1), errp);
	if (ret == 0)
		ret = write_register(driver, NVME_REG_ASQ, 8,
				     driver_address(driver, driver->admin.sq), errp);
	if (ret == 0)
		ret = write_register(driver, NVME_REG_ACQ, 8,
				     driver_address(driver, (const void *)driver->admin.cq), errp);
	if (ret == 0)
		ret = write_register(driver, NVME_REG_CC, 4, cc, errp);
	while (ret == 0 && !(csts & NVME_CSTS_RDY)) {
		ret = client_read(&driver->client, VFIO_PCI_BAR0_REGION_INDEX, NVME_REG_CSTS, 4,
				  &csts, errp);
		if (clock_ns() - since > TIMEOUT_NS)
			return error_set(errp, ETIMEDOUT, "the controller does not become ready");
	}
	return ret;
}

static int identify(struct driver *driver, uint32_t nsid, enum driver_doorbells doorbells,
		    struct error **errp)
{
	void *page = driver_alloc(driver, NVME_PAGE_SIZE, errp);
	struct nvme_command command = { .opcode = NVME_ADMIN_IDENTIFY };
	const struct nvme_identify_controller *ctrl = page;
	const struct nvme_identify_namespace *ns = page;
	int ret;

	if (!page)
		return -ENOMEM;
	command.prp1 = driver_address(driver, page);
	command.cdw10 = NVME_CNS_CONTROLLER;
	ret = admin(driver, &command, NULL, errp);
	if (ret < 0)
		return ret;
	driver->max_transfer = ctrl->mdts ? NVME_PAGE_SIZE << ctrl->mdts : 2 * MiB;
	if (doorbells < DRIVER_DOORBELLS_TRAPPED && (ctrl->oacs & OACS_DOORBELLS)) {
		driver->shadow = driver_alloc(driver, NVME_PAGE_SIZE, errp);
		driver->event = driver_alloc(driver, NVME_PAGE_SIZE, errp);
		if (!driver->shadow || !driver->event)
			return -ENOMEM;
		command = (struct nvme_command){
			.opcode = ADMIN_DOORBELLS,
			.prp1 = driver_address(driver, driver->shadow),
			.prp2 = driver_address(driver, driver->event),
		};
		ret = admin(driver, &command, NULL, errp);
		if (ret < 0)
			return ret;
	} else if (doorbells == DRIVER_DOORBELLS_SHADOW) {
		return error_set(errp, ENOTSUP, "the controller has no shadow doorbells");
	}
	command = (struct nvme_command){
		.opcode = NVME_ADMIN_IDENTIFY,
		.nsid = nsid,
		.prp1 = driver_address(driver, page),
		.cdw10 = NVME_CNS_NAMESPACE,
	};
	ret = admin(driver, &command, NULL, errp);
	if (ret < 0)
		return ret;
	driver->blocks = ns->nsze;
	driver->block_shift = ns->lbaf[ns->flbas & 15].data_shift;
	if (!driver->blocks)
		return error_set(errp, ENOENT, "there is no namespace %u", nsid);
	return 0;
}

static int create_queue(struct driver *driver, unsigned id, unsigned entries, struct error **errp)
{
	struct driver_queue *queue = &driver->queues[id - 1];
	struct nvme_command command = { .opcode = NVME_ADMIN_CREATE_CQ };
	int ret = queue_init(driver, queue, id, entries, errp);

	if (ret < 0)
		return ret;
	command.prp1 = driver_address(driver, (const void *)queue->cq);
	command.cdw10 = (entries - 1) << 16 | id;
	command.cdw11 = id << 16 | NVME_QUEUE_CONTIGUOUS;
	if (driver->interrupts)
		command.cdw11 |= NVME_CQ_INTERRUPTS;
	ret = admin(driver, &command, NULL, errp);
	if (ret < 0)
		return ret;
	command.opcode = NVME_ADMIN_CREATE_SQ;
	command.prp1 = driver_address(driver, queue->sq);
	command.cdw11 = id << 16 | NVME_QUEUE_CONTIGUOUS;
	return admin(driver, &command, NULL, errp);
}

static int create_queues(struct driver *driver, unsigned entries, struct error **errp)
{
	struct nvme_command command = { .opcode = NVME_ADMIN_SET_FEATURE,
					.cdw10 = NVME_FEATURE_QUEUES };
	uint32_t result = 0;
	unsigned id;
	int ret;

	command.cdw11 = (driver->queue_count - 1) << 16 | (driver->queue_count - 1);
	ret = admin(driver, &command, &result, errp);
	if (ret == 0 && (result & 0xffff) + 1 < driver->queue_count)
		return error_set(errp, EINVAL, "the controller has %u queues",
				 (result & 0xffff) + 1);
	for (id = 1; ret == 0 && id <= driver->queue_count; id++)
		ret = create_queue(driver, id, entries, errp);
	return ret;
}

int driver_open(struct driver *driver, const struct driver_options *options, struct error **errp)
{
	uint64_t queues =
		(uint64_t)(options->queues + 1) * (ROUND_UP(options->entries * 64, NVME_PAGE_SIZE) +
						   ROUND_UP(options->entries * 16, NVME_PAGE_SIZE));
	int ret;

	*driver = (struct driver){ .interrupt = -1,
				   .queue_count = options->queues,
				   .interrupts = options->interrupts };
	ret = client_open(&driver->client, options->socket,
			  options->memory + queues + 16 * NVME_PAGE_SIZE, options->hugepages, errp);
	if (ret < 0)
		return ret;
	driver->interrupt = eventfd(0, EFD_CLOEXEC);
	if (driver->interrupt < 0)
		ret = error_set_errno(errp, errno, "cannot make an eventfd");
	if (ret == 0 && options->doorbells == DRIVER_DOORBELLS_MAPPED)
		ret = client_map_doorbells(&driver->client, errp);
	if (ret == 0)
		ret = enable_msix(driver, errp);
	if (ret == 0)
		ret = enable(driver, errp);
	if (ret == 0)
		ret = identify(driver, options->nsid, options->doorbells, errp);
	if (ret == 0)
		ret = create_queues(driver, options->entries, errp);
	if (ret < 0)
		driver_close(driver);
	return ret;
}

void driver_close(struct driver *driver)
{
	client_close(&driver->client);
	if (driver->interrupt >= 0)
		close(driver->interrupt);
	driver->interrupt = -1;
}
