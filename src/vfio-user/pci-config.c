// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vfio-user/pci-config.h"

#include <linux/pci_regs.h>

/*
 * Theory of operation
 *
 * QEMU's client reads all of this once, when the device is plugged in, and from then on emulates
 * BARs, the interrupt line and most of the MSI-X control towards the guest; it forwards every write
 * of the guest all the same, before it looks at it itself. So what is here follows the guest, but
 * the guest does not always read it.
 *
 * Where things are: PM at 40h, MSI-X at 50h, PCI Express at 60h. No extended capabilities.
 */
#define PM_CAP	 0x40
#define MSIX_CAP 0x50
#define EXP_CAP	 0x60

/* Values after a reset, of registers that a guest may change. PCIe 5.0, 7.5.3.4. */
#define EXP_DEVCTL_DEFAULT                                                                         \
	(PCI_EXP_DEVCTL_RELAX_EN | PCI_EXP_DEVCTL_NOSNOOP_EN | PCI_EXP_DEVCTL_READRQ_512B)
#define EXP_LNKCTL2_DEFAULT PCI_EXP_LNKCTL2_TLS_8_0GT
#define EXP_LINK	    (PCI_EXP_LNKSTA_CLS_8_0GB | PCI_EXP_LNKSTA_NLW_X4)

static void put16(uint8_t *p, uint16_t value)
{
	p[0] = value;
	p[1] = value >> 8;
}

static void put32(uint8_t *p, uint32_t value)
{
	put16(p, value);
	put16(p + 2, value >> 16);
}

static uint16_t get16(const uint8_t *p)
{
	return p[0] | p[1] << 8;
}

/* Type 0 header, PCI Local Bus 3.0, 6.1. */
static void init_header(struct pci_config *config, const struct pci_config_id *id)
{
	uint8_t *bytes = config->bytes;

	put16(bytes + PCI_VENDOR_ID, id->vendor);
	put16(bytes + PCI_DEVICE_ID, id->device);
	put16(bytes + PCI_STATUS, PCI_STATUS_CAP_LIST);
	put32(bytes + PCI_CLASS_REVISION, id->class_code << 8 | id->revision);
	put16(bytes + PCI_SUBSYSTEM_VENDOR_ID, id->subsystem_vendor);
	put16(bytes + PCI_SUBSYSTEM_ID, id->subsystem);
	bytes[PCI_CAPABILITY_LIST] = PM_CAP;
	bytes[PCI_INTERRUPT_PIN] = 1;

	put16(config->writable + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
						      PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
						      PCI_COMMAND_INTX_DISABLE);
	config->writable[PCI_CACHE_LINE_SIZE] = 0xff;
	config->writable[PCI_INTERRUPT_LINE] = 0xff;
}

static void init_bar64(struct pci_config *config, unsigned bar, uint64_t size)
{
	unsigned offset = PCI_BASE_ADDRESS_0 + bar * 4;

	if (!size)
		return;
	config->bytes[offset] = PCI_BASE_ADDRESS_MEM_TYPE_64;
	put32(config->writable + offset, ~(size - 1));
	put32(config->writable + offset + 4, ~(size - 1) >> 32);
}

/* PCI Power Management 1.2, 3.2: D0 and D3hot, without No_Soft_Reset. */
static void init_pm(struct pci_config *config, uint8_t next)
{
	uint8_t *cap = config->bytes + PM_CAP;

	cap[PCI_CAP_LIST_ID] = PCI_CAP_ID_PM;
	cap[PCI_CAP_LIST_NEXT] = next;
	put16(cap + PCI_PM_PMC, 3);
	put16(config->writable + PM_CAP + PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK);
}

