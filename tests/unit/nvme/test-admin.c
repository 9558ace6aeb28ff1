// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/clock.h"
#include "nvme/state.h"
#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

static struct machine_completion identify(struct machine *machine, uint8_t cns, uint32_t nsid,
					  uint64_t page)
{
	return machine_execute(
		machine, 0,
		(struct nvme_command){
			.opcode = NVME_ADMIN_IDENTIFY, .nsid = nsid, .prp1 = page, .cdw10 = cns });
}

static void identify_controller(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	const struct nvme_identify_controller *id = machine_at(machine, page);

	memset(machine_at(machine, page), 0xff, 4096);
	assert_status(identify(machine, NVME_CNS_CONTROLLER, 0, page), 0);
	assert_memory_equal(id->sn, "VN0001              ", 20);
	assert_memory_equal(id->mn, "virtnvme  ", 10);
	assert_int_equal(id->vid, NVME_PCI_VENDOR);
	assert_int_equal(id->cntlid, 7);
	assert_int_equal(id->ver, machine_read32(machine, NVME_REG_VS));
	assert_int_equal(1u << id->mdts, NVME_MAX_TRANSFER / 4096);
	assert_int_equal(id->nn, NVME_MAX_NAMESPACES);
	assert_int_equal(id->sqes, 0x66);
	assert_int_equal(id->cqes, 0x44);
	assert_int_equal(id->vwc & 1, 1);
	assert_int_equal(id->oaes, 1 << 8);
	assert_int_equal(id->cntrltype, 1);
	assert_int_not_equal(id->wctemp, 0);
	assert_int_not_equal(id->cctemp, 0);
	assert_int_equal(id->sgls, 0x50001);
	assert_int_equal(id->oacs, 1 << 8 | 1 << 1);
	assert_int_equal(id->fuses, 1);
	assert_int_equal(id->oncs & NVME_ONCS_UNCORRECTABLE, 0);
	assert_int_equal(id->kas, 10);
	assert_int_equal(id->ctratt, NVME_CTRATT_HOST_ID | NVME_CTRATT_TBKAS);
	assert_int_equal(id->acwu, 255);
	assert_string_equal(id->subnqn, "nqn.2014-08.org.nvmexpress:uuid:"
					"01020300-0000-0000-0000-000000000000");
}

static void identify_namespace(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	const struct nvme_identify_namespace *id = machine_at(machine, page);
	static const uint8_t zeroes[4096];

	assert_status(identify(machine, NVME_CNS_NAMESPACE, 1, page), 0);
	assert_int_equal(id->nsze, 8 * MiB / 512);
	assert_int_equal(id->ncap, id->nsze);
	assert_int_equal(id->lbaf[id->flbas].data_shift, 9);
	assert_memory_not_equal(id->nguid, zeroes, 16);

	/* Possible but not active: zeroes. */
	assert_status(identify(machine, NVME_CNS_NAMESPACE, 2, page), 0);
	assert_memory_equal(id, zeroes, 4096);
	assert_status(identify(machine, NVME_CNS_NAMESPACE, NVME_MAX_NAMESPACES, page), 0);

	assert_status(identify(machine, NVME_CNS_NAMESPACE, 0, page), NVME_INVALID_NAMESPACE);
	assert_status(identify(machine, NVME_CNS_NAMESPACE, NVME_MAX_NAMESPACES + 1, page),
		      NVME_INVALID_NAMESPACE);
	assert_status(identify(machine, NVME_CNS_NAMESPACE, NVME_NSID_ALL, page),
		      NVME_INVALID_NAMESPACE);
}

