// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

#define SECTOR 512

static struct nvme_sgl_descriptor descriptor(uint8_t id, uint64_t address, uint32_t length)
{
	return (struct nvme_sgl_descriptor){ .address = address, .length = length, .id = id };
}

static struct nvme_sgl_descriptor data(uint64_t address, uint32_t length)
{
	return descriptor(NVME_SGL_DATA_BLOCK, address, length);
}

static struct nvme_sgl_descriptor bucket(uint32_t length)
{
	return descriptor(NVME_SGL_BIT_BUCKET, 0, length);
}

static struct nvme_sgl_descriptor last_segment(uint64_t address, unsigned descriptors)
{
	return descriptor(NVME_SGL_LAST_SEGMENT, address, descriptors * 16);
}

static struct nvme_sgl_descriptor segment(uint64_t address, unsigned descriptors)
{
	return descriptor(NVME_SGL_SEGMENT, address, descriptors * 16);
}

static nvme_status execute(struct machine *machine, uint8_t opcode, unsigned blocks,
			   struct nvme_sgl_descriptor first)
{
	struct nvme_command command = machine_rw(opcode, 0, blocks, 0, 0);

	command.flags = NVME_PSDT_SGL;
	memcpy(&command.prp1, &first, sizeof(first));
	return machine_execute(machine, 1, command).status;
}

static nvme_status read_blocks(struct machine *machine, unsigned blocks,
			       struct nvme_sgl_descriptor first)
{
	return execute(machine, NVME_IO_READ, blocks, first);
}

static void expect(struct machine *machine, uint64_t iova, uint64_t offset, size_t bytes)
{
	assert_memory_equal(machine_at(machine, iova), machine_disk(machine)->data + offset, bytes);
}

static void one_block_at_any_byte(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 3);

	for (unsigned offset = 0; offset < 4096; offset += 7) {
		assert_int_equal(read_blocks(machine, 8, data(page + offset, 4096)), 0);
		expect(machine, page + offset, 0, 4096);
	}
	/* More than a page in one piece. */
	assert_int_equal(read_blocks(machine, 16, data(page + 1, 8192)), 0);
	expect(machine, page + 1, 0, 8192);
	assert_int_equal(machine_disk(machine)->last.iovcnt, 1);
}

static void a_list_in_segments(void **state)
{
	struct machine *machine = *state;
	uint64_t memory = machine_alloc(machine, 8), list = machine_alloc(machine, 2);
	struct nvme_sgl_descriptor *first = machine_at(machine, list),
				   *second = machine_at(machine, list + 4096 - 8);

	/* Descriptors cross the page, two neighbours are one, and an empty one is none. */
	first[0] = data(memory + 3, 1000);
	first[1] = data(memory + 1003, 24);
	first[2] = segment(list + 4096 - 8, 3);
	second[0] = data(memory + 2 * 4096, 512);
	second[1] = data(0, 0);
	second[2] = last_segment(list + 512, 1);
	first[32] = data(memory + 4 * 4096, 10000);
	assert_int_equal(read_blocks(machine, 8, segment(list, 3)), 0);
	expect(machine, memory + 3, 0, 1024);
	expect(machine, memory + 2 * 4096, 1024, 512);
	expect(machine, memory + 4 * 4096, 1536, 2560);
	assert_int_equal(machine_disk(machine)->last.iovcnt, 3);
	/* What is longer than the data is not touched. */
	assert_int_equal(*(uint8_t *)machine_at(machine, memory + 4 * 4096 + 2560), 0);
}

static void the_same_for_writes(void **state)
{
	struct machine *machine = *state;
	uint64_t memory = machine_alloc(machine, 8), list = machine_alloc(machine, 1);
	struct nvme_sgl_descriptor *first = machine_at(machine, list);
	uint8_t *bytes = machine_at(machine, memory), *disk = machine_disk(machine)->data;

	for (unsigned i = 0; i < 8 * 4096; i++)
		bytes[i] = i * 13 + i / 256;
	first[0] = data(memory + 3, 1001);
	first[1] = bucket(100); /* nothing of what is sent is left out */
	first[2] = data(memory + 2 * 4096, 3095);
	assert_int_equal(execute(machine, NVME_IO_WRITE, 8, last_segment(list, 3)), 0);
	assert_memory_equal(disk, bytes + 3, 1001);
	assert_memory_equal(disk + 1001, bytes + 2 * 4096, 3095);
	assert_int_equal(execute(machine, NVME_IO_COMPARE, 8, last_segment(list, 3)), 0);
	disk[4095]++;
	assert_int_equal(execute(machine, NVME_IO_COMPARE, 8, last_segment(list, 3)),
			 NVME_COMPARE_FAILURE);
}

