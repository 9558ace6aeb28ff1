// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

#define CC_ENABLE (4u << 20 | 6u << 16 | NVME_CC_EN)

static int setup_off(void **state)
{
	*state = machine_new(1);
	return 0;
}

static int teardown_off(void **state)
{
	machine_free(*state);
	return 0;
}

/* As firmware may find it: every value that decides how a guest goes on. */
static void says_what_it_can(void **state)
{
	struct machine *machine = *state;
	uint64_t cap = machine_read64(machine, NVME_REG_CAP);

	assert_int_equal(cap & 0xffff, NVME_MAX_IO_ENTRIES - 1);
	assert_true(cap & NVME_CAP_CQR);
	assert_int_equal(cap >> 24 & 0xff, NVME_TIMEOUT);
	assert_int_equal(cap >> 32 & 15, 0); /* DSTRD */
	assert_true(cap & NVME_CAP_CSS_NVM);
	assert_int_equal(cap >> 48 & 0xff, 0); /* 4 KiB pages only */
	assert_int_equal(cap >> 56, 8);	       /* CRWMS */
	assert_int_equal(machine_read32(machine, NVME_REG_CRTO), NVME_TIMEOUT);
	assert_int_equal(machine_read32(machine, NVME_REG_CAP), (uint32_t)cap);
	assert_int_equal(machine_read32(machine, NVME_REG_CAP + 4), cap >> 32);
	assert_int_equal(machine_read32(machine, NVME_REG_VS), NVME_VS_2_0);
}

static void takes_64_bits_in_halves(void **state)
{
	struct machine *machine = *state;

	machine_write32(machine, NVME_REG_ASQ, 0x12345fff);
	machine_write32(machine, NVME_REG_ASQ + 4, 0x9);
	assert_int_equal(machine_read64(machine, NVME_REG_ASQ), 0x912345000);
	machine_write32(machine, NVME_REG_ACQ + 4, 0x8);
	machine_write32(machine, NVME_REG_ACQ, 0x7000);
	assert_int_equal(machine_read32(machine, NVME_REG_ACQ + 4), 8);
	assert_int_equal(machine_read64(machine, NVME_REG_ACQ), 0x800007000);
}

/* Windows compares them after enabling. */
static void keeps_the_admin_queue_readable(void **state)
{
	struct machine *machine = *state;
	uint64_t asq;

	machine_enable(machine);
	asq = machine_read64(machine, NVME_REG_ASQ);
	assert_int_equal(asq, machine->queues[0].sq);
	machine_write32(machine, NVME_REG_ASQ, 0x5000);
	machine_write32(machine, NVME_REG_AQA, 0);
	assert_int_equal(machine_read64(machine, NVME_REG_ASQ), asq);
	assert_int_equal(machine_read32(machine, NVME_REG_AQA),
			 (MACHINE_ENTRIES - 1) << 16 | (MACHINE_ENTRIES - 1));
}

static void reads_zeroes_where_there_is_nothing(void **state)
{
	struct machine *machine = *state;
	uint8_t buf[16];

	assert_int_equal(machine_read32(machine, 0x38), 0);
	assert_int_equal(machine_read32(machine, NVME_BAR0_DOORBELLS), 0);
	for (size_t len = 1; len <= 16; len++) {
		memset(buf, 0xff, sizeof(buf));
		nvme_controller_read(machine->ctrl, NVME_REG_CAP + 1, buf, len);
		for (size_t i = 0; i < len; i++)
			assert_int_equal(buf[i], 0);
	}
	nvme_controller_read(machine->ctrl, NVME_BAR0_SIZE, buf, 4);
	assert_int_equal(buf[0], 0);
	nvme_controller_read(machine->ctrl, UINT64_MAX - 3, buf, 4);
	assert_int_equal(buf[0], 0);
}

static void ignores_writes_where_there_is_nothing(void **state)
{
	struct machine *machine = *state;
	uint8_t buf[16];

	memset(buf, 0xff, sizeof(buf));
	for (uint64_t offset = 0; offset < 0x14; offset++)
		nvme_controller_write(machine->ctrl, offset, buf, 2);
	nvme_controller_write(machine->ctrl, NVME_REG_CC, buf, 1);
	nvme_controller_write(machine->ctrl, NVME_REG_CSTS, buf, 4);
	nvme_controller_write(machine->ctrl, NVME_BAR0_SIZE, buf, 8);
	nvme_controller_write(machine->ctrl, UINT64_MAX - 7, buf, 8);
	nvme_controller_write(machine->ctrl, NVME_BAR0_DOORBELLS, buf, 4); /* not enabled */
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CC), 0);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
}

static void mask_bits_are_set_and_cleared(void **state)
{
	struct machine *machine = *state;

	machine_write32(machine, NVME_REG_INTMS, 0xf0);
	machine_write32(machine, NVME_REG_INTMS, 0x0f);
	machine_write32(machine, NVME_REG_INTMC, 0x11);
	assert_int_equal(machine_read32(machine, NVME_REG_INTMS), 0xee);
	assert_int_equal(machine_read32(machine, NVME_REG_INTMC), 0xee);
}

