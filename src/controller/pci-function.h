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

#endif