static void identify_lists_and_descriptors(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk_new(MiB);
	uint64_t page = machine_alloc(machine, 1);
	const uint32_t *list = machine_at(machine, page);
	const uint8_t *bytes = machine_at(machine, page);
	uint8_t uuid[16];

	machine_attach(machine, 5, disk);
	assert_status(identify(machine, NVME_CNS_ACTIVE_LIST, 0, page), 0);
	assert_int_equal(list[0], 1);
	assert_int_equal(list[1], 5);
	assert_int_equal(list[2], 0);
	assert_status(identify(machine, NVME_CNS_ACTIVE_LIST, 1, page), 0);
	assert_int_equal(list[0], 5);
	assert_status(identify(machine, NVME_CNS_ACTIVE_LIST, NVME_NSID_ALL - 2, page), 0);
	assert_int_equal(list[0], 0);
	assert_status(identify(machine, NVME_CNS_ACTIVE_LIST, NVME_NSID_ALL - 1, page),
		      NVME_INVALID_NAMESPACE);
	assert_status(identify(machine, NVME_CNS_ACTIVE_LIST, NVME_NSID_ALL, page),
		      NVME_INVALID_NAMESPACE);

	assert_status(identify(machine, NVME_CNS_DESCRIPTORS, 5, page), 0);
	assert_int_equal(bytes[0], NVME_NIDT_NGUID);
	assert_int_equal(bytes[1], 16);
	assert_int_equal(bytes[20], NVME_NIDT_UUID);
	assert_int_equal(bytes[21], 16);
	assert_int_equal(bytes[40], NVME_NIDT_COMMAND_SET);
	assert_int_equal(bytes[41], 1);
	assert_int_equal(bytes[44], 0);
	assert_int_equal(bytes[45], 0);
	assert_int_equal(bytes[24 + 6] >> 4, 5); /* UUID version */
	memcpy(uuid, bytes + 24, 16);
	assert_status(identify(machine, NVME_CNS_DESCRIPTORS, 1, page), 0);
	assert_memory_not_equal(uuid, bytes + 24, 16);
	assert_status(identify(machine, NVME_CNS_DESCRIPTORS, 2, page), NVME_INVALID_FIELD);
	assert_status(identify(machine, NVME_CNS_DESCRIPTORS, NVME_NSID_ALL, page),
		      NVME_INVALID_NAMESPACE);
	machine_disk_free(disk);
}

static void identify_refuses_the_rest(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);

	static const uint8_t known[] = { 0, 1, 2, 3, 5, 6, 7, 8, 0x10, 0x11, 0x12, 0x13 };

	for (unsigned cns = 0; cns < 256; cns++)
		if (!memchr(known, cns, sizeof(known)))
			assert_status(identify(machine, cns, 1, page), NVME_INVALID_FIELD);
	assert_status(identify(machine, NVME_CNS_CONTROLLER, 0, 0), NVME_DATA_TRANSFER_ERROR);
	assert_status(identify(machine, NVME_CNS_CONTROLLER, 0, page + 2), NVME_PRP_OFFSET_INVALID);
}

static void unknown_commands_are_refused(void **state)
{
	struct machine *machine = *state;
	static const uint8_t known[] = { 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 0x18, 0x7c, 0x80 };

	for (unsigned opcode = 0; opcode < 256; opcode++)
		if (!memchr(known, opcode, sizeof(known)))
			assert_status(machine_execute(machine, 0,
						      (struct nvme_command){ .opcode = opcode }),
				      NVME_INVALID_OPCODE);
	assert_status(machine_execute(machine, 0,
				      (struct nvme_command){ .opcode = NVME_ADMIN_IDENTIFY,
							     .flags = 0x40 }),
		      NVME_INVALID_FIELD);
}

static void abort_says_not_aborted(void **state)
{
	struct machine_completion completion = machine_execute(
		*state, 0, (struct nvme_command){ .opcode = NVME_ADMIN_ABORT, .cdw10 = 1 });

	assert_status(completion, 0);
	assert_int_equal(completion.result & 1, 1);
}

static struct machine_completion feature(struct machine *machine, bool set, uint32_t cdw10,
					 uint32_t cdw11)
{
	return machine_execute(machine, 0,
			       (struct nvme_command){ .opcode = set ? NVME_ADMIN_SET_FEATURE
								    : NVME_ADMIN_GET_FEATURE,
						      .cdw10 = cdw10,
						      .cdw11 = cdw11 });
}

