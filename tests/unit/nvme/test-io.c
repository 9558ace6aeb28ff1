// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

#define BLOCKS (8 * MiB / 512)

static void fill(void *at, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		((uint8_t *)at)[i] = (i * 7 + i / 251 + seed) & 0xff;
}

static void writes_and_reads_back(void **state)
{
	struct machine *machine = *state;
	uint64_t from = machine_alloc(machine, 1), to = machine_alloc(machine, 1);
	struct nvme_namespace_counters counters;

	fill(machine_at(machine, from), 4096, 1);
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_WRITE, 100, 8, from, 0)), 0);
	assert_memory_equal(machine_disk(machine)->data + 100 * 512, machine_at(machine, from),
			    4096);
	assert_status(machine_execute(machine, 2, machine_rw(NVME_IO_READ, 100, 8, to, 0)), 0);
	assert_memory_equal(machine_at(machine, to), machine_at(machine, from), 4096);

	assert_int_equal(nvme_controller_counters(machine->ctrl, 1, &counters), 0);
	assert_int_equal(counters.write_commands, 1);
	assert_int_equal(counters.write_bytes, 4096);
	assert_int_equal(counters.read_commands, 1);
	assert_int_equal(counters.read_bytes, 4096);
	assert_int_equal(nvme_controller_counters(machine->ctrl, 0, &counters), -ENOENT);
	assert_int_equal(nvme_controller_counters(machine->ctrl, 2, &counters), -ENOENT);
}

static void reaches_the_last_block_and_no_further(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 2);
	static const struct {
		uint64_t lba;
		unsigned blocks;
		nvme_status status;
	} cases[] = {
		{ BLOCKS - 1, 1, 0 },
		{ BLOCKS - 8, 8, 0 },
		{ BLOCKS - 7, 8, NVME_LBA_OUT_OF_RANGE },
		{ BLOCKS, 1, NVME_LBA_OUT_OF_RANGE },
		{ UINT64_MAX, 1, NVME_LBA_OUT_OF_RANGE },
		{ UINT64_MAX, 2, NVME_LBA_OUT_OF_RANGE }, /* the sum wraps to 1 */
		{ UINT64_MAX - 7, 8, NVME_LBA_OUT_OF_RANGE },
		{ 1ULL << 55, 1, NVME_LBA_OUT_OF_RANGE }, /* the offset in bytes wraps */
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine_completion completion = machine_execute(
			machine, 1,
			machine_rw(NVME_IO_READ, cases[i].lba, cases[i].blocks, page, 0));

		assert_status(completion, cases[i].status);
		assert_int_equal(completion.dnr, cases[i].status != 0);
	}
}

static void knows_its_namespaces(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	static const struct {
		uint32_t nsid;
		nvme_status status;
	} cases[] = {
		{ 0, NVME_INVALID_NAMESPACE },
		{ 2, NVME_INVALID_FIELD }, /* possible, not attached */
		{ NVME_MAX_NAMESPACES, NVME_INVALID_FIELD },
		{ NVME_MAX_NAMESPACES + 1, NVME_INVALID_NAMESPACE },
		{ NVME_NSID_ALL, NVME_INVALID_NAMESPACE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct nvme_command read = machine_rw(NVME_IO_READ, 0, 1, page, 0);
		struct nvme_command flush = { .opcode = NVME_IO_FLUSH };

		read.nsid = flush.nsid = cases[i].nsid;
		assert_status(machine_execute(machine, 1, read), cases[i].status);
		assert_status(machine_execute(machine, 1, flush), cases[i].status);
	}
}

/* Of each read before the command ahead of it is executed; and only of what is there. */
static void tells_the_disk_what_comes_next(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 2);
	struct nvme_command other = machine_rw(NVME_IO_READ, 0, 1, page, 0);

	other.nsid = 2;
	machine_put(machine, 1, machine_rw(NVME_IO_READ, 3, 8, page, 0));
	machine_put(machine, 1, machine_rw(NVME_IO_READ, BLOCKS - 1, 1, page, 0));
	machine_put(machine, 1, machine_rw(NVME_IO_WRITE, 7, 1, page, 0));
	machine_put(machine, 1, (struct nvme_command){ .opcode = NVME_IO_FLUSH, .nsid = 1 });
	machine_put(machine, 1, other);
	machine_put(machine, 1, machine_rw(NVME_IO_READ, UINT64_MAX, 2, page, 0));
	machine_put(machine, 1, machine_rw(NVME_IO_READ, 5, 1, page, 0));
	machine_ring(machine, 1);
	machine_run(machine);
	assert_int_equal(disk->submitted, 5);
	assert_int_equal(disk->hint_count, 3);
	for (unsigned i = 0; i < 3; i++) {
		static const struct {
			uint64_t offset, bytes;
			unsigned submitted;
		} expected[] = { { 3 * 512, 4096, 0 },
				 { (BLOCKS - 1) * 512, 512, 0 },
				 { 5 * 512, 512, 4 } };

		assert_int_equal(disk->hints[i].offset, expected[i].offset);
		assert_int_equal(disk->hints[i].bytes, expected[i].bytes);
		assert_int_equal(disk->hints[i].submitted, expected[i].submitted);
	}
}

