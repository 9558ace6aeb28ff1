// SPDX-License-Identifier: LGPL-2.1-or-later
#include <string.h>

#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

/*
 * Random I/O commands, right and wrong, and a reference that predicts the status of each, its entry in
 * the error log, every byte of the disks and every byte of the guest's memory after it. One command at a time: what several of
 * them do to each other is the subject of test-crash.
 *
 * VIRTNVME_MODEL_COMMANDS=N in the environment makes N commands instead of a few thousand,
 * VIRTNVME_MODEL_SEED=N other ones. A failure prints what was sent.
 */
#define COMMANDS   3000
#define DISKS	   2
#define DISK_BYTES (512 * KiB)
#define DATA_PAGES 96 /* what commands name as data */
#define LIST_PAGES 24 /* and their lists */
#define MAX_PIECES 600
#define TRY_AGAIN  0xffff
#define NOWHERE	   (MACHINE_BASE - 16 * 4096)

/* A piece of a command's data in the guest's memory, as its pointers describe it. */
struct piece {
	uint64_t iova;
	uint32_t len;
	bool bucket;
};

static struct {
	struct machine *machine;
	struct machine_disk *disks[DISKS];
	uint8_t *bytes[DISKS]; /* what must be on them */
	unsigned shifts[DISKS];
	uint64_t data, lists;
	uint8_t *memory; /* what must be in the data pages */
	uint32_t random;
	struct piece pieces[MAX_PIECES];
	unsigned count;
	unsigned list_used; /* bytes of the list pages */
	uint16_t pages[DATA_PAGES];
	unsigned page;
	uint64_t log, errors;
} model;

static uint32_t choose(uint32_t n)
{
	model.random = model.random * 1664525u + 1013904223u;
	return (uint64_t)(model.random >> 4) * n >> 28;
}

static bool seldom(unsigned n)
{
	return choose(n) == 0;
}

static unsigned shift_of(unsigned disk)
{
	return model.shifts[disk];
}

/*
 * Data pointers. Each returns the status that it must lead to; at most one thing is wrong with one.
 */
static void shuffle_pages(void)
{
	for (unsigned i = 0; i < DATA_PAGES; i++)
		model.pages[i] = i;
	for (unsigned i = DATA_PAGES - 1; i > 0; i--) {
		unsigned other = choose(i + 1), page = model.pages[i];

		model.pages[i] = model.pages[other];
		model.pages[other] = page;
	}
	model.page = 0;
}

static uint64_t next_page(void)
{
	assert_true(model.page < DATA_PAGES);
	return model.data + model.pages[model.page++] * 4096ULL;
}

static void add_piece(uint64_t iova, uint32_t len, bool bucket)
{
	assert_true(model.count < MAX_PIECES);
	model.pieces[model.count++] = (struct piece){ iova, len, bucket };
}

static nvme_status make_prps(struct nvme_command *command, uint32_t bytes)
{
	unsigned wrong = choose(40); /* 0: an offset, 1: nowhere */
	uint32_t offset = choose(3) ? 0 : choose(1024) * 4, left = bytes, len;
	uint64_t list = model.lists + choose(512) * 8, *entry;
	unsigned pages;

	len = MIN(left, 4096 - offset);
	command->prp1 = next_page() + offset;
	add_piece(command->prp1, len, false);
	left -= len;
	pages = DIV_ROUND_UP(left, 4096);
	if (!pages) {
		command->prp2 = choose(2) ? 0x123456789 : 0; /* not looked at */
		if (wrong == 0)
			command->prp1 |= 1 + choose(3);
		else if (wrong == 1)
			command->prp1 = NOWHERE;
	} else if (pages == 1) {
		command->prp2 = next_page();
		add_piece(command->prp2, left, false);
		if (wrong == 0)
			command->prp2 += 4 * (1 + choose(1023));
		else if (wrong == 1)
			command->prp2 = NOWHERE;
	} else {
		unsigned bad = choose(pages);

		command->prp2 = list;
		for (unsigned i = 0; i < pages; i++) {
			/* The last entry of a page leads on when more than one is left. */
			if (list % 4096 == 4088 && i < pages - 1) {
				*(uint64_t *)machine_at(model.machine, list) =
					ROUND_UP(list, 4096) + 4096;
				list = ROUND_UP(list, 4096) + 4096;
			}
			entry = machine_at(model.machine, list);
			*entry = next_page();
			add_piece(*entry, MIN(left, 4096u), false);
			left -= MIN(left, 4096u);
			if (i == bad && wrong == 0)
				*entry += 8 * (1 + choose(511));
			else if (i == bad && wrong == 1)
				*entry = NOWHERE;
			list += 8;
		}
	}
	return wrong == 0   ? NVME_PRP_OFFSET_INVALID
	       : wrong == 1 ? NVME_DATA_TRANSFER_ERROR
			    : NVME_SUCCESS;
}