static void features_are_set_and_read(void **state)
{
	struct machine *machine = *state;
	static const struct {
		uint8_t id;
		uint32_t cdw11, result, by_default;
	} cases[] = {
		{ NVME_FEATURE_ARBITRATION, 0x01020307, 0x01020307, 0 },
		{ NVME_FEATURE_POWER, 0x20, 0x20, 0 },
		{ NVME_FEATURE_TEMPERATURE, 350, 350, 343 },
		{ NVME_FEATURE_ERROR_RECOVERY, 5, 5, 0 },
		{ NVME_FEATURE_WRITE_CACHE, 0, 0, 1 },
		{ NVME_FEATURE_COALESCING, 0x0a05, 0x0a05, 0 },
		{ NVME_FEATURE_WRITE_ATOMICITY, 1, 1, 0 },
		{ NVME_FEATURE_ASYNC_EVENT, 0xffffffff, 0x1ff, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t id = cases[i].id;

		assert_int_equal(feature(machine, false, id, 0).result, cases[i].by_default);
		assert_status(feature(machine, true, id, cases[i].cdw11), 0);
		assert_int_equal(feature(machine, false, id, 0).result, cases[i].result);
		assert_int_equal(feature(machine, false, id | 1 << 8, 0).result,
				 cases[i].by_default);
		assert_int_equal(feature(machine, false, id | 2 << 8, 0).result,
				 cases[i].by_default);
		assert_int_equal(feature(machine, false, id | 3 << 8, 0).result, 4);
		assert_status(feature(machine, false, id | 4 << 8, 0), NVME_INVALID_FIELD);
		assert_status(feature(machine, true, id | NVME_FEATURE_SAVE, 0),
			      NVME_FEATURE_NOT_SAVEABLE);
	}
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	machine_enable(machine);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(feature(machine, false, cases[i].id, 0).result,
				 cases[i].by_default);
}

static void features_refuse_what_they_must(void **state)
{
	struct machine *machine = *state;
	/* Unknown ones, Windows' vendor feature and APST among them. */
	static const uint8_t unknown[] = { 0x00, 0x03, 0x0c, 0x0d, 0x10, 0x80, 0xc0, 0xd0, 0xff };

	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
		assert_status(feature(machine, false, unknown[i], 0), NVME_INVALID_FIELD);
		assert_status(feature(machine, true, unknown[i], 0), NVME_INVALID_FIELD);
	}
	assert_status(feature(machine, true, NVME_FEATURE_POWER, 1), NVME_INVALID_FIELD);
	assert_status(feature(machine, true, NVME_FEATURE_TEMPERATURE, 1 << 16),
		      NVME_INVALID_FIELD);
	assert_status(feature(machine, true, NVME_FEATURE_TEMPERATURE, 2 << 20),
		      NVME_INVALID_FIELD);
	assert_status(feature(machine, true, NVME_FEATURE_VECTOR, MACHINE_QUEUES + 1),
		      NVME_INVALID_FIELD);
	assert_status(feature(machine, false, NVME_FEATURE_VECTOR, 0xffff), NVME_INVALID_FIELD);
	assert_status(feature(machine, true, NVME_FEATURE_VECTOR, 2 | 1 << 16), 0);
	assert_int_equal(feature(machine, false, NVME_FEATURE_VECTOR, 2).result, 2 | 1 << 16);
	assert_int_equal(feature(machine, false, NVME_FEATURE_VECTOR, 1).result, 1);
}

static void number_of_queues_is_asked_first(void **state)
{
	struct machine *machine = *state;
	uint32_t all = (MACHINE_QUEUES - 1) | (MACHINE_QUEUES - 1) << 16;

	assert_status(feature(machine, true, NVME_FEATURE_QUEUES, 0), NVME_COMMAND_SEQUENCE_ERROR);
	assert_status(feature(machine, true, NVME_FEATURE_QUEUES, 0xffff), NVME_INVALID_FIELD);
	assert_status(feature(machine, true, NVME_FEATURE_QUEUES, 0xffff0000), NVME_INVALID_FIELD);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	machine_enable(machine);
	assert_int_equal(feature(machine, true, NVME_FEATURE_QUEUES, 0x007f007f).result, all);
	assert_int_equal(feature(machine, false, NVME_FEATURE_QUEUES, 0).result, all);
}

