// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

#define SECTOR 512

static nvme_status read_blocks(struct machine *machine, unsigned blocks, uint64_t prp1,
			       uint64_t prp2)
{
	return machine_execute(machine, 1, machine_rw(NVME_IO_READ, 0, blocks, prp1, prp2)).status;
}

/* `bytes` of the disk from `offset` on are at `iova`. */
static void expect(struct machine *machine, uint64_t iova, uint64_t offset, size_t bytes)
{
	assert_memory_equal(machine_at(machine, iova), machine_disk(machine)->data + offset, bytes);
}

static void one_page_at_any_dword(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);

	for (unsigned offset = 0; offset <= 4096 - SECTOR; offset += 4) {
		assert_int_equal(read_blocks(machine, 1, page + offset, 0xdead),
				 0); /* PRP2 unused */
		expect(machine, page + offset, 0, SECTOR);
	}
}

static void two_pages(void **state)
{
	struct machine *machine = *state;
	uint64_t first = machine_alloc(machine, 1), second;

	machine_alloc(machine, 1); /* not neighbours */
	second = machine_alloc(machine, 1);
	assert_int_equal(read_blocks(machine, 16, first, second), 0);
	expect(machine, first, 0, 4096);
	expect(machine, second, 4096, 4096);
	assert_int_equal(machine_disk(machine)->last.iovcnt, 2);
	assert_int_equal(read_blocks(machine, 8, first + 0xe00, second), 0);
	expect(machine, first + 0xe00, 0, 512);
	expect(machine, second, 512, 4096 - 512);
}

static void misaligned_pointers_are_refused(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 2), list = machine_alloc(machine, 1);
	uint64_t *entries = machine_at(machine, list);

	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(read_blocks(machine, 1, page + i, 0), NVME_PRP_OFFSET_INVALID);
	assert_int_equal(read_blocks(machine, 16, page, page + 4096 + 512),
			 NVME_PRP_OFFSET_INVALID);
	for (unsigned i = 0; i < 4; i++)
		entries[i] = page + 4096;
	assert_int_equal(read_blocks(machine, 24, page, list), 0);
	for (unsigned i = 1; i < 8; i++)
		assert_int_equal(read_blocks(machine, 24, page, list + i), NVME_PRP_OFFSET_INVALID);
	entries[1] += 8;
	assert_int_equal(read_blocks(machine, 24, page, list), NVME_PRP_OFFSET_INVALID);
}

static void a_list_may_begin_inside_its_page(void **state)
{
	struct machine *machine = *state;
	uint64_t data = machine_alloc(machine, 8), list = machine_alloc(machine, 1);

	/* Every second page, so that nothing is merged. */
	for (unsigned offset = 0; offset <= 4096 - 16; offset += 8) {
		uint64_t *entries = machine_at(machine, list + offset);

		memset(machine_at(machine, list), 0xff, 4096);
		entries[0] = data + 2 * 4096;
		entries[1] = data + 4 * 4096;
		assert_int_equal(read_blocks(machine, 24, data, list + offset), 0);
		expect(machine, data, 0, 4096);
		expect(machine, data + 2 * 4096, 4096, 4096);
		expect(machine, data + 4 * 4096, 8192, 4096);
	}
}

/* The last entry of a full page is a link when more than one page remains, else data. */
static void lists_are_linked_at_the_page_end(void **state)
{
	struct machine *machine = *state;
	uint64_t data = machine_alloc(machine, 8), list = machine_alloc(machine, 1),
		 more = machine_alloc(machine, 1);
	uint64_t *last = machine_at(machine, list + 4096 - 8), *next = machine_at(machine, more);

	/* One page remains: PRP2 is that page, and no list. */
	assert_int_equal(read_blocks(machine, 10, data, list + 4096 - 8), NVME_PRP_OFFSET_INVALID);

	*last = more;
	next[0] = data + 2 * 4096;
	next[1] = data + 4 * 4096;
	assert_int_equal(read_blocks(machine, 24, data, list + 4096 - 8), 0);
	expect(machine, data + 2 * 4096, 4096, 4096);
	expect(machine, data + 4 * 4096, 8192, 4096);

	*last = more + 8; /* only the first list may begin inside its page */
	assert_int_equal(read_blocks(machine, 24, data, list + 4096 - 8), NVME_PRP_OFFSET_INVALID);
}

