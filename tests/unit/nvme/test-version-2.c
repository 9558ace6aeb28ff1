// SPDX-License-Identifier: LGPL-2.1-or-later
/* What version 2.0 of the specification makes mandatory, and the features that come with data. */
#include <time.h>

#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

static nvme_status identify(struct machine *machine, uint32_t cdw10, uint32_t nsid, uint32_t cdw11,
			    uint64_t page)
{
	memset(machine_at(machine, page), 0xff, 4096);
	return machine_execute(machine, 0,
			       (struct nvme_command){ .opcode = NVME_ADMIN_IDENTIFY,
						      .nsid = nsid,
						      .prp1 = page,
						      .cdw10 = cdw10,
						      .cdw11 = cdw11 })
		.status;
}

static void assert_zeroes(const uint8_t *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		assert_int_equal(at[i], 0);
}

static void identify_of_the_command_set(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	const uint8_t *bytes = machine_at(machine, page);
	const uint32_t *list = machine_at(machine, page);
	static const uint8_t with_command_set[] = { NVME_CNS_NVM_NAMESPACE, NVME_CNS_NVM_CONTROLLER,
						    NVME_CNS_NVM_ACTIVE_LIST };

	assert_int_equal(identify(machine, NVME_CNS_NVM_NAMESPACE, 1, 0, page), 0);
	assert_zeroes(bytes, 4096);
	assert_int_equal(identify(machine, NVME_CNS_NVM_NAMESPACE, 2, 0, page), 0);
	assert_zeroes(bytes, 4096);
	assert_int_equal(identify(machine, NVME_CNS_NVM_NAMESPACE, 0, 0, page),
			 NVME_INVALID_NAMESPACE);
	assert_int_equal(identify(machine, NVME_CNS_NVM_CONTROLLER, 0, 0, page), 0);
	assert_zeroes(bytes, 4096);
	assert_int_equal(identify(machine, NVME_CNS_NVM_ACTIVE_LIST, 0, 0, page), 0);
	assert_int_equal(list[0], 1);
	assert_int_equal(list[1], 0);
	/* Zoned namespaces and others are not there. */
	for (size_t i = 0; i < sizeof(with_command_set); i++)
		for (uint32_t csi = 1; csi < 256; csi += 127)
			assert_int_equal(identify(machine, with_command_set[i], 1, csi << 24, page),
					 NVME_INVALID_FIELD);
}

static void identify_of_any_command_set(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	struct machine_disk *disk = machine_disk_new(MiB);
	const struct nvme_identify_independent *id = machine_at(machine, page);
	const struct nvme_identify_namespace *ns = machine_at(machine, page);
	const uint64_t *sets = machine_at(machine, page);
	const uint32_t *list = machine_at(machine, page);

	disk->info.read_only = true;
	machine_attach(machine, 2, disk);
	assert_int_equal(identify(machine, NVME_CNS_INDEPENDENT_NAMESPACE, 1, 0, page), 0);
	assert_int_equal(id->nstat, 1);
	assert_int_equal(id->nsattr, 0);
	assert_int_equal(identify(machine, NVME_CNS_INDEPENDENT_NAMESPACE, 2, 0, page), 0);
	assert_int_equal(id->nsattr, 1);
	assert_int_equal(identify(machine, NVME_CNS_INDEPENDENT_NAMESPACE, 3, 0, page), 0);
	assert_zeroes((const uint8_t *)id, 4096);
	assert_int_equal(identify(machine, NVME_CNS_INDEPENDENT_NAMESPACE, NVME_NSID_ALL, 0, page),
			 NVME_INVALID_NAMESPACE);

	assert_int_equal(identify(machine, NVME_CNS_ALLOCATED_LIST, 1, 0, page), 0);
	assert_int_equal(list[0], 2);
	assert_int_equal(list[1], 0);
	assert_int_equal(identify(machine, NVME_CNS_ALLOCATED_NAMESPACE, 2, 0, page), 0);
	assert_int_equal(ns->nsze, MiB / 512);
	machine_disk_free(disk);

	assert_int_equal(identify(machine, NVME_CNS_COMMAND_SETS | 0xffffu << 16, 0, 0, page), 0);
	assert_int_equal(sets[0], 1);
	assert_zeroes((const uint8_t *)&sets[1], 4096 - 8);
	assert_int_equal(identify(machine, NVME_CNS_COMMAND_SETS | 7 << 16, 0, 0, page), 0);
	assert_int_equal(identify(machine, NVME_CNS_COMMAND_SETS | 8 << 16, 0, 0, page),
			 NVME_INVALID_FIELD);
}