static void smart_log_counts(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	const struct nvme_smart_log *smart = machine_at(machine, page);

	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_READ, 0, 8, page, 0)), 0);
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_WRITE, 0, 8, page, 0)), 0);
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_WRITE, 0, 8, page, 0)), 0);
	machine_disk(machine)->result = -5;
	machine_execute(machine, 1, machine_rw(NVME_IO_WRITE, 0, 8, page, 0));
	assert_status(machine_execute(machine, 0,
				      machine_get_log(NVME_LOG_SMART, 512, 0, false, page)),
		      0);
	assert_int_equal(smart->host_reads.low, 1);
	assert_int_equal(smart->host_writes.low, 2);
	assert_int_equal(smart->data_units_read.low, 1);
	assert_int_equal(smart->media_errors.low, 1);
	assert_int_equal(smart->error_log_entries.low, 1);
	assert_int_equal(smart->available_spare, 100);
	assert_int_equal(smart->critical_warning, 0);
	assert_int_equal(smart->power_cycles.low, 1);
	assert_int_equal(smart->power_on_hours.low, 0);
}

static void get_smart(struct machine *machine, uint64_t page)
{
	assert_status(machine_execute(machine, 0,
				      machine_get_log(NVME_LOG_SMART, 512, 0, false, page)),
		      0);
}

static uint64_t busy_us(struct machine *machine)
{
	const struct nvme_state *of_controller = machine->state;
	uint64_t sum = 0;

	for (unsigned i = 0; i < NVME_MAX_WORKERS; i++)
		sum += of_controller->hands[i].busy_us;
	return sum;
}

static uint64_t coarse(void)
{
	return clock_us(CLOCK_MONOTONIC_COARSE);
}

static void wait_for_ticks(unsigned count)
{
	while (count--) {
		uint64_t now = coarse();

		while (coarse() == now)
			;
	}
}

/* Two workers: their times overlap, and count once. */
static void smart_log_has_busy_time(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	struct nvme_state *of_controller = machine->state;
	uint64_t page = machine_alloc(machine, 1), before, begin, least;
	const struct nvme_smart_log *smart = machine_at(machine, page);

	disk->hold = true;
	before = busy_us(machine);
	begin = coarse();
	machine_submit(machine, 1, machine_rw(NVME_IO_READ, 0, 1, page, 0));
	machine_submit(machine, 2, machine_rw(NVME_IO_READ, 0, 1, page, 0));
	machine_run(machine);
	least = coarse();
	wait_for_ticks(3);
	machine_release(machine, disk);
	machine_run(machine);
	assert_int_equal(busy_us(machine), before);
	wait_for_ticks(3);
	least = coarse() - least;
	machine_release(machine, disk);
	machine_run(machine);
	assert_true(busy_us(machine) - before >= least);
	assert_true(busy_us(machine) - before <= coarse() - begin);
	/* Not while nothing is outstanding. */
	before = busy_us(machine);
	wait_for_ticks(2);
	machine_restart(machine, NULL);
	machine_attach(machine, 1, disk);
	get_smart(machine, page);
	assert_int_equal(busy_us(machine), before);
	of_controller->hands[1].busy_us += 90ULL * 1000000;
	of_controller->hands[63].busy_us += 31ULL * 1000000;
	get_smart(machine, page);
	assert_int_equal(smart->busy_minutes.low, 2);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	assert_true(busy_us(machine) >= 121ULL * 1000000);
	disk->hold = false;
}

static void nobody_waits(void *opaque)
{
}

static void reset_machine(struct machine *machine)
{
	nvme_controller_lose_power(machine->ctrl);
	nvme_controller_reset(machine->ctrl, nobody_waits, NULL);
	machine_run(machine);
}

static void expect_shutdowns(struct machine *machine, uint64_t page, unsigned cycles,
			     unsigned unsafe)
{
	const struct nvme_smart_log *smart = machine_at(machine, page);

	machine_enable(machine);
	get_smart(machine, page);
	assert_int_equal(smart->power_cycles.low, cycles);
	assert_int_equal(smart->unsafe_shutdowns.low, unsafe);
}