static struct nvme_sgl_descriptor *new_list(unsigned descriptors, uint64_t *ret_iova)
{
	*ret_iova = model.lists + model.list_used + choose(2) * 8;
	model.list_used += (descriptors + 1) * 16;
	assert_true(model.list_used <= LIST_PAGES * 4096);
	return machine_at(model.machine, *ret_iova);
}

/* A data block, a bit bucket of what is read, or an empty one. Return: how much it describes. */
static uint32_t make_descriptor(struct nvme_sgl_descriptor *descriptor, uint32_t left, bool is_read)
{
	uint32_t len = 1 + choose(seldom(3) ? 64 : 4096), offset;

	*descriptor = (struct nvme_sgl_descriptor){ .length = len };
	if (seldom(8)) {
		descriptor->id = NVME_SGL_BIT_BUCKET;
		descriptor->address = model.data; /* says nothing */
		if (is_read)
			add_piece(0, MIN(len, left), true);
		return is_read ? MIN(len, left) : 0;
	}
	if (seldom(12)) {
		descriptor->length = 0;
		return 0;
	}
	offset = choose(4097 - len);
	descriptor->address = next_page() + offset;
	add_piece(descriptor->address, MIN(len, left), false);
	return MIN(len, left);
}

/* The descriptors in segments of random lengths; the first leads to them, or is the only one. */
static struct nvme_sgl_descriptor make_segments(const struct nvme_sgl_descriptor *all,
						unsigned count)
{
	struct nvme_sgl_descriptor first, *leads = &first, *segment;
	unsigned at = 0, n;
	uint64_t iova;

	if (count == 1 && choose(2))
		return all[0];
	for (; at < count; at += n) {
		bool last;

		n = choose(2) ? count - at : 1 + choose(count - at);
		last = n == count - at;
		segment = new_list(n + !last, &iova);
		memcpy(segment, &all[at], n * sizeof(*segment));
		*leads = (struct nvme_sgl_descriptor){
			.address = iova,
			.length = (n + !last) * 16,
			.id = last ? NVME_SGL_LAST_SEGMENT : NVME_SGL_SEGMENT,
		};
		leads = &segment[n];
	}
	return first;
}

static nvme_status make_sgl(struct nvme_command *command, uint32_t bytes, bool is_read)
{
	struct nvme_sgl_descriptor all[DATA_PAGES * 3], first, *any;
	nvme_status status = NVME_SUCCESS;
	unsigned count = 0, wrong = choose(40);
	uint32_t left = bytes;

	while (left && model.page < DATA_PAGES && count < ARRAY_SIZE(all))
		left -= make_descriptor(&all[count++], left, is_read);
	if (left)
		return TRY_AGAIN; /* too large for this */
	any = &all[choose(count)];
	if (wrong == 0 && count > 1) {
		count--; /* it brought the last bytes */
		status = NVME_SGL_LENGTH_INVALID;
	} else if (wrong == 1) {
		any->id = 0x40 + choose(0xc0);
		status = NVME_SGL_TYPE_INVALID;
	} else if (wrong == 2 && !any->id && any->length) {
		any->address = NOWHERE;
		status = NVME_DATA_TRANSFER_ERROR;
	}
	first = make_segments(all, count);
	if (!status && wrong == 3 && first.id >= NVME_SGL_SEGMENT) {
		first.length += 1 + choose(15);
		status = NVME_SGL_SEGMENT_INVALID;
	}
	command->flags |= NVME_PSDT_SGL;
	memcpy(&command->prp1, &first, sizeof(first));
	return status;
}