static void a_bit_bucket_swallows(void **state)
{
	struct machine *machine = *state;
	uint64_t memory = machine_alloc(machine, 2), list = machine_alloc(machine, 1);
	struct nvme_sgl_descriptor *first = machine_at(machine, list);

	first[0] = bucket(512);
	first[0].address = memory + 4096; /* says nothing */
	first[1] = bucket(5);
	first[2] = data(memory, 1000);
	first[3] = bucket(~0u);
	for (unsigned by_message = 0; by_message < 2; by_message++) {
		machine->message_writes = by_message;
		machine->host.map_generation++;
		memset(machine_at(machine, memory), 0, 8192);
		assert_int_equal(read_blocks(machine, 8, last_segment(list, 4)), 0);
		expect(machine, memory, 517, 1000);
		assert_int_equal(*(uint8_t *)machine_at(machine, memory + 1000), 0);
		assert_int_equal(*(uint8_t *)machine_at(machine, memory + 4097), 0);
	}
	assert_int_equal(read_blocks(machine, 8, bucket(4096)), 0);
}

static void ranges_are_fetched(void **state)
{
	struct machine *machine = *state;
	uint64_t memory = machine_alloc(machine, 2), list = machine_alloc(machine, 1);
	struct nvme_sgl_descriptor *first = machine_at(machine, list);
	struct nvme_dataset_range range = { .blocks = 1, .lba = 3 };
	struct nvme_command command = { .opcode = NVME_IO_DATASET_MANAGEMENT,
					.flags = NVME_PSDT_SGL,
					.nsid = 1,
					.cdw11 = NVME_DATASET_DEALLOCATE };
	struct nvme_sgl_descriptor at = last_segment(list, 2);

	memcpy(machine_at(machine, memory), &range, 5);
	memcpy((uint8_t *)machine_at(machine, memory) + 4096, (uint8_t *)&range + 5, 11);
	first[0] = data(memory, 5);
	first[1] = data(memory + 4096, 11);
	memcpy(&command.prp1, &at, sizeof(at));
	assert_status(machine_execute(machine, 1, command), 0);
	assert_int_equal(machine_disk(machine)->last.op, BLOCK_DISCARD);
	assert_int_equal(machine_disk(machine)->last.offset, 3 * SECTOR);
}

/* As small as a block each: too many for the block layer in place. */
static void many_small_blocks(void **state)
{
	struct machine *machine = *state;
	unsigned count = MiB / 512;
	uint64_t memory = machine_alloc(machine, 520), list = machine_alloc(machine, 16);
	struct nvme_sgl_descriptor *first = machine_at(machine, list);

	for (unsigned i = 0; i < count; i++)
		first[i] = data(memory + i * 1024, 512);
	assert_int_equal(read_blocks(machine, count, last_segment(list, count)), 0);
	for (unsigned i = 0; i < count; i++)
		expect(machine, memory + i * 1024, i * 512, 512);
	/* Each smaller by one: too many. */
	for (unsigned i = 0; i < count; i++)
		first[i].length = 511;
	first[count] = first[count + 1] = data(memory, 1);
	first[count + 2] = data(memory + 4096, 4096);
	assert_int_equal(read_blocks(machine, count, last_segment(list, count + 3)),
			 NVME_SGL_NUMBER_INVALID);
}

