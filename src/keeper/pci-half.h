/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_PCI_HALF_H
#define KEEPER_PCI_HALF_H

#include "base/json.h"

/*
 * QEMU's half of a controller: that it is a PCI function which the guest has given addresses, and
 * the MSI-X table that QEMU plays itself. QEMU does not save it for a vfio-user device, so we do.
 * The configuration space is our controller's, which is told of every write; the table is read
 * from QEMU's memory map. Pure functions.
 */
#define PCI_CONFIG_SIZE 256u
#define PCI_MAX_VECTORS 128u
#define PCI_VECTOR_SIZE 16u

struct pci_half {
	bool reachable; /* by bus, slot and function: nothing was done with it before it is */
	unsigned bus, slot, function;
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t msix;	  /* offset of the capability; 0: none */
	unsigned vectors; /* that it announces */
	uint8_t table[PCI_MAX_VECTORS * PCI_VECTOR_SIZE];
	bool has_table;
};

uint16_t pci_half_get16(const struct pci_half *half, unsigned offset);
uint32_t pci_half_get32(const struct pci_half *half, unsigned offset);

/** pci_half_set_config() - @hex: of PCI_CONFIG_SIZE bytes; 0 or -EINVAL with a sentence */
int pci_half_set_config(struct pci_half *half, const char *hex, struct error **errp);

/** pci_half_uses_msix() - has the guest switched it on, so that the table matters? */
bool pci_half_uses_msix(const struct pci_half *half);

/** pci_half_asserts_intx() - is the function's interrupt line raised? */
bool pci_half_asserts_intx(const struct pci_half *half);

/** pci_half_table_address() - where the guest finds the table; 0: nowhere just now */
uint64_t pci_half_table_address(const struct pci_half *half);

/** pci_half_set_table() - @dump: what HMP's xp prints of it in 32-bit words; 0 or -EINVAL with a
 * sentence */
int pci_half_set_table(struct pci_half *half, const char *dump, struct error **errp);

/** pci_half_vector_is_used() - has it another value than after a reset? */
bool pci_half_vector_is_used(const struct pci_half *half, unsigned vector);

/** pci_half_to_json() - the caller's reference */
struct json_object *pci_half_to_json(const struct pci_half *half);
int pci_half_from_json(struct json_object *json, struct pci_half *half, struct error **errp);

#endif