static void smart_log_counts_unsafe_shutdowns(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);

	reset_machine(machine);
	expect_shutdowns(machine, page, 2, 1);
	/* The guest shuts down, in order. */
	machine_write32(machine, NVME_REG_CC, 4 << 20 | 6 << 16 | 1 << 14 | NVME_CC_EN);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS) & NVME_CSTS_SHST_MASK,
			 NVME_CSTS_SHST_OVER);
	reset_machine(machine);
	/* A machine that starts resets all its devices once more. */
	reset_machine(machine);
	expect_shutdowns(machine, page, 3, 1);
	/* The function's own reset takes no power away, nor does another process. */
	nvme_controller_reset(machine->ctrl, nobody_waits, NULL);
	machine_run(machine);
	machine_restart(machine, NULL);
	machine_attach(machine, 1, machine_disk(machine));
	expect_shutdowns(machine, page, 3, 1);
}

static void smart_log_warns_of_the_temperature(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	const struct nvme_smart_log *smart = machine_at(machine, page);
	struct machine_completion completion;
	uint16_t event;

	feature(machine, true, NVME_FEATURE_ASYNC_EVENT, NVME_WARNING_OF_TEMPERATURE);
	event = machine_submit(machine, 0,
			       (struct nvme_command){ .opcode = NVME_ADMIN_ASYNC_EVENT });
	machine_run(machine);
	feature(machine, true, NVME_FEATURE_TEMPERATURE, 311);
	get_smart(machine, page);
	assert_int_equal(smart->critical_warning, 0);
	machine_submit(machine, 0,
		       (struct nvme_command){ .opcode = NVME_ADMIN_SET_FEATURE,
					      .cdw10 = NVME_FEATURE_TEMPERATURE,
					      .cdw11 = 310 });
	machine_run(machine);
	assert_true(machine_take(machine, 0, &completion));
	assert_true(machine_take(machine, 0, &completion));
	assert_int_equal(completion.cid, event);
	assert_int_equal(completion.result, NVME_EVENT_TYPE_SMART |
						    NVME_EVENT_TEMPERATURE_THRESHOLD << 8 |
						    NVME_LOG_SMART << 16);
	get_smart(machine, page);
	assert_int_equal(smart->critical_warning, NVME_WARNING_OF_TEMPERATURE);
	/* Too cold. */
	feature(machine, true, NVME_FEATURE_TEMPERATURE, 343);
	get_smart(machine, page);
	assert_int_equal(smart->critical_warning, 0);
	feature(machine, true, NVME_FEATURE_TEMPERATURE, 1 << 20 | 310);
	get_smart(machine, page);
	assert_int_equal(smart->critical_warning, NVME_WARNING_OF_TEMPERATURE);
}

static void smart_log_has_hours(void **state)
{
	struct machine *machine = *state;
	struct nvme_state *of_controller = machine->state;
	uint64_t page = machine_alloc(machine, 1);
	const struct nvme_smart_log *smart = machine_at(machine, page);
	const struct nvme_command get = machine_get_log(NVME_LOG_SMART, 512, 0, false, page);

	of_controller->powered_on -= 30 * 3600;
	machine_restart(machine, NULL);
	machine_attach(machine, 1, machine_disk(machine));
	assert_status(machine_execute(machine, 0, get), 0);
	assert_int_equal(smart->power_on_hours.low, 30);
	/* The clock was set, or is another host's. */
	of_controller->powered_on += 100 * 3600;
	assert_status(machine_execute(machine, 0, get), 0);
	assert_int_equal(smart->power_on_hours.low, 0);
}

static void error_log_tells_where(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	const struct nvme_error_entry *entries = machine_at(machine, page);
	struct machine_completion first, second;

	first = machine_execute(machine, 1, machine_rw(NVME_IO_READ, 1ULL << 40, 1, page, 0));
	second = machine_execute(
		machine, 0,
		(struct nvme_command){
			.opcode = NVME_ADMIN_IDENTIFY, .nsid = 3, .prp1 = page, .cdw10 = 0x99 });
	assert_status(machine_execute(machine, 0,
				      machine_get_log(NVME_LOG_ERROR, 4096, 0, false, page)),
		      0);
	assert_int_equal(entries[0].count, 2);
	assert_int_equal(entries[0].sqid, 0);
	assert_int_equal(entries[0].cid, second.cid);
	assert_int_equal(entries[0].status >> 1 & 0x7ff, NVME_INVALID_FIELD);
	assert_int_equal(entries[0].location, offsetof(struct nvme_command, cdw10));
	assert_int_equal(entries[0].nsid, 3);
	assert_int_equal(entries[1].count, 1);
	assert_int_equal(entries[1].sqid, 1);
	assert_int_equal(entries[1].cid, first.cid);
	assert_int_equal(entries[1].lba, 1ULL << 40);
	assert_int_equal(entries[1].location, NVME_ERROR_NO_LOCATION);
	assert_int_equal(entries[2].count, 0);

	for (unsigned i = 0; i < 100; i++)
		machine_execute(machine, 0, (struct nvme_command){ .opcode = 0x7f });
	assert_status(machine_execute(machine, 0,
				      machine_get_log(NVME_LOG_ERROR, 4096, 0, false, page)),
		      0);
	for (unsigned i = 0; i < NVME_ERROR_LOG_ENTRIES; i++)
		assert_int_equal(entries[i].count, 102 - i);
}

