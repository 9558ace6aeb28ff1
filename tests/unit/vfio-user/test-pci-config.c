// SPDX-License-Identifier: LGPL-2.1-or-later
#include <linux/pci_regs.h>

#include "tests/unit/test.h"
#include "vfio-user/pci-config.h"

static struct pci_config config;
static unsigned bus_master_calls, msix_calls, flr_calls;
static bool bus_master_on, msix_on;

static void on_bus_master(void *opaque, bool on)
{
	bus_master_calls++;
	bus_master_on = on;
}

static void on_msix(void *opaque, bool enabled)
{
	msix_calls++;
	msix_on = enabled;
}

static void on_flr(void *opaque)
{
	flr_calls++;
	pci_config_reset(&config);
}

static const struct pci_config_ops ops = { on_bus_master, on_msix, on_flr };

static const struct pci_config_layout layout = {
	.id = { .vendor = 0x1234,
		.device = 0x5678,
		.subsystem_vendor = 0x9abc,
		.subsystem = 0xdef0,
		.revision = 2,
		.class_code = 0x010802 },
	.bar0_size = 16384,
	.msix_vectors = 65,
	.msix_table_bar = 4,
	.msix_pba_bar = 4,
	.msix_pba_offset = 2048,
};

static uint32_t get(uint64_t offset, size_t len)
{
	uint32_t value = 0;

	pci_config_read(&config, offset, &value, len);
	return value;
}

static void put(uint64_t offset, uint32_t value, size_t len)
{
	pci_config_write(&config, offset, &value, len, &ops, NULL);
}

static unsigned find_capability(uint8_t id)
{
	unsigned offset, count = 0;

	for (offset = get(PCI_CAPABILITY_LIST, 1); offset && count < 48; count++) {
		if (get(offset, 1) == id)
			return offset;
		offset = get(offset + 1, 1);
	}
	return 0;
}

static int setup(void **state)
{
	bus_master_calls = msix_calls = flr_calls = 0;
	pci_config_init(&config, &layout);
	return 0;
}

static void identifies_itself(void **state)
{
	assert_int_equal(get(PCI_VENDOR_ID, 4), 0x56781234);
	assert_int_equal(get(PCI_CLASS_REVISION, 4), 0x01080202);
	assert_int_equal(get(PCI_SUBSYSTEM_VENDOR_ID, 4), 0xdef09abc);
	assert_int_equal(get(PCI_HEADER_TYPE, 1), 0);
	assert_int_equal(get(PCI_INTERRUPT_PIN, 1), 1);
	assert_true(get(PCI_STATUS, 2) & PCI_STATUS_CAP_LIST);
	put(PCI_VENDOR_ID, 0xffffffff, 4);
	put(PCI_CLASS_REVISION, 0, 4);
	assert_int_equal(get(PCI_VENDOR_ID, 4), 0x56781234);
	assert_int_equal(get(PCI_CLASS_REVISION, 4), 0x01080202);
}