static nvme_status make_pointer(struct nvme_command *command, uint32_t bytes, bool is_read)
{
	uint8_t flags = command->flags;
	nvme_status status = TRY_AGAIN;

	while (status == TRY_AGAIN) {
		shuffle_pages();
		model.count = model.list_used = 0;
		command->flags = flags;
		status = bytes <= 64 * KiB && choose(2) ? make_sgl(command, bytes, is_read)
							: make_prps(command, bytes);
	}
	return status;
}

/* Between the pieces and one array: @to_guest, or from it. */
static void move(uint8_t *array, bool to_guest)
{
	for (unsigned i = 0; i < model.count; i++) {
		const struct piece *piece = &model.pieces[i];
		uint8_t *at = model.memory + (piece->iova - model.data);

		if (!piece->bucket && to_guest)
			memcpy(at, array, piece->len);
		else if (!piece->bucket)
			memcpy(array, at, piece->len);
		array += piece->len;
	}
}

/* The guest writes its data. */
static void put(const void *array)
{
	move((uint8_t *)array, true);
	memcpy(machine_at(model.machine, model.data), model.memory, DATA_PAGES * 4096);
}

/*
 * Commands
 */
static uint64_t lba_of(const struct nvme_command *command)
{
	return command->cdw10 | (uint64_t)command->cdw11 << 32;
}

static uint8_t *block_at(unsigned disk, uint64_t lba)
{
	return model.bytes[disk] + (lba << shift_of(disk));
}

/* So many blocks somewhere, of so many bytes at most; seldom too many, or not all there. */
static nvme_status make_blocks(struct nvme_command *command, unsigned disk, uint32_t most,
			       bool has_data)
{
	unsigned shift = shift_of(disk), all = DISK_BYTES >> shift, blocks;
	uint64_t lba;
	nvme_status status = NVME_SUCCESS;

	blocks = 1 + choose(seldom(8) ? most >> shift : MIN(most >> shift, 16u));
	lba = choose(all - blocks + 1);
	if (seldom(60)) {
		lba = all - blocks + 1 + choose(blocks);
		status = NVME_LBA_OUT_OF_RANGE;
	} else if (seldom(60)) {
		lba = -(uint64_t)choose(blocks + 1) - 1;
		status = NVME_LBA_OUT_OF_RANGE;
	} else if (has_data && seldom(60)) {
		blocks = (MiB >> shift) + 1 + choose(1000);
		status = NVME_INVALID_FIELD;
	}
	command->cdw10 = lba;
	command->cdw11 = lba >> 32;
	command->cdw12 = (blocks - 1) | (seldom(8) ? NVME_RW_FUA : 0);
	return status;
}

static uint32_t bytes_of(const struct nvme_command *command, unsigned disk)
{
	return ((command->cdw12 & 0xffff) + 1) << shift_of(disk);
}

static void fill_random(uint8_t *bytes, size_t len)
{
	uint32_t word = choose(1u << 28);

	for (size_t i = 0; i < len; i++)
		bytes[i] = word = word * 1664525u + 1013904223u + (word >> 20);
}