/* The longest there is: 1 MiB from a page's last dword on, 257 pages that are nobody's neighbours,
 * one short of filling the list. */
static void the_longest_transfer_fits(void **state)
{
	struct machine *machine = *state;
	uint64_t data = machine_alloc(machine, 520), list = machine_alloc(machine, 1);
	uint64_t *entries = machine_at(machine, list);

	for (unsigned i = 0; i < 512; i++)
		entries[i] = data + (uint64_t)(i < 256 ? (i + 1) * 2 : 0) * 4096;
	assert_int_equal(read_blocks(machine, 2048, data + 4092, list), 0);
	assert_int_equal(machine_disk(machine)->last.iovcnt, 257);
	expect(machine, data + 4092, 0, 4);
	expect(machine, data + 2 * 4096, 4, 4096);
	expect(machine, data + 512 * 4096, MiB - 4092, 4092);
}

static void a_list_that_links_to_itself_ends(void **state)
{
	struct machine *machine = *state;
	uint64_t list = machine_alloc(machine, 1);
	uint64_t *entries = machine_at(machine, list);

	for (unsigned i = 0; i < 512; i++)
		entries[i] = list;
	/* From its last entry on: that is a link to the whole page, where everything is data. */
	assert_int_equal(read_blocks(machine, 2048, list, list + 4096 - 8), 0);
}

static void memory_that_is_not_there_is_refused(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 2), list = machine_alloc(machine, 1);
	uint64_t end = MACHINE_BASE + MACHINE_MEMORY;
	uint64_t *entries = machine_at(machine, list);
	static const uint64_t nowhere[] = { 0, 4096, MACHINE_BASE - 4096, ~0xfffULL };

	for (size_t i = 0; i < ARRAY_SIZE(nowhere); i++) {
		assert_int_equal(read_blocks(machine, 1, nowhere[i], 0), NVME_DATA_TRANSFER_ERROR);
		assert_int_equal(read_blocks(machine, 16, page, nowhere[i]),
				 NVME_DATA_TRANSFER_ERROR);
		assert_int_equal(read_blocks(machine, 24, page, nowhere[i]),
				 NVME_DATA_TRANSFER_ERROR); /* the list */
		entries[0] = page;
		entries[1] = nowhere[i];
		assert_int_equal(read_blocks(machine, 24, page, list), NVME_DATA_TRANSFER_ERROR);
	}
	assert_int_equal(read_blocks(machine, 16, end - 4096, end), NVME_DATA_TRANSFER_ERROR);
	entries[0] = ~0xfffULL; /* a neighbour of 0 */
	entries[1] = 0;
	assert_int_equal(read_blocks(machine, 24, page, list), NVME_DATA_TRANSFER_ERROR);
	assert_int_equal(machine_disk(machine)->submitted, 0);

	machine->hole = page;
	machine->hole_len = 4096;
	assert_int_equal(read_blocks(machine, 1, page, 0), NVME_DATA_TRANSFER_ERROR);
}

static void unaligned_memory_is_bounced_for_direct_io(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 3);

	disk->info.memory_alignment = 512;
	machine_restart(machine, NULL); /* the alignment is read when it is attached */
	machine_attach(machine, 1, disk);
	assert_int_equal(read_blocks(machine, 8, page, 0), 0);
	assert_ptr_equal(disk->last.iov[0].iov_base, machine_at(machine, page));
	assert_int_equal(read_blocks(machine, 8, page + 4, page + 4096), 0);
	assert_ptr_not_equal(disk->last.iov[0].iov_base, machine_at(machine, page + 4));
	expect(machine, page + 4, 0, 4096);
}

/* An address that suits, a length that does not: the block layer would copy it, without a bound. */
static void lengths_are_whole_blocks_for_direct_io(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t page = machine_alloc(machine, 3);

	disk->info.memory_alignment = 4;
	machine_restart(machine, NULL);
	machine_attach(machine, 1, disk);
	assert_int_equal(read_blocks(machine, 8, page + 4, page + 8192), 0);
	for (unsigned i = 0; i < disk->last.iovcnt; i++)
		assert_int_equal(disk->last.iov[i].iov_len % 512, 0);
	expect(machine, page + 4, 0, 4092);
}