/* What is read is durable from then on. */
static void reads_with_fua_write_the_cache_first(void **state)
{
	static const uint8_t opcodes[] = { NVME_IO_READ, NVME_IO_COMPARE, NVME_IO_VERIFY };
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion;
	struct nvme_command command;

	for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++) {
		command = machine_rw(opcodes[i], 3, 1, page, 0);
		command.cdw12 |= NVME_RW_FUA;
		disk->hold = true;
		machine_submit(machine, 1, command);
		machine_run(machine);
		assert_int_equal(disk->last.op, BLOCK_FLUSH);
		machine_release(machine, disk);
		assert_int_equal(disk->last.op, BLOCK_READ);
		assert_int_equal(disk->last.offset, 3 * 512);
		assert_int_equal(disk->last.bytes, 512);
		machine_release(machine, disk);
		machine_run(machine);
		assert_true(machine_take(machine, 1, &completion));
		assert_status(completion, 0);
		disk->hold = false;

		disk->result = -EIO;
		assert_status(machine_execute(machine, 1, command), NVME_WRITE_FAULT);
		disk->result = 0;
	}
	/* A reset comes between. */
	disk->hold = true;
	command = machine_rw(NVME_IO_READ, 0, 1, page, 0);
	command.cdw12 |= NVME_RW_FUA;
	machine_submit(machine, 1, command);
	machine_run(machine);
	machine_write32(machine, NVME_REG_CC, 0);
	machine_run(machine);
	machine_release(machine, disk);
	assert_int_equal(disk->count, 0);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), 0);
}

static void refuses_what_it_does_not_have(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	struct nvme_command command = machine_rw(NVME_IO_READ, 0, 1, page, 0);

	command.flags = 0x80; /* an SGL of metadata */
	assert_status(machine_execute(machine, 1, command), NVME_INVALID_FIELD);
	command.flags = 0x03; /* fused as nothing is */
	assert_status(machine_execute(machine, 1, command), NVME_INVALID_FIELD);
	command.flags = 0;
	for (unsigned opcode = 3; opcode < 256; opcode++) {
		if (opcode == NVME_IO_COMPARE || opcode == NVME_IO_WRITE_ZEROES ||
		    opcode == NVME_IO_DATASET_MANAGEMENT || opcode == NVME_IO_VERIFY ||
		    opcode == NVME_IO_COPY)
			continue;
		command.opcode = opcode;
		assert_status(machine_execute(machine, 1, command), NVME_INVALID_OPCODE);
	}
}

static void keeps_to_mdts(void **state)
{
	struct machine *machine = *state;
	uint64_t list = machine_alloc(machine, 1), data = machine_alloc(machine, 256);
	uint64_t *entries = machine_at(machine, list);

	for (unsigned i = 0; i < 255; i++)
		entries[i] = data + (i + 1) * 4096;
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_READ, 0, 2048, data, list)),
		      0);
	assert_int_equal(machine_disk(machine)->last.bytes, MiB);
	assert_int_equal(machine_disk(machine)->last.iovcnt, 1); /* neighbours are merged */
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_READ, 0, 2049, data, list)),
		      NVME_INVALID_FIELD);
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_READ, 0, 65536, data, list)),
		      NVME_INVALID_FIELD);
}

static void fua_and_flush_reach_the_disk(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 1);
	struct nvme_command write = machine_rw(NVME_IO_WRITE, 0, 1, page, 0);
	struct nvme_command flush = { .opcode = NVME_IO_FLUSH, .nsid = 1 };
	struct nvme_command no_cache = { .opcode = NVME_ADMIN_SET_FEATURE,
					 .cdw10 = NVME_FEATURE_WRITE_CACHE };

	assert_status(machine_execute(machine, 1, write), 0);
	assert_int_equal(disk->last.flags, 0);
	write.cdw12 |= NVME_RW_FUA;
	assert_status(machine_execute(machine, 1, write), 0);
	assert_int_equal(disk->last.flags, BLOCK_FUA);
	assert_status(machine_execute(machine, 1, flush), 0);
	assert_int_equal(disk->last.op, BLOCK_FLUSH);

	write.cdw12 &= ~NVME_RW_FUA;
	assert_status(machine_execute(machine, 0, no_cache), 0);
	assert_status(machine_execute(machine, 1, write), 0);
	assert_int_equal(disk->last.flags, BLOCK_FUA);
}