/* The newest entry of the error log is this one. */
static void check_the_log(const struct nvme_command *command, struct machine_completion completion)
{
	const struct nvme_error_entry *entry = machine_at(model.machine, model.log);

	assert_status(machine_execute(model.machine, 0,
				      machine_get_log(NVME_LOG_ERROR, sizeof(*entry), 0, true,
						      model.log)),
		      0);
	assert_int_equal(entry->count, model.errors);
	assert_int_equal(entry->sqid, 1);
	assert_int_equal(entry->cid, completion.cid);
	assert_int_equal(entry->nsid, command->nsid);
	assert_int_equal(entry->status >> 1 & 0x7ff, completion.status);
}

static nvme_status execute(const struct nvme_command *command)
{
	struct machine_completion completion = machine_execute(model.machine, 1, *command);

	if (completion.status) {
		model.errors++;
		check_the_log(command, completion);
	}
	return completion.status;
}

static void expect_status(const struct nvme_command *command, nvme_status status,
			  nvme_status expected)
{
	if (status == expected)
		return;
	print_error("opcode 0x%x flags 0x%x nsid %u cdw10 0x%x 0x%x 0x%x prp 0x%llx 0x%llx: status "
		    "0x%x, not 0x%x\n",
		    command->opcode, command->flags, command->nsid, command->cdw10, command->cdw11,
		    command->cdw12, (unsigned long long)command->prp1,
		    (unsigned long long)command->prp2, status, expected);
	fail();
}

static void read_blocks(struct nvme_command *command, unsigned disk)
{
	nvme_status expected = make_blocks(command, disk, 256 * KiB, true);

	if (!expected)
		expected = make_pointer(command, bytes_of(command, disk), true);
	expect_status(command, execute(command), expected);
	if (!expected)
		move(block_at(disk, lba_of(command)), true);
}

static void write_blocks(struct nvme_command *command, unsigned disk)
{
	nvme_status expected = make_blocks(command, disk, 256 * KiB, true);
	uint8_t *bytes = malloc(256 * KiB);

	if (!expected) {
		expected = make_pointer(command, bytes_of(command, disk), false);
		fill_random(bytes, bytes_of(command, disk));
		put(bytes);
	}
	expect_status(command, execute(command), expected);
	/* Pieces may share a page's bytes: what counts is what is there. */
	if (!expected)
		move(block_at(disk, lba_of(command)), false);
	free(bytes);
}

static void compare_blocks(struct nvme_command *command, unsigned disk)
{
	nvme_status expected = make_blocks(command, disk, 256 * KiB, true), status;
	uint8_t *bytes = malloc(256 * KiB);
	bool differs = choose(2);
	uint32_t len = 0;

	if (!expected) {
		len = bytes_of(command, disk);
		expected = make_pointer(command, len, false);
		memcpy(bytes, block_at(disk, lba_of(command)), len);
		if (differs)
			bytes[choose(len)] ^= 1 + choose(255);
		put(bytes);
	}
	status = execute(command);
	if (differs && len && expected == NVME_DATA_TRANSFER_ERROR &&
	    status == NVME_COMPARE_FAILURE)
		expected = status; /* it was found before */
	else if (differs && !expected)
		expected = NVME_COMPARE_FAILURE;
	expect_status(command, status, expected);
	free(bytes);
}

/* Two pages at most, of which the model knows what is in them. */
static void use_pages(struct nvme_command *command, const uint8_t *bytes, uint32_t len)
{
	command->prp1 = next_page();
	command->prp2 = next_page();
	model.count = 0;
	add_piece(command->prp1, MIN(len, 4096u), false);
	if (len > 4096)
		add_piece(command->prp2, len - 4096, false);
	put(bytes);
}

static void expect_half(const struct nvme_command *command, uint16_t cid, nvme_status expected)
{
	struct machine_completion completion;

	assert_true(machine_take(model.machine, 1, &completion));
	assert_int_equal(completion.cid, cid);
	expect_status(command, completion.status, expected);
	model.errors += expected != 0;
}

