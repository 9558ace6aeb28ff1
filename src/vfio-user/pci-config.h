/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VFIO_USER_PCI_CONFIG_H
#define VFIO_USER_PCI_CONFIG_H

#include "base/util.h"

/*
 * The PCI configuration space of one function: type 0 header, Power Management, PCI Express
 * (endpoint, FLR) and MSI-X capabilities, each bit read-only or writable by a mask. What has an
 * effect is reported through callbacks.
 */
struct pci_config_ops {
	void (*bus_master)(void *opaque, bool on);
	void (*msix)(void *opaque, bool enabled);
	void (*function_level_reset)(
		void *opaque); /* also the D3hot to D0 transition without No_Soft_Reset */
};

struct pci_config_id {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint8_t revision;
	uint32_t class_code; /* 24 bits: 0x010802 for NVMe */
};

struct pci_config_layout {
	struct pci_config_id id;
	uint64_t bar0_size; /* 64-bit, memory, non-prefetchable */
	unsigned msix_vectors;
	unsigned msix_table_bar, msix_pba_bar; /* 0 or 4: inside BAR0 or in a BAR of their own */
	uint32_t msix_table_offset, msix_pba_offset;
};

/* Plain data, so that it can live in the state memfd. */
struct pci_config {
	uint8_t bytes[4096];
	uint8_t writable[4096]; /* mask of bits that a write changes */
};

/**
 * pci_config_bar4_size() - size of the BAR that holds the MSI-X table and PBA when they are not in
 * BAR0; 0 when they are
 */
uint64_t pci_config_bar4_size(const struct pci_config_layout *layout);

/** pci_config_init() - as after a conventional reset */
void pci_config_init(struct pci_config *config, const struct pci_config_layout *layout);
/** pci_config_reset() - what a function level or conventional reset clears; BARs and command
 * included */
void pci_config_reset(struct pci_config *config);
/** pci_config_read() - what is beyond the end reads as zeroes */
void pci_config_read(const struct pci_config *config, uint64_t offset, void *buf, size_t len);
/** pci_config_bus_master(), pci_config_msix() - what ops were told last */
bool pci_config_bus_master(const struct pci_config *config);
bool pci_config_msix(const struct pci_config *config);
/**
 * pci_config_write() - store what is writable, then report what it did
 *
 * It resets nothing by itself: function_level_reset() is where the owner resets the device, and
 * this with pci_config_reset().
 */
void pci_config_write(struct pci_config *config, uint64_t offset, const void *buf, size_t len,
		      const struct pci_config_ops *ops, void *opaque);

#endif