static void bounced_data_is_right(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk_new(MiB);
	uint64_t data = machine_alloc(machine, 3);
	struct nvme_command command = machine_rw(NVME_IO_WRITE, 8, 8, data + 4, data + 2 * 4096);
	uint8_t *at;

	disk->info.memory_alignment = 4096;
	machine_attach(machine, 2, disk);
	command.nsid = 2;
	at = machine_at(machine, data);
	for (unsigned i = 0; i < 3 * 4096; i++)
		at[i] = i * 13 + i / 256;
	assert_status(machine_execute(machine, 1, command), 0);
	assert_memory_equal(disk->data + 4096, at + 4, 4092);
	assert_memory_equal(disk->data + 4096 + 4092, at + 2 * 4096, 4);
	memset(at, 0, 3 * 4096);
	command.opcode = NVME_IO_READ;
	assert_status(machine_execute(machine, 1, command), 0);
	assert_memory_equal(disk->data + 4096, at + 4, 4092);
	assert_memory_equal(disk->data + 4096 + 4092, at + 2 * 4096, 4);
	assert_int_equal(at[4096], 0); /* the page between is not touched */
	assert_int_equal(at[2 * 4096 + 4], 0);
	machine_disk_free(disk);
}

static void more_than_there_are_bounce_buffers_wait(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk_new(MiB);
	uint64_t data = machine_alloc(machine, 1);
	struct machine_completion completion;
	unsigned ended = 0;

	disk->info.memory_alignment = 512;
	disk->hold = true;
	machine_attach(machine, 2, disk);
	machine_create_queue(machine, 3, 64);
	for (unsigned i = 0; i < 40; i++) {
		struct nvme_command command = machine_rw(NVME_IO_READ, i, 1, data + 4, 0);

		command.nsid = 2;
		machine_submit(machine, 3, command);
	}
	machine_run(machine);
	assert_true(disk->count > 0 && disk->count < 40);
	while (disk->count) {
		machine_release(machine, disk);
		machine_run(machine);
		while (machine_take(machine, 3, &completion)) {
			assert_status(completion, 0);
			ended++;
		}
	}
	assert_int_equal(ended, 40);
	machine_disk_free(disk);
}

/* No guest memory is mapped: everything goes by message, the queues as well. */
static void memory_by_message(void **state)
{
	struct machine *machine = *state;
	uint64_t data = machine_alloc(machine, 8), list = machine_alloc(machine, 1);
	uint64_t *entries = machine_at(machine, list);
	uint8_t expected[3 * 4096];

	machine->message_reads = machine->message_writes = true;
	machine->host.map_generation++;
	entries[0] = data + 2 * 4096;
	entries[1] = data + 4 * 4096;
	assert_int_equal(read_blocks(machine, 24, data, list), 0);
	expect(machine, data, 0, 4096);
	expect(machine, data + 2 * 4096, 4096, 4096);
	expect(machine, data + 4 * 4096, 8192, 4096);
	assert_true(machine->reads >= 2);  /* the command and the list */
	assert_true(machine->writes >= 4); /* data and the completion */

	memset(machine_at(machine, data), 0x5a, 8 * 4096);
	memset(expected, 0x5a, sizeof(expected));
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_WRITE, 0, 24, data, list)), 0);
	assert_memory_equal(machine_disk(machine)->data, expected, sizeof(expected));
}

/* As while a migration copies memory: read in place, write by message. */
static void writes_by_message(void **state)
{
	struct machine *machine = *state;
	uint64_t data = machine_alloc(machine, 2);
	unsigned before;

	machine->message_writes = true;
	machine->host.map_generation++;
	assert_int_equal(read_blocks(machine, 8, data, 0), 0);
	expect(machine, data, 0, 4096);
	assert_int_equal(machine->reads, 0);
	before = machine->writes;
	assert_status(machine_execute(machine, 1, machine_rw(NVME_IO_WRITE, 0, 8, data + 4096, 0)),
		      0);
	assert_int_equal(machine->writes, before + 1); /* its completion only */
}