static void compare_and_write(struct nvme_command *command, unsigned disk)
{
	nvme_status expected = make_blocks(command, disk, 8 * KiB, true);
	struct nvme_command write = *command;
	uint8_t bytes[8 * KiB], written[8 * KiB];
	uint32_t len = expected ? sizeof(bytes) : bytes_of(command, disk);
	uint16_t first;

	command->flags = NVME_FUSE_FIRST;
	write.opcode = NVME_IO_WRITE;
	write.flags = NVME_FUSE_SECOND;
	fill_random(written, len);
	fill_random(bytes, len);
	if (!expected)
		memcpy(bytes, block_at(disk, lba_of(command)), len);
	if (!expected && choose(2)) {
		bytes[choose(len)] ^= 1 + choose(255);
		expected = NVME_COMPARE_FAILURE;
	}
	shuffle_pages();
	use_pages(command, bytes, len);
	use_pages(&write, written, len);
	first = machine_put(model.machine, 1, *command);
	machine_submit(model.machine, 1, write);
	machine_run(model.machine);
	expect_half(command, first, expected);
	expect_half(&write, first + 1, expected ? NVME_FAILED_FUSED : NVME_SUCCESS);
	if (!expected)
		memcpy(block_at(disk, lba_of(command)), written, len);
}

static void zero_blocks(struct nvme_command *command, unsigned disk)
{
	nvme_status expected = make_blocks(command, disk, DISK_BYTES, false);

	if (choose(2))
		command->cdw12 |= NVME_ZEROES_DEALLOCATE;
	expect_status(command, execute(command), expected);
	if (!expected)
		memset(block_at(disk, lba_of(command)), 0, bytes_of(command, disk));
}

static void verify_blocks(struct nvme_command *command, unsigned disk)
{
	nvme_status expected = make_blocks(command, disk, DISK_BYTES, false);

	expect_status(command, execute(command), expected);
}

static void deallocate(struct nvme_command *command, unsigned disk)
{
	struct nvme_dataset_range ranges[NVME_DATASET_MAX_RANGES] = { 0 };
	unsigned count = 1 + choose(seldom(4) ? 256 : 4), all = DISK_BYTES >> shift_of(disk);
	nvme_status expected = make_pointer(command, count * sizeof(ranges[0]), false);
	bool outside = seldom(20);

	for (unsigned i = 0; i < count; i++) {
		ranges[i].blocks = choose(8);
		ranges[i].lba = choose(all - ranges[i].blocks + 1);
	}
	if (outside)
		ranges[choose(count)].lba = seldom(2) ? ~0ULL : all + 1;
	if (outside && !expected)
		expected = NVME_LBA_OUT_OF_RANGE;
	put(ranges);
	command->cdw10 = count - 1;
	command->cdw11 = NVME_DATASET_DEALLOCATE | choose(4);
	expect_status(command, execute(command), expected);
	for (unsigned i = 0; !expected && i < count; i++)
		memset(block_at(disk, ranges[i].lba), 0,
		       (size_t)ranges[i].blocks << shift_of(disk));
}

static void copy_blocks(struct nvme_command *command, unsigned disk)
{
	struct nvme_copy_range ranges[64] = { 0 };
	unsigned count = 1 + choose(seldom(4) ? 64 : 4), all = DISK_BYTES >> shift_of(disk);
	unsigned most = all / 2 / count, sum = 0;
	nvme_status expected = make_pointer(command, count * sizeof(ranges[0]), false);
	nvme_status judged = NVME_SUCCESS;
	uint64_t to;
	uint8_t *at;

	for (unsigned i = 0; i < count; i++) {
		ranges[i].blocks = choose(MIN(most, 16u));
		ranges[i].lba = choose(all - ranges[i].blocks);
		sum += ranges[i].blocks + 1;
	}
	to = choose(all - sum + 1);
	if (seldom(20))
		to = all - sum + 1;
	if (to > all - sum)
		judged = NVME_LBA_OUT_OF_RANGE;
	for (unsigned i = 0; i < count && !judged; i++)
		if (ranges[i].lba < to + sum && to <= ranges[i].lba + ranges[i].blocks)
			judged = NVME_OVERLAPPING_RANGE;
	put(ranges);
	command->cdw10 = to;
	command->cdw12 = count - 1;
	expected = expected ? expected : judged;
	expect_status(command, execute(command), expected);
	for (unsigned i = 0; !expected && i < count; i++) {
		at = block_at(disk, to);
		memcpy(at, block_at(disk, ranges[i].lba),
		       (ranges[i].blocks + 1u) << shift_of(disk));
		to += ranges[i].blocks + 1;
	}
}

