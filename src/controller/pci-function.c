// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/pci-function.h"

#include <linux/vfio.h>
#include <string.h>

#include "controller/state-file.h"

static void set_bus_master(void *opaque, bool on)
{
	struct pci_function *function = opaque;

	nvme_controller_set_bus_master(function->ctrl, on);
}

static void set_msix(void *opaque, bool enabled)
{
	struct pci_function *function = opaque;

	nvme_controller_set_msix(function->ctrl, enabled);
}

static void reset(void *opaque)
{
	struct pci_function *function = opaque;

	function->function_level_reset(function);
}

static const struct pci_config_ops config_ops = {
	.bus_master = set_bus_master,
	.msix = set_msix,
	.function_level_reset = reset,
};

/* The part of the MSI-X table that an access is about; NULL: none. QEMU keeps the real table; ours
 * is only memory. */
static uint8_t *msix_memory(const struct pci_function *function, uint64_t offset, size_t len)
{
	uint8_t *table = function->state->msix_table;
	size_t size = sizeof(function->state->msix_table);

	if (offset < PCI_FUNCTION_MSIX_TABLE || offset - PCI_FUNCTION_MSIX_TABLE > size ||
	    len > size - (offset - PCI_FUNCTION_MSIX_TABLE))
		return NULL;
	return table + (offset - PCI_FUNCTION_MSIX_TABLE);
}

void pci_function_read(const struct pci_function *function, unsigned region, uint64_t offset,
		       void *buf, size_t len)
{
	const uint8_t *msix;

	if (region == VFIO_PCI_CONFIG_REGION_INDEX) {
		pci_config_read(&function->state->pci, offset, buf, len);
		return;
	}
	if (offset < PCI_FUNCTION_MSIX_TABLE) {
		nvme_controller_read(function->ctrl, offset, buf, len);
		return;
	}
	msix = msix_memory(function, offset, len);
	if (msix)
		memcpy(buf, msix, len);
	else
		memset(buf, 0, len);
}

void pci_function_write(struct pci_function *function, unsigned region, uint64_t offset,
			const void *buf, size_t len)
{
	uint8_t *msix;

	if (region == VFIO_PCI_CONFIG_REGION_INDEX) {
		pci_config_write(&function->state->pci, offset, buf, len, &config_ops, function);
		return;
	}
	if (offset < PCI_FUNCTION_MSIX_TABLE) {
		nvme_controller_write(function->ctrl, offset, buf, len);
		return;
	}
	msix = msix_memory(function, offset, len);
	if (msix)
		memcpy(msix, buf, len);
}

void pci_function_reset(struct pci_function *function, void (*done)(void *opaque), void *opaque)
{
	nvme_controller_reset(function->ctrl, done, opaque);
	pci_config_reset(&function->state->pci);
	memset(function->state->msix_table, 0, sizeof(function->state->msix_table));
	nvme_controller_set_bus_master(function->ctrl, false);
	nvme_controller_set_msix(function->ctrl, false);
}

void pci_function_adopt(const struct pci_function *function)
{
	nvme_controller_set_bus_master(function->ctrl,
				       pci_config_bus_master(&function->state->pci));
	nvme_controller_set_msix(function->ctrl, pci_config_msix(&function->state->pci));
}