static void wrong_lists_are_refused(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1), list = machine_alloc(machine, 2);
	struct nvme_sgl_descriptor *first = machine_at(machine, list);
	uint64_t end = MACHINE_BASE + MACHINE_MEMORY;

	first[0] = data(page, 512);
	first[1] = data(page + 512, 512);
	/* Too short. */
	assert_int_equal(read_blocks(machine, 2, data(page, 1023)), NVME_SGL_LENGTH_INVALID);
	assert_int_equal(read_blocks(machine, 3, last_segment(list, 2)), NVME_SGL_LENGTH_INVALID);
	assert_int_equal(read_blocks(machine, 3, segment(list, 2)), NVME_SGL_LENGTH_INVALID);
	assert_int_equal(execute(machine, NVME_IO_WRITE, 1, bucket(512)), NVME_SGL_LENGTH_INVALID);
	/* Segments of no length, of half a descriptor, at no quadword. */
	assert_int_equal(read_blocks(machine, 1, last_segment(list, 0)), NVME_SGL_SEGMENT_INVALID);
	assert_int_equal(read_blocks(machine, 1, descriptor(NVME_SGL_LAST_SEGMENT, list, 24)),
			 NVME_SGL_SEGMENT_INVALID);
	assert_int_equal(read_blocks(machine, 1, segment(list + 4, 1)), NVME_SGL_SEGMENT_INVALID);
	/* Behind the last one there is none. */
	first[1] = segment(list, 1);
	assert_int_equal(read_blocks(machine, 2, last_segment(list, 2)), NVME_SGL_SEGMENT_INVALID);
	first[1] = last_segment(list, 1);
	assert_int_equal(read_blocks(machine, 2, last_segment(list, 2)), NVME_SGL_SEGMENT_INVALID);
	/* And none in the middle. */
	first[0] = last_segment(list + 16, 1);
	first[1] = data(page, 512);
	assert_int_equal(read_blocks(machine, 1, segment(list, 2)), NVME_SGL_NUMBER_INVALID);
	/* Types that there are not: keyed, of the transport, with offsets, the vendor's. */
	for (unsigned id = 1; id < 256; id++)
		if (id & 15 || id > NVME_SGL_LAST_SEGMENT)
			assert_int_equal(read_blocks(machine, 1, descriptor(id, page, 512)),
					 NVME_SGL_TYPE_INVALID);
	/* Memory that is not there. */
	assert_int_equal(read_blocks(machine, 2, data(end - 512, 1024)), NVME_DATA_TRANSFER_ERROR);
	assert_int_equal(read_blocks(machine, 1, data(-256, 512)), NVME_DATA_TRANSFER_ERROR);
	assert_int_equal(read_blocks(machine, 1, last_segment(end, 1)), NVME_DATA_TRANSFER_ERROR);
	assert_int_equal(read_blocks(machine, 1, last_segment(end - 16, 2)),
			 NVME_DATA_TRANSFER_ERROR);
	first[0] = data(-256, 256); /* a neighbour of 0 */
	first[1] = data(0, 256);
	assert_int_equal(read_blocks(machine, 1, last_segment(list, 2)), NVME_DATA_TRANSFER_ERROR);
	assert_int_equal(machine_disk(machine)->submitted, 0);
}

static void lists_that_never_end_do(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1), list = machine_alloc(machine, 1);
	struct nvme_sgl_descriptor *first = machine_at(machine, list);

	first[0] = segment(list, 1);
	assert_int_equal(read_blocks(machine, 1, segment(list, 1)), NVME_SGL_NUMBER_INVALID);
	first[0] = data(page, 0);
	first[1] = segment(list, 2);
	assert_int_equal(read_blocks(machine, 1, segment(list, 2)), NVME_SGL_NUMBER_INVALID);
	/* One that brings data ends with it. */
	first[0] = data(page, 8);
	assert_int_equal(read_blocks(machine, 1, segment(list, 2)), 0);
}

static void unaligned_memory_is_bounced(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 2);

	disk->info.memory_alignment = 512;
	machine_restart(machine, NULL); /* the alignment is read when it is attached */
	machine_attach(machine, 1, disk);
	assert_int_equal(read_blocks(machine, 8, data(page + 512, 4096)), 0);
	assert_ptr_equal(disk->last.iov[0].iov_base, machine_at(machine, page + 512));
	assert_int_equal(read_blocks(machine, 8, data(page + 1, 4096)), 0);
	expect(machine, page + 1, 0, 4096);
}

/* Section 5: admin commands have PRPs on PCI Express. */
static void not_for_admin_commands(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	struct nvme_sgl_descriptor at = data(page, 4096);
	struct nvme_command command = { .opcode = NVME_ADMIN_IDENTIFY,
					.flags = NVME_PSDT_SGL,
					.cdw10 = NVME_CNS_CONTROLLER };

	memcpy(&command.prp1, &at, sizeof(at));
	assert_status(machine_execute(machine, 0, command), NVME_INVALID_FIELD);
	/* Nor with a list of metadata. */
	for (unsigned flags = 0x80; flags <= 0xc0; flags += 0x40) {
		command = machine_rw(NVME_IO_READ, 0, 1, page, 0);
		command.flags = flags;
		assert_status(machine_execute(machine, 1, command), NVME_INVALID_FIELD);
	}
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, machine_setup_pattern, machine_teardown)
	const struct CMUnitTest tests[] = {
		test(one_block_at_any_byte),	   test(a_list_in_segments),
		test(the_same_for_writes),	   test(a_bit_bucket_swallows),
		test(ranges_are_fetched),	   test(many_small_blocks),
		test(wrong_lists_are_refused),	   test(lists_that_never_end_do),
		test(unaligned_memory_is_bounced), test(not_for_admin_commands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
