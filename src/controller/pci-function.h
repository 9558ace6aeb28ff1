/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_PCI_FUNCTION_H
#define CONTROLLER_PCI_FUNCTION_H

#include "nvme/controller.h"
#include "vfio-user/pci-config.h"

/*
 * What the PCI function is, in every program that may answer for it: a client that is connected
 * does not ask again. BAR0 holds all: NVMe's registers and doorbells in its first two pages, the
 * MSI-X table and pending bits in pages of their own behind them.
 */
#define PCI_FUNCTION_MSIX_TABLE (8 * KiB)
#define PCI_FUNCTION_MSIX_PBA	(12 * KiB)

/** pci_function_layout() - of a controller with @vectors interrupt vectors */
static inline struct pci_config_layout pci_function_layout(unsigned vectors)
{
	return (struct pci_config_layout){
		.id = { .vendor = NVME_PCI_VENDOR,
			.device = NVME_PCI_DEVICE,
			.subsystem_vendor = NVME_PCI_SUBSYSTEM_VENDOR,
			.subsystem = NVME_PCI_SUBSYSTEM,
			.revision = 1,
			.class_code = 0x010802 },
		.bar0_size = NVME_BAR0_SIZE,
		.msix_vectors = vectors,
		.msix_table_bar = 0,
		.msix_table_offset = PCI_FUNCTION_MSIX_TABLE,
		.msix_pba_bar = 0,
		.msix_pba_offset = PCI_FUNCTION_MSIX_PBA,
	};
}

/*
 * The controller's own: what its client reads and writes.
 */
struct pci_function {
	struct state_file_function *state;
	struct nvme_controller *ctrl;
	/* A client asks for it in configuration space: pci_function_reset() at last. */
	void (*function_level_reset)(struct pci_function *function);
};

/** pci_function_read(), pci_function_write() - @region: configuration space or BAR0, within its
 * size */
void pci_function_read(const struct pci_function *function, unsigned region, uint64_t offset,
		       void *buf, size_t len);
void pci_function_write(struct pci_function *function, unsigned region, uint64_t offset,
			const void *buf, size_t len);

/** pci_function_reset() - with its controller; @done as nvme_controller_reset() has it */
void pci_function_reset(struct pci_function *function, void (*done)(void *opaque), void *opaque);

/** pci_function_adopt() - have the controller know what a predecessor was told */
void pci_function_adopt(const struct pci_function *function);

#endif