static void expect_fatal(struct machine *machine, uint32_t aqa, uint64_t asq, uint64_t acq,
			 uint32_t cc)
{
	machine_write32(machine, NVME_REG_AQA, aqa);
	nvme_controller_write(machine->ctrl, NVME_REG_ASQ, &asq, 8);
	nvme_controller_write(machine->ctrl, NVME_REG_ACQ, &acq, 8);
	machine_write32(machine, NVME_REG_CC, cc);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), NVME_CSTS_CFS);
	machine_write32(machine, NVME_REG_CC, cc & ~NVME_CC_EN);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
}

static void refuses_an_impossible_admin_queue(void **state)
{
	struct machine *machine = *state;
	uint64_t queue = MACHINE_BASE, end = MACHINE_BASE + MACHINE_MEMORY;

	expect_fatal(machine, 0x000f0000, queue, queue, CC_ENABLE); /* one SQ entry */
	expect_fatal(machine, 0x0000000f, queue, queue, CC_ENABLE);
	expect_fatal(machine, 0x000f000f, end, queue, CC_ENABLE);
	expect_fatal(machine, 0x000f000f, queue, 0, CC_ENABLE);
	expect_fatal(machine, 0x0fff0fff, end - 4096, queue, CC_ENABLE); /* ends outside */
	expect_fatal(machine, 0x000f000f, ~0xfffULL, ~0xfffULL, CC_ENABLE);
	expect_fatal(machine, 0x000f000f, queue, queue, CC_ENABLE | 1 << 7);  /* 8 KiB pages */
	expect_fatal(machine, 0x000f000f, queue, queue, CC_ENABLE | 1 << 4);  /* command set */
	expect_fatal(machine, 0x000f000f, queue, queue, CC_ENABLE | 1 << 11); /* arbitration */
	machine_enable(machine); /* and can be enabled all the same */
}

static void is_disabled_and_enabled_again(void **state)
{
	struct machine *machine = *state;

	for (unsigned i = 0; i < 3; i++) {
		machine_enable(machine);
		machine_create_queue(machine, 1, MACHINE_ENTRIES);
		machine_write32(machine, NVME_REG_CC, 0);
		assert_int_equal(machine_read32(machine, NVME_REG_CSTS), NVME_CSTS_RDY);
		machine_run(machine);
		assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
	}
}

static void is_enabled_while_it_stops(void **state)
{
	struct machine *machine = *state;

	machine_enable(machine);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_write32(machine, NVME_REG_CC, CC_ENABLE);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), NVME_CSTS_RDY);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_write32(machine, NVME_REG_CC, CC_ENABLE);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
}

static void shutdown_flushes_first(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);

	disk->hold = true;
	machine_write32(machine, NVME_REG_CC, CC_ENABLE | 1 << 14);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS) & NVME_CSTS_SHST_MASK,
			 NVME_CSTS_SHST_OCCURS);
	assert_int_equal(disk->flushes, 1);
	machine_release(machine, disk);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS),
			 NVME_CSTS_RDY | NVME_CSTS_SHST_OVER);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	machine_enable(machine); /* SHST is 0 again */
}

static void abrupt_shutdown_ends_too(void **state)
{
	struct machine *machine = *state;

	machine_write32(machine, NVME_REG_CC, CC_ENABLE | 2 << 14);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS) & NVME_CSTS_SHST_MASK,
			 NVME_CSTS_SHST_OVER);
}

static void shutdown_of_a_disabled_controller_ends(void **state)
{
	struct machine *machine = *state;

	machine_write32(machine, NVME_REG_CC, 1 << 14);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), NVME_CSTS_SHST_OVER);
}

static void reset_waits_for_the_shutdown(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);

	disk->hold = true;
	machine_write32(machine, NVME_REG_CC, CC_ENABLE | 1 << 14);
	machine_run(machine);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	assert_true(machine_read32(machine, NVME_REG_CSTS) & NVME_CSTS_RDY);
	machine_release(machine, disk);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
}

int main(void)
{
#define off(name)     cmocka_unit_test_setup_teardown(name, setup_off, teardown_off)
#define enabled(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)
	const struct CMUnitTest tests[] = {
		off(says_what_it_can),
		off(takes_64_bits_in_halves),
		off(keeps_the_admin_queue_readable),
		off(reads_zeroes_where_there_is_nothing),
		off(ignores_writes_where_there_is_nothing),
		off(mask_bits_are_set_and_cleared),
		off(refuses_an_impossible_admin_queue),
		off(is_disabled_and_enabled_again),
		off(is_enabled_while_it_stops),
		off(shutdown_of_a_disabled_controller_ends),
		enabled(shutdown_flushes_first),
		enabled(abrupt_shutdown_ends_too),
		enabled(reset_waits_for_the_shutdown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