static nvme_status get_log(struct machine *machine, uint8_t id, unsigned bytes, uint64_t page)
{
	memset(machine_at(machine, page), 0xff, bytes);
	return machine_execute(machine, 0, machine_get_log(id, bytes, 0, true, page)).status;
}

/* Every page, command and feature that is said to be there is, and no other. */
static void supported_logs_are_those_that_are_there(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1), other = machine_alloc(machine, 1);
	const uint32_t *supported = machine_at(machine, page);

	assert_int_equal(get_log(machine, NVME_LOG_SUPPORTED, 1024, page), 0);
	for (unsigned id = 0; id < 256; id++)
		assert_int_equal(get_log(machine, id, 512, other),
				 supported[id] == 1 ? 0 : NVME_INVALID_FIELD);
}

static void effects_are_of_the_commands_that_are_there(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	const struct nvme_effects_log *effects = machine_at(machine, page);
	struct nvme_command command = machine_get_log(NVME_LOG_EFFECTS, 4096, 0, true, page);

	assert_int_equal(get_log(machine, NVME_LOG_EFFECTS, 4096, page), 0);
	/* Whatever a command says of an empty namespace id and no data, it is not unknown. Those that
	 * would take part of the machine away are left out. */
	for (unsigned opcode = 0; opcode < 256; opcode++) {
		nvme_status status;

		if (opcode != NVME_ADMIN_ASYNC_EVENT && opcode != NVME_ADMIN_DELETE_SQ &&
		    opcode != NVME_ADMIN_DELETE_CQ) {
			status = machine_execute(machine, 0,
						 (struct nvme_command){ .opcode = opcode })
					 .status;
			assert_int_equal(status == NVME_INVALID_OPCODE, !effects->admin[opcode]);
		}
		status = machine_execute(machine, 1, (struct nvme_command){ .opcode = opcode })
				 .status;
		assert_int_equal(status == NVME_INVALID_OPCODE, !effects->io[opcode]);
	}
	assert_int_equal(effects->io[NVME_IO_WRITE], 3);
	assert_int_equal(effects->io[NVME_IO_READ], 1);
	assert_int_equal(effects->admin[NVME_ADMIN_ASYNC_EVENT], 1);
	assert_zeroes(effects->reserved2048, 2048);

	/* Zoned namespaces: with CC.CSS 000b that says nothing, and it is those of the NVM command set. */
	command.cdw14 = 2 << 24;
	memset(machine_at(machine, page), 0xff, 4096);
	assert_status(machine_execute(machine, 0, command), 0);
	assert_int_equal(effects->io[NVME_IO_WRITE], 3);
	assert_zeroes(effects->reserved2048, 2048);
	command.cdw14 = NVME_LOG_INDEX_OFFSET;
	assert_status(machine_execute(machine, 0, command), NVME_INVALID_FIELD);
}

static struct machine_completion feature(struct machine *machine, uint8_t opcode, uint32_t cdw10,
					 uint32_t cdw11, uint64_t page)
{
	return machine_execute(
		machine, 0,
		(struct nvme_command){
			.opcode = opcode, .prp1 = page, .cdw10 = cdw10, .cdw11 = cdw11 });
}

static void feature_effects_are_of_the_features_that_are_there(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1), other = machine_alloc(machine, 1);
	const uint32_t *supported = machine_at(machine, page);

	assert_int_equal(get_log(machine, NVME_LOG_FEATURES, 1024, page), 0);
	for (unsigned id = 0; id < 256; id++) {
		assert_int_equal(feature(machine, NVME_ADMIN_GET_FEATURE, id, 0, other).status,
				 supported[id] ? 0 : NVME_INVALID_FIELD);
		assert_int_equal(feature(machine, NVME_ADMIN_GET_FEATURE, id | 3 << 8, 0, 0).status,
				 supported[id] ? 0 : NVME_INVALID_FIELD);
		if (supported[id])
			assert_int_equal(supported[id], 1 | 1 << 21);
	}
}