static void init_msix(struct pci_config *config, const struct pci_config_layout *layout,
		      uint8_t next)
{
	uint8_t *cap = config->bytes + MSIX_CAP;

	cap[PCI_CAP_LIST_ID] = PCI_CAP_ID_MSIX;
	cap[PCI_CAP_LIST_NEXT] = next;
	put16(cap + PCI_MSIX_FLAGS, layout->msix_vectors - 1);
	put32(cap + PCI_MSIX_TABLE, layout->msix_table_offset | layout->msix_table_bar);
	put32(cap + PCI_MSIX_PBA, layout->msix_pba_offset | layout->msix_pba_bar);
	put16(config->writable + MSIX_CAP + PCI_MSIX_FLAGS,
	      PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
}

/* PCIe 5.0, 7.5.3: an endpoint, capability version 2. */
static void init_express(struct pci_config *config)
{
	uint8_t *cap = config->bytes + EXP_CAP, *writable = config->writable + EXP_CAP;

	cap[PCI_CAP_LIST_ID] = PCI_CAP_ID_EXP;
	put16(cap + PCI_EXP_FLAGS, 2 | PCI_EXP_TYPE_ENDPOINT << 4);
	put32(cap + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_RBER | PCI_EXP_DEVCAP_FLR);
	put16(writable + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_NFERE |
						 PCI_EXP_DEVCTL_FERE | PCI_EXP_DEVCTL_URRE |
						 PCI_EXP_DEVCTL_RELAX_EN | PCI_EXP_DEVCTL_PAYLOAD |
						 PCI_EXP_DEVCTL_NOSNOOP_EN | PCI_EXP_DEVCTL_READRQ);
	put32(cap + PCI_EXP_LNKCAP, EXP_LINK);
	put16(writable + PCI_EXP_LNKCTL, PCI_EXP_LNKCTL_RCB | PCI_EXP_LNKCTL_CCC);
	put16(cap + PCI_EXP_LNKSTA, EXP_LINK);
	put32(cap + PCI_EXP_DEVCAP2, PCI_EXP_DEVCAP2_COMP_TMOUT_DIS);
	put16(writable + PCI_EXP_DEVCTL2, PCI_EXP_DEVCTL2_COMP_TMOUT_DIS);
	put32(cap + PCI_EXP_LNKCAP2,
	      PCI_EXP_LNKCAP2_SLS_2_5GB | PCI_EXP_LNKCAP2_SLS_5_0GB | PCI_EXP_LNKCAP2_SLS_8_0GB);
	put16(writable + PCI_EXP_LNKCTL2, PCI_EXP_LNKCTL2_TLS);
}

uint64_t pci_config_bar4_size(const struct pci_config_layout *layout)
{
	uint64_t table_end = layout->msix_table_offset + 16ULL * layout->msix_vectors;
	uint64_t pba_end = layout->msix_pba_offset + ROUND_UP(layout->msix_vectors, 64) / 8ULL;
	uint64_t size = 4096, end = 0;

	if (layout->msix_table_bar == 4)
		end = table_end;
	if (layout->msix_pba_bar == 4)
		end = MAX(end, pba_end);
	if (!end)
		return 0;
	while (size < end)
		size *= 2;
	return size;
}

void pci_config_init(struct pci_config *config, const struct pci_config_layout *layout)
{
	memset(config, 0, sizeof(*config));
	init_header(config, &layout->id);
	init_bar64(config, 0, layout->bar0_size);
	init_bar64(config, 4, pci_config_bar4_size(layout));
	init_pm(config, layout->msix_vectors ? MSIX_CAP : EXP_CAP);
	if (layout->msix_vectors)
		init_msix(config, layout, EXP_CAP);
	init_express(config);
	pci_config_reset(config);
}

void pci_config_reset(struct pci_config *config)
{
	size_t i;

	for (i = 0; i < sizeof(config->bytes); i++)
		config->bytes[i] &= ~config->writable[i];
	put16(config->bytes + EXP_CAP + PCI_EXP_DEVCTL, EXP_DEVCTL_DEFAULT);
	put16(config->bytes + EXP_CAP + PCI_EXP_LNKCTL2, EXP_LNKCTL2_DEFAULT);
}

void pci_config_read(const struct pci_config *config, uint64_t offset, void *buf, size_t len)
{
	size_t there = 0;

	if (offset < sizeof(config->bytes))
		there = MIN(len, sizeof(config->bytes) - (size_t)offset);
	memcpy(buf, config->bytes + (there ? offset : 0), there);
	memset((uint8_t *)buf + there, 0, len - there);
}

static unsigned power_state(const struct pci_config *config)
{
	return config->bytes[PM_CAP + PCI_PM_CTRL] & PCI_PM_CTRL_STATE_MASK;
}

/* Is the bit that starts a function level reset (it reads as zero) set by this write? */
static bool writes_flr(uint64_t offset, const uint8_t *data, size_t len)
{
	unsigned high = EXP_CAP + PCI_EXP_DEVCTL + 1;

	return offset <= high && high - offset < len &&
	       data[high - offset] & (PCI_EXP_DEVCTL_BCR_FLR >> 8);
}

bool pci_config_bus_master(const struct pci_config *config)
{
	return get16(config->bytes + PCI_COMMAND) & PCI_COMMAND_MASTER;
}

bool pci_config_msix(const struct pci_config *config)
{
	return get16(config->bytes + MSIX_CAP + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_ENABLE;
}

static void report(const struct pci_config *old, const struct pci_config *config, bool flr,
		   const struct pci_config_ops *ops, void *opaque)
{
	bool is = pci_config_bus_master(config);

	if (is != pci_config_bus_master(old))
		ops->bus_master(opaque, is);
	is = pci_config_msix(config);
	if (is != pci_config_msix(old))
		ops->msix(opaque, is);
	if (flr || (power_state(old) == 3 && power_state(config) == 0))
		ops->function_level_reset(opaque);
}

void pci_config_write(struct pci_config *config, uint64_t offset, const void *buf, size_t len,
		      const struct pci_config_ops *ops, void *opaque)
{
	struct pci_config old = *config;
	const uint8_t *data = buf;
	size_t i;

	for (i = 0; i < len && offset + i < sizeof(config->bytes); i++) {
		uint8_t *byte = &config->bytes[offset + i], mask = config->writable[offset + i];

		*byte = (*byte & ~mask) | (data[i] & mask);
	}
	/* A state that the device does not have is not entered. */
	if (power_state(config) == 1 || power_state(config) == 2)
		config->bytes[PM_CAP + PCI_PM_CTRL] = old.bytes[PM_CAP + PCI_PM_CTRL];
	report(&old, config, writes_flr(offset, data, len), ops, opaque);
}