static void errors_become_status(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 1);
	struct nvme_namespace_counters counters;
	static const struct {
		uint8_t opcode;
		int result;
		nvme_status status;
	} cases[] = {
		{ NVME_IO_WRITE, -ENOSPC, NVME_CAPACITY_EXCEEDED },
		{ NVME_IO_WRITE, -EDQUOT, NVME_CAPACITY_EXCEEDED },
		{ NVME_IO_WRITE, -EIO, NVME_WRITE_FAULT },
		{ NVME_IO_FLUSH, -EIO, NVME_WRITE_FAULT },
		{ NVME_IO_READ, -EIO, NVME_UNRECOVERED_READ },
		{ NVME_IO_WRITE, -EROFS, NVME_WRITE_PROTECTED },
		{ NVME_IO_READ, -ENOMEM, NVME_INTERNAL_ERROR },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		disk->result = cases[i].result;
		assert_status(machine_execute(machine, 1,
					      machine_rw(cases[i].opcode, 0, 1, page, 0)),
			      cases[i].status);
	}
	nvme_controller_counters(machine->ctrl, 1, &counters);
	assert_int_equal(counters.errors, ARRAY_SIZE(cases));
	assert_int_equal(counters.read_commands + counters.write_commands, 0);
}

static void read_only_is_read_only(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk_new(MiB);
	uint64_t page = machine_alloc(machine, 1);
	struct nvme_command command = machine_rw(NVME_IO_WRITE, 0, 1, page, 0);

	disk->info.read_only = true;
	machine_attach(machine, 2, disk);
	command.nsid = 2;
	assert_status(machine_execute(machine, 1, command), NVME_WRITE_PROTECTED);
	command.opcode = NVME_IO_READ;
	assert_status(machine_execute(machine, 1, command), 0);
	machine_disk_free(disk);
}

static void has_blocks_of_4096(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk_new(MiB);
	uint64_t page = machine_alloc(machine, 1);
	struct nvme_command command = machine_rw(NVME_IO_READ, 255, 1, page, 0);

	disk->info.block_size = 4096;
	machine_attach(machine, 2, disk);
	command.nsid = 2;
	assert_status(machine_execute(machine, 1, command), 0);
	assert_int_equal(disk->last.offset, 255 * 4096);
	assert_int_equal(disk->last.bytes, 4096);
	command.cdw10 = 256;
	assert_status(machine_execute(machine, 1, command), NVME_LBA_OUT_OF_RANGE);
	machine_disk_free(disk);
}

/* The guest rewrites its submission queue as soon as we look at its memory. */
static void rewrite_commands(struct machine *machine)
{
	struct nvme_command *slots = machine_at(machine, machine->queues[1].sq);

	for (unsigned i = 0; i < MACHINE_ENTRIES; i++) {
		slots[i].cdw10 = BLOCKS - 1;
		slots[i].cdw12 = 7;
		slots[i].nsid = 1;
		slots[i].prp1 = 0;
	}
}

static void looks_at_a_command_once(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);

	machine->meanwhile = rewrite_commands;
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_READ, 3, 1, page, 0)), 0);
	assert_int_equal(machine_disk(machine)->last.offset, 3 * 512);
	assert_int_equal(machine_disk(machine)->last.bytes, 512);
	machine->meanwhile = NULL;
}

static void many_are_in_flight_and_end_out_of_order(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 1);
	struct machine_completion completion;
	uint16_t first;

	disk->hold = true;
	first = machine_put(machine, 1, machine_rw(NVME_IO_READ, 0, 1, page, 0));
	for (unsigned i = 1; i < MACHINE_ENTRIES - 1; i++)
		machine_put(machine, 1, machine_rw(NVME_IO_READ, i, 1, page, 0));
	machine_ring(machine, 1);
	machine_run(machine);
	assert_int_equal(disk->count, MACHINE_ENTRIES - 1);
	assert_int_equal(nvme_worker_in_flight(machine->workers[0]), MACHINE_ENTRIES - 1);
	assert_false(machine_take(machine, 1, &completion));

	/* The youngest first. */
	for (unsigned i = MACHINE_ENTRIES - 1; i-- > 0;) {
		struct block_request *request = disk->held[i];

		disk->count--;
		request->done(request, 0);
		machine_run(machine);
		assert_true(machine_take(machine, 1, &completion));
		assert_int_equal(completion.cid, (uint16_t)(first + i));
		assert_int_equal(completion.sq_head, MACHINE_ENTRIES - 1);
	}
	assert_int_equal(nvme_worker_in_flight(machine->workers[0]), 0);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)
	const struct CMUnitTest tests[] = {
		test(writes_and_reads_back),
		test(reaches_the_last_block_and_no_further),
		test(knows_its_namespaces),
		test(tells_the_disk_what_comes_next),
		test(reads_with_fua_write_the_cache_first),
		test(refuses_what_it_does_not_have),
		test(keeps_to_mdts),
		test(fua_and_flush_reach_the_disk),
		test(errors_become_status),
		test(read_only_is_read_only),
		test(has_blocks_of_4096),
		test(looks_at_a_command_once),
		test(many_are_in_flight_and_end_out_of_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