static uint64_t get_timestamp(struct machine *machine, uint32_t select, uint64_t page,
			      unsigned *ret_origin)
{
	uint64_t value = 0;

	assert_status(feature(machine, NVME_ADMIN_GET_FEATURE, NVME_FEATURE_TIMESTAMP | select, 0,
			      page),
		      0);
	memcpy(&value, machine_at(machine, page), 6);
	*ret_origin = ((uint8_t *)machine_at(machine, page))[6];
	return value;
}

static void the_timestamp_goes_on(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1), begin = 0x123456789abULL, value;
	unsigned origin;

	value = get_timestamp(machine, 0, page, &origin);
	assert_int_equal(origin, 0);
	assert_true(value < 600000); /* since the reset */
	memset(machine_at(machine, page), 0xff, 8);
	memcpy(machine_at(machine, page), &begin, 6);
	assert_status(feature(machine, NVME_ADMIN_SET_FEATURE, NVME_FEATURE_TIMESTAMP, 0, page), 0);
	value = get_timestamp(machine, 0, page, &origin);
	assert_int_equal(origin, 2); /* set by the host, not interrupted */
	assert_true(value >= begin && value < begin + 600000);
	value = get_timestamp(machine, 1 << 8, page, &origin);
	assert_int_equal(origin, 0);
	assert_status(feature(machine, NVME_ADMIN_SET_FEATURE, NVME_FEATURE_TIMESTAMP, 0, page + 2),
		      NVME_PRP_OFFSET_INVALID);
	assert_status(feature(machine, NVME_ADMIN_SET_FEATURE,
			      NVME_FEATURE_TIMESTAMP | NVME_FEATURE_SAVE, 0, page),
		      NVME_FEATURE_NOT_SAVEABLE);

	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	machine_enable(machine);
	value = get_timestamp(machine, 0, page, &origin);
	assert_int_equal(origin, 0);
	assert_true(value < 600000);
}

static void the_host_says_who_it_is(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	uint8_t *bytes = machine_at(machine, page);

	memcpy(bytes, "0123456789abcdef", 16);
	assert_status(feature(machine, NVME_ADMIN_SET_FEATURE, NVME_FEATURE_HOST_ID, 1, page), 0);
	memset(bytes, 0xff, 4096);
	assert_status(feature(machine, NVME_ADMIN_GET_FEATURE, NVME_FEATURE_HOST_ID, 1, page), 0);
	assert_memory_equal(bytes, "0123456789abcdef\xff", 17);
	memset(bytes, 0xff, 4096);
	assert_status(feature(machine, NVME_ADMIN_GET_FEATURE, NVME_FEATURE_HOST_ID, 0, page), 0);
	assert_memory_equal(bytes, "01234567\xff", 9);
	assert_status(feature(machine, NVME_ADMIN_GET_FEATURE, NVME_FEATURE_HOST_ID | 1 << 8, 1,
			      page),
		      0);
	assert_zeroes(bytes, 16);
}

static void the_host_says_what_it_can(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	uint8_t *bytes = machine_at(machine, page);

	memset(bytes, 0, 512);
	bytes[0] = 1; /* advanced command retry */
	assert_status(feature(machine, NVME_ADMIN_SET_FEATURE, NVME_FEATURE_HOST_BEHAVIOR, 0, page),
		      0);
	memset(bytes, 0xff, 4096);
	assert_status(feature(machine, NVME_ADMIN_GET_FEATURE, NVME_FEATURE_HOST_BEHAVIOR, 0, page),
		      0);
	assert_int_equal(bytes[0], 1);
	assert_zeroes(bytes + 1, 511);
	assert_int_equal(bytes[512], 0xff);
	bytes[0] = 2;
	assert_status(feature(machine, NVME_ADMIN_SET_FEATURE, NVME_FEATURE_HOST_BEHAVIOR, 0, page),
		      NVME_INVALID_FIELD);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)
	const struct CMUnitTest tests[] = {
		test(identify_of_the_command_set),
		test(identify_of_any_command_set),
		test(supported_logs_are_those_that_are_there),
		test(effects_are_of_the_commands_that_are_there),
		test(feature_effects_are_of_the_features_that_are_there),
		test(the_timestamp_goes_on),
		test(the_host_says_who_it_is),
		test(the_host_says_what_it_can),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
