// SPDX-License-Identifier: LGPL-2.1-or-later
/* The block layer of the fake machine: what the controller uses of block/block.h. */
#include <errno.h>

#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

static struct machine_disk *disk_of(const struct block *block)
{
	return (struct machine_disk *)(uintptr_t)block;
}

struct machine_disk *machine_disk_new(uint64_t bytes)
{
	struct machine_disk *disk = calloc(1, sizeof(*disk));

	assert_non_null(disk);
	disk->data = calloc(1, bytes);
	assert_non_null(disk->data);
	disk->info = (struct block_info){
		.capacity = bytes,
		.block_size = 512,
		.memory_alignment = 1,
		.granularity = 512,
		.volatile_cache = true,
		.can_write_zeroes = true,
		.can_discard = true,
	};
	return disk;
}

void machine_disk_free(struct machine_disk *disk)
{
	assert_int_equal(disk->count, 0);
	assert_null(disk->dead);
	free(disk->data);
	free(disk);
}

void machine_attach(struct machine *machine, uint32_t nsid, struct machine_disk *disk)
{
	const struct nvme_namespace_config config = { .nsid = nsid };

	assert_int_equal(nvme_controller_attach(machine->ctrl, &config, (struct block *)disk, NULL),
			 0);
}

static bool has_data(const struct block_request *request)
{
	return request->op == BLOCK_READ || request->op == BLOCK_WRITE;
}

/* The contract of block.h, which the controller must keep whatever the guest does. */
static void judge(const struct machine_disk *disk, const struct block_request *request)
{
	uint64_t sum = 0;

	if (request->op == BLOCK_FLUSH)
		return;
	assert_true(!has_data(request) || request->iovcnt >= 1);
	assert_true(request->iovcnt <= BLOCK_MAX_IOV);
	for (unsigned i = 0; i < request->iovcnt; i++) {
		assert_int_equal((uintptr_t)request->iov[i].iov_base % disk->info.memory_alignment,
				 0);
		assert_int_equal(request->iov[i].iov_len % disk->info.memory_alignment, 0);
		sum += request->iov[i].iov_len;
	}
	assert_true(!has_data(request) || sum == request->bytes);
	assert_true(request->bytes <= disk->info.capacity &&
		    request->offset <= disk->info.capacity - request->bytes);
	assert_int_equal(request->offset % disk->info.block_size, 0);
	assert_int_equal(request->bytes % disk->info.block_size, 0);
	assert_false(request->op != BLOCK_READ && disk->info.read_only);
	assert_false(request->op == BLOCK_DISCARD && !disk->info.can_discard);
}

static void transfer(struct machine_disk *disk, struct block_request *request)
{
	uint8_t *at = disk->data + request->offset;

	if (!disk->data)
		return;
	if (!has_data(request))
		memset(at, 0, request->bytes);
	for (unsigned i = 0; i < request->iovcnt; i++) {
		const struct iovec *iov = &request->iov[i];

		if (request->op == BLOCK_READ)
			memcpy(iov->iov_base, at, iov->iov_len);
		else
			memcpy(at, iov->iov_base, iov->iov_len);
		at += iov->iov_len;
	}
}

static void end(struct machine_disk *disk, struct block_request *request)
{
	if (!disk->result && request->op != BLOCK_FLUSH)
		transfer(disk, request);
	request->done(request, disk->result);
}

void machine_release(struct machine *machine, struct machine_disk *disk)
{
	struct block_request *request = disk->held[0];

	assert_true(disk->count > 0);
	disk->count--;
	memmove(&disk->held[0], &disk->held[1], disk->count * sizeof(request));
	end(disk, request);
}

/* What the kernel still has of it: the pages are the guest's, or its own copy. */
struct machine_dead {
	struct machine_dead *next;
	struct block_request request;
	struct iovec iov[BLOCK_MAX_IOV];
	uint8_t data[];
};

static bool is_the_guests(const struct machine *machine, const struct iovec *iov)
{
	const uint8_t *base = iov->iov_base;

	return base >= machine->memory && base < machine->memory + MACHINE_MEMORY;
}

void machine_disk_die(struct machine *machine, struct machine_disk *disk)
{
	for (unsigned i = 0; i < disk->count; i++) {
		const struct block_request *request = disk->held[i];
		struct machine_dead *dead = malloc(sizeof(*dead) + request->bytes);
		uint8_t *copy = dead->data;

		assert_non_null(dead);
		dead->request = *request;
		dead->request.iov = dead->iov;
		for (unsigned n = 0; n < request->iovcnt; n++) {
			dead->iov[n] = request->iov[n];
			if (!is_the_guests(machine, &request->iov[n])) {
				memcpy(copy, request->iov[n].iov_base, request->iov[n].iov_len);
				dead->iov[n].iov_base = copy;
				copy += request->iov[n].iov_len;
			}
		}
		dead->next = disk->dead;
		disk->dead = dead;
	}
	disk->count = 0;
}

void machine_haunt(struct machine *machine, struct machine_disk *disk,
		   unsigned (*choose)(unsigned n))
{
	while (disk->dead) {
		struct machine_dead *dead = disk->dead;

		disk->dead = dead->next;
		if (dead->request.op != BLOCK_FLUSH && choose(2))
			transfer(disk, &dead->request);
		free(dead);
	}
}

const struct block_info *block_get_info(const struct block *block)
{
	return &disk_of(block)->info;
}

void block_prefetch(const struct block *block, uint64_t offset, uint64_t bytes)
{
	struct machine_disk *disk = disk_of(block);

	if (disk->hint_count == ARRAY_SIZE(disk->hints))
		return;
	disk->hints[disk->hint_count].offset = offset;
	disk->hints[disk->hint_count].bytes = bytes;
	disk->hints[disk->hint_count++].submitted = disk->submitted;
}

void block_submit(struct block *block, struct block_ring *ring, struct block_request *request)
{
	struct machine_disk *disk = disk_of(block);

	judge(disk, request);
	disk->last = *request;
	disk->submitted++;
	disk->flushes += request->op == BLOCK_FLUSH;
	if (disk->drop)
		return;
	if (disk->hold) {
		assert_true(disk->count < ARRAY_SIZE(disk->held));
		disk->held[disk->count++] = request;
	} else {
		end(disk, request);
	}
}