static void flush(struct nvme_command *command, unsigned disk)
{
	expect_status(command, execute(command), 0);
}

static const struct {
	uint8_t opcode;
	void (*run)(struct nvme_command *command, unsigned disk);
} commands[] = {
	{ NVME_IO_READ, read_blocks },		{ NVME_IO_READ, read_blocks },
	{ NVME_IO_WRITE, write_blocks },	{ NVME_IO_WRITE, write_blocks },
	{ NVME_IO_COMPARE, compare_blocks },	{ NVME_IO_WRITE_ZEROES, zero_blocks },
	{ NVME_IO_VERIFY, verify_blocks },	{ NVME_IO_DATASET_MANAGEMENT, deallocate },
	{ NVME_IO_COPY, copy_blocks },		{ NVME_IO_FLUSH, flush },
	{ NVME_IO_COMPARE, compare_and_write },
};

/* What is judged before the command itself. */
static void nonsense(void)
{
	static const uint8_t no_commands[] = {
		0x04, 0x0d, 0x0e, 0x11, 0x15, 0x20, 0x7f, 0x80, 0xff
	};
	struct nvme_command command =
		machine_rw(commands[choose(ARRAY_SIZE(commands))].opcode, 0, 1, model.data, 0);
	nvme_status expected;

	switch (choose(3)) {
	case 0:
		command.flags = seldom(2) ? 1 + choose(3) : 0x80 + choose(2) * 0x40;
		expected = command.flags == NVME_FUSE_FIRST || command.flags == NVME_FUSE_SECOND
				   ? NVME_MISSING_FUSED
				   : NVME_INVALID_FIELD;
		break;
	case 1:
		command.opcode = no_commands[choose(ARRAY_SIZE(no_commands))];
		expected = NVME_INVALID_OPCODE;
		break;
	default:
		command.nsid = choose(4) ? 3 + choose(62) : seldom(2) ? 0 : 65 + choose(1u << 28);
		expected = command.nsid && command.nsid <= 64 ? NVME_INVALID_FIELD
							      : NVME_INVALID_NAMESPACE;
	}
	expect_status(&command, execute(&command), expected);
}

/* cmocka looks at one byte at a time: only when it has to say which. */
static void check_bytes(const void *bytes, const void *expected, size_t len)
{
	if (memcmp(bytes, expected, len) != 0)
		assert_memory_equal(bytes, expected, len);
}

static void check_everything(void)
{
	for (unsigned i = 0; i < DISKS; i++)
		check_bytes(model.disks[i]->data, model.bytes[i], DISK_BYTES);
	check_bytes(machine_at(model.machine, model.data), model.memory, DATA_PAGES * 4096);
}

static void attach(void)
{
	for (unsigned i = 0; i < DISKS; i++) {
		const struct nvme_namespace_config config = { .nsid = i + 1,
							      .block_size = 1u << shift_of(i) };

		assert_int_equal(nvme_controller_attach(model.machine->ctrl, &config,
							(struct block *)model.disks[i], NULL),
				 0);
	}
}