/* The queue is in place, and data is still on its way: the completion follows it, by the same way. */
static void a_completion_does_not_overtake_data(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	unsigned before = machine->writes;

	machine->writes_pending = true;
	assert_int_equal(read_blocks(machine, 1, page, 0), 0);
	assert_int_equal(machine->writes, before + 1);
	machine->writes_pending = false;
	assert_int_equal(read_blocks(machine, 1, page, 0), 0);
	assert_int_equal(machine->writes, before + 1);
}

/* A client that executes nothing for a while: what cannot be posted waits, and nobody stands. */
static void data_waits_for_room(void **state)
{
	struct machine *machine = *state;
	uint64_t data = machine_alloc(machine, 4), identity = machine_alloc(machine, 1);
	struct machine_completion completion;
	unsigned before;

	machine->message_writes = true;
	machine->host.map_generation++;
	before = machine->writes;
	machine->no_room = true;
	machine_submit(machine, 1, machine_rw(NVME_IO_READ, 0, 16, data, data + 2 * 4096));
	machine_submit(machine, 0,
		       (struct nvme_command){
			       .opcode = NVME_ADMIN_IDENTIFY, .prp1 = identity, .cdw10 = 1 });
	machine_run(machine); /* the workers sleep */
	assert_int_equal(machine->writes, before);
	machine->no_room = false;
	machine_run(machine);
	expect(machine, data, 0, 4096);
	expect(machine, data + 2 * 4096, 4096, 4096);
	assert_true(machine_take(machine, 1, &completion));
	assert_status(completion, 0);
	assert_true(machine_take(machine, 0, &completion));
	assert_status(completion, 0);
}

/* What the guest has forbidden is not written, and the completion does not come without its data. */
static void data_waits_for_bus_mastering(void **state)
{
	struct machine *machine = *state;
	struct machine_disk *disk = machine_disk(machine);
	uint64_t data = machine_alloc(machine, 1);
	struct machine_completion completion;
	unsigned before;

	machine->message_writes = true;
	machine->host.map_generation++;
	disk->hold = true;
	machine_submit(machine, 1, machine_rw(NVME_IO_READ, 0, 8, data, 0));
	machine_run(machine);
	before = machine->writes;
	nvme_controller_set_bus_master(machine->ctrl, false);
	machine_release(machine, disk);
	machine_run(machine);
	assert_int_equal(machine->writes, before);
	nvme_controller_set_bus_master(machine->ctrl, true);
	machine_run(machine);
	expect(machine, data, 0, 4096);
	assert_true(machine_take(machine, 1, &completion));
	assert_status(completion, 0);
}

static void memory_that_is_read_only_is_not_written(void **state)
{
	struct machine *machine = *state;
	uint64_t data = machine_alloc(machine, 1);
	struct machine_completion completion;

	machine->read_only = true; /* the rings were resolved before */
	assert_int_equal(read_blocks(machine, 8, data, 0), NVME_DATA_TRANSFER_ERROR);
	completion = machine_execute(machine, 1, machine_rw(NVME_IO_WRITE, 0, 8, data, 0));
	assert_status(completion, 0);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, machine_setup_pattern, machine_teardown)
	const struct CMUnitTest tests[] = {
		test(one_page_at_any_dword),
		test(two_pages),
		test(misaligned_pointers_are_refused),
		test(a_list_may_begin_inside_its_page),
		test(lists_are_linked_at_the_page_end),
		test(the_longest_transfer_fits),
		test(a_list_that_links_to_itself_ends),
		test(memory_that_is_not_there_is_refused),
		test(unaligned_memory_is_bounced_for_direct_io),
		test(lengths_are_whole_blocks_for_direct_io),
		test(bounced_data_is_right),
		test(more_than_there_are_bounce_buffers_wait),
		test(memory_by_message),
		test(writes_by_message),
		test(a_completion_does_not_overtake_data),
		test(data_waits_for_room),
		test(data_waits_for_bus_mastering),
		test(memory_that_is_read_only_is_not_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