static void has_its_capabilities(void **state)
{
	unsigned pm = find_capability(PCI_CAP_ID_PM), msix = find_capability(PCI_CAP_ID_MSIX),
		 exp = find_capability(PCI_CAP_ID_EXP);

	assert_true(pm && msix && exp);
	assert_int_equal(get(msix + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE, 64);
	assert_int_equal(get(msix + PCI_MSIX_TABLE, 4), 4);
	assert_int_equal(get(msix + PCI_MSIX_PBA, 4), 2048 | 4);
	assert_true(get(exp + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR);
	assert_int_equal(get(exp + PCI_EXP_FLAGS, 2), 2);
	assert_int_equal(get(0x100, 4), 0);
}

static void bars_have_a_size(void **state)
{
	put(PCI_BASE_ADDRESS_0, 0xffffffff, 4);
	put(PCI_BASE_ADDRESS_1, 0xffffffff, 4);
	assert_int_equal(get(PCI_BASE_ADDRESS_0, 4), 0xffffc004);
	assert_int_equal(get(PCI_BASE_ADDRESS_1, 4), 0xffffffff);
	put(PCI_BASE_ADDRESS_0, 0xfebf1234, 4);
	assert_int_equal(get(PCI_BASE_ADDRESS_0, 4), 0xfebf0004);
	put(PCI_BASE_ADDRESS_2, 0xffffffff, 4);
	assert_int_equal(get(PCI_BASE_ADDRESS_2, 4), 0);
	/* 65 vectors are 1,040 bytes of table, the PBA stands at 2 KiB. */
	assert_int_equal(pci_config_bar4_size(&layout), 4096);
	put(PCI_BASE_ADDRESS_4, 0xffffffff, 4);
	assert_int_equal(get(PCI_BASE_ADDRESS_4, 4), 0xfffff004);
}

static void tells_of_bus_mastering(void **state)
{
	put(PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_int_equal(bus_master_calls, 0);
	put(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	assert_int_equal(bus_master_calls, 1);
	assert_true(bus_master_on);
	put(PCI_COMMAND, PCI_COMMAND_MASTER, 1);
	assert_int_equal(bus_master_calls, 1);
	put(PCI_COMMAND, 0, 2);
	assert_int_equal(bus_master_calls, 2);
	assert_false(bus_master_on);
	put(PCI_COMMAND, 0xffff, 2);
	assert_int_equal(get(PCI_COMMAND, 2), PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
						      PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
						      PCI_COMMAND_INTX_DISABLE);
}

static void tells_of_msix(void **state)
{
	unsigned flags = find_capability(PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS;

	put(flags, PCI_MSIX_FLAGS_ENABLE, 2);
	assert_int_equal(msix_calls, 1);
	assert_true(msix_on);
	put(flags + 1, 0, 1);
	assert_int_equal(msix_calls, 2);
	assert_false(msix_on);
	put(flags, 0, 2);
	assert_int_equal(get(flags, 2), 64);
}

static void a_function_level_reset_clears(void **state)
{
	unsigned control = find_capability(PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL,
		 msix = find_capability(PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS;
	uint32_t initial = get(control, 2);

	put(PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	put(PCI_BASE_ADDRESS_0, 0xfebf0000, 4);
	put(PCI_INTERRUPT_LINE, 11, 1);
	put(msix, PCI_MSIX_FLAGS_ENABLE, 2);
	put(control, 0, 2);
	assert_int_equal(flr_calls, 0);
	put(control, PCI_EXP_DEVCTL_BCR_FLR, 2);
	assert_int_equal(flr_calls, 1);
	assert_int_equal(get(PCI_COMMAND, 2), 0);
	assert_int_equal(get(PCI_BASE_ADDRESS_0, 4), PCI_BASE_ADDRESS_MEM_TYPE_64);
	assert_int_equal(get(msix, 2), 64);
	assert_int_equal(get(control, 2), initial);
	assert_int_equal(get(PCI_VENDOR_ID, 4), 0x56781234);
	/* By the high byte alone, and by a write that begins before. */
	put(control + 1, PCI_EXP_DEVCTL_BCR_FLR >> 8, 1);
	assert_int_equal(flr_calls, 2);
	put(control - 2, (uint32_t)PCI_EXP_DEVCTL_BCR_FLR << 16, 4);
	assert_int_equal(flr_calls, 3);
	put(control + 2, 0xffff, 2);
	assert_int_equal(flr_calls, 3);
}

static void waking_up_resets(void **state)
{
	unsigned control = find_capability(PCI_CAP_ID_PM) + PCI_PM_CTRL;

	assert_false(get(control, 2) & PCI_PM_CTRL_NO_SOFT_RESET);
	put(control, 3, 2);
	assert_int_equal(get(control, 2), 3);
	assert_int_equal(flr_calls, 0);
	put(control, 1, 2); /* there is no D1 */
	assert_int_equal(get(control, 2), 3);
	put(control, 0, 2);
	assert_int_equal(flr_calls, 1);
	assert_int_equal(get(control, 2), 0);
}

static void ends_where_it_ends(void **state)
{
	uint8_t bytes[8];

	memset(bytes, 0xff, sizeof(bytes));
	pci_config_read(&config, 4092, bytes, 8);
	assert_memory_equal(bytes, "\0\0\0\0\0\0\0\0", 8);
	memset(bytes, 0xff, sizeof(bytes));
	pci_config_write(&config, 4092, bytes, 8, &ops, NULL);
	pci_config_write(&config, UINT64_MAX - 3, bytes, 4, &ops, NULL);
	pci_config_read(&config, UINT64_MAX, bytes, 8);
	assert_memory_equal(bytes, "\0\0\0\0\0\0\0\0", 8);
}

#define test(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(identifies_itself), test(has_its_capabilities),
		test(bars_have_a_size),	 test(tells_of_bus_mastering),
		test(tells_of_msix),	 test(a_function_level_reset_clears),
		test(waking_up_resets),	 test(ends_where_it_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