static void logs_have_offsets_and_lengths(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 3);
	uint8_t *bytes = machine_at(machine, page);

	assert_status(machine_execute(machine, 0,
				      machine_get_log(NVME_LOG_FIRMWARE, 512, 0, true, page)),
		      0);
	assert_int_equal(bytes[0], 1);
	assert_memory_equal(bytes + 8, "0.1     ", 8);
	assert_status(machine_execute(machine, 0,
				      machine_get_log(NVME_LOG_FIRMWARE, 4, 8, true, page)),
		      0);
	assert_memory_equal(bytes, "0.1 ", 4);

	/* Beyond the end there are zeroes; nothing else in the page is touched. */
	memset(bytes, 0xff, 3 * 4096);
	assert_status(machine_execute(machine, 0,
				      machine_get_log(NVME_LOG_FIRMWARE, 16, 508, true, page)),
		      0);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(bytes[i], 0);
	assert_int_equal(bytes[16], 0xff);

	assert_status(machine_execute(machine, 0,
				      machine_get_log(NVME_LOG_FIRMWARE, 4, 512, true, page)),
		      0);
	assert_status(machine_execute(machine, 0,
				      machine_get_log(NVME_LOG_FIRMWARE, 4, 516, true, page)),
		      NVME_INVALID_FIELD);
	assert_status(machine_execute(machine, 0,
				      machine_get_log(NVME_LOG_FIRMWARE, 4, 2, true, page)),
		      NVME_INVALID_FIELD);
	assert_status(
		machine_execute(machine, 0,
				machine_get_log(NVME_LOG_FIRMWARE, 4, 1ULL << 63, true, page)),
		NVME_INVALID_FIELD);
	/* More than MDTS. */
	assert_status(machine_execute(machine, 0,
				      machine_get_log(NVME_LOG_SMART, MiB + 4, 0, true, page)),
		      NVME_INVALID_FIELD);
}

static void unknown_logs_are_refused(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	struct nvme_command smart = machine_get_log(NVME_LOG_SMART, 512, 0, true, page);

	for (unsigned id = 0; id < 256; id++) /* Windows asks for 0xc1 */
		if (id > NVME_LOG_EFFECTS && id != NVME_LOG_FEATURES)
			assert_status(machine_execute(machine, 0,
						      machine_get_log(id, 64, 0, true, page)),
				      NVME_INVALID_FIELD);
	smart.nsid = 1;
	assert_status(machine_execute(machine, 0, smart), NVME_INVALID_FIELD);
	smart.nsid = 0;
	assert_status(machine_execute(machine, 0, smart), 0);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)
	const struct CMUnitTest tests[] = {
		test(identify_controller),
		test(identify_namespace),
		test(identify_lists_and_descriptors),
		test(identify_refuses_the_rest),
		test(unknown_commands_are_refused),
		test(abort_says_not_aborted),
		test(features_are_set_and_read),
		test(features_refuse_what_they_must),
		test(number_of_queues_is_asked_first),
		test(smart_log_counts),
		test(smart_log_has_hours),
		test(smart_log_counts_unsafe_shutdowns),
		test(smart_log_warns_of_the_temperature),
		cmocka_unit_test_setup_teardown(smart_log_has_busy_time, machine_setup_two_workers,
						machine_teardown),
		test(error_log_tells_where),
		test(logs_have_offsets_and_lengths),
		test(unknown_logs_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