static void turn_on(uint64_t allocated)
{
	model.machine->allocated = allocated;
	machine_enable(model.machine);
	machine_create_queue(model.machine, 1, MACHINE_ENTRIES);
}

/* Right, or wrong in one way. */
static void format(unsigned disk)
{
	struct nvme_command command = { .opcode = NVME_ADMIN_FORMAT,
					.nsid = disk + 1,
					.cdw10 = choose(2) << 9 };
	nvme_status expected = NVME_SUCCESS;

	switch (choose(8)) {
	case 0:
		command.cdw10 |= 2 + choose(14);
		expected = NVME_INVALID_FORMAT;
		break;
	case 1:
		command.cdw10 = (2 + choose(6)) << 9;
		expected = NVME_INVALID_FIELD;
		break;
	case 2:
		command.nsid = NVME_NSID_ALL;
		expected = NVME_INVALID_FIELD;
		break;
	default:
		if (choose(2))
			command.cdw10 |= 1;
	}
	expect_status(&command, machine_execute(model.machine, 0, command).status, expected);
	if (expected) {
		model.errors++;
		return;
	}
	memset(model.bytes[disk], 0, DISK_BYTES);
	model.shifts[disk] = command.cdw10 & 1 ? 12 : 9;
}

/* What is not an I/O command. Of most of this nothing is seen in what commands do. */
static void something_else(uint64_t allocated)
{
	struct machine *machine = model.machine;
	struct nvme_command command = { .opcode = NVME_ADMIN_SET_FEATURE,
					.cdw10 = NVME_FEATURE_WRITE_CACHE,
					.cdw11 = choose(2) };

	switch (choose(5)) {
	case 0:
		machine_restart(machine, NULL);
		attach();
		machine_run(machine);
		break;
	case 1:
		machine_write32(machine, NVME_REG_CC, 0);
		machine_run(machine);
		turn_on(allocated);
		break;
	case 2:
		machine->message_reads = seldom(2);
		machine->message_writes = seldom(2);
		machine->host.map_generation++;
		break;
	case 3:
		format(choose(DISKS));
		break;
	default:
		assert_status(machine_execute(machine, 0, command), 0);
	}
}

static unsigned long from_environment(const char *name, unsigned long otherwise)
{
	const char *value = getenv(name);

	return value ? strtoul(value, NULL, 0) : otherwise;
}

static void the_reference_is_always_right(void **state)
{
	unsigned long count = from_environment("VIRTNVME_MODEL_COMMANDS", COMMANDS);
	uint64_t allocated;

	model.random = from_environment("VIRTNVME_MODEL_SEED", 1);
	model.machine = machine_new(1);
	model.data = machine_alloc(model.machine, DATA_PAGES);
	model.lists = machine_alloc(model.machine, LIST_PAGES);
	model.log = machine_alloc(model.machine, 1);
	model.memory = calloc(DATA_PAGES, 4096);
	allocated = model.machine->allocated;
	for (unsigned i = 0; i < DISKS; i++) {
		model.disks[i] = machine_disk_new(DISK_BYTES);
		model.bytes[i] = calloc(1, DISK_BYTES);
		model.shifts[i] = i ? 12 : 9;
	}
	model.disks[0]->info.block_size = 1;
	model.disks[1]->info.memory_alignment = 512;
	attach();
	turn_on(allocated);
	for (unsigned long i = 0; i < count; i++) {
		unsigned which = choose(ARRAY_SIZE(commands)), disk = choose(DISKS);
		struct nvme_command command = { .opcode = commands[which].opcode,
						.nsid = disk + 1 };

		if (seldom(100))
			something_else(allocated);
		if (seldom(30))
			nonsense();
		else
			commands[which].run(&command, disk);
		check_everything();
	}
	machine_free(model.machine);
	for (unsigned i = 0; i < DISKS; i++) {
		machine_disk_free(model.disks[i]);
		free(model.bytes[i]);
	}
	free(model.memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_reference_is_always_right),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
