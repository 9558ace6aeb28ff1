// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/data-pointer.h"

#include <errno.h>

#include "nvme/bounce.h"
#include "nvme/controller-private.h"
#include "nvme/sgl.h"
#include "nvme/write-log.h"

/*
 * Theory of operation
 *
 * Two steps that are never mixed. The walk reads the guest's PRP lists or SGL (sgl.c), copying each
 * entry once, and makes a list of segments that is ours; it may wait for the guest's memory. Then the
 * segments are resolved to pointers, and no wait comes between the first of these and the submission.
 *
 * The walk of PRPs is bounded without counting: a list page but the first begins at its page's start
 * and so holds 511 entries and a link, and what remains to be described shrinks with each entry.
 */
#define ENTRIES_PER_PAGE (NVME_PAGE_SIZE / sizeof(uint64_t))

struct walk {
	struct nvme_worker *worker;
	struct nvme_segment *segments;
	unsigned count;
	size_t remaining; /* bytes */
};

static void add_page(struct walk *walk, uint64_t iova)
{
	uint32_t len = MIN(walk->remaining, NVME_PAGE_SIZE - iova % NVME_PAGE_SIZE);
	struct nvme_segment *last = walk->count ? &walk->segments[walk->count - 1] : NULL;

	/* Not around the end of the address space. */
	if (last && iova && last->iova + last->len == iova)
		last->len += len;
	else
		walk->segments[walk->count++] = (struct nvme_segment){ .iova = iova, .len = len };
	walk->remaining -= len;
}

static nvme_result result_of(int err)
{
	return err == 0 || err == -ECANCELED ? err : NVME_DATA_TRANSFER_ERROR;
}

/* Section 4.3: entries are whole pages; the last entry of a full page links to the next list when
 * more than one page remains to be described. */
static nvme_result walk_list(struct walk *walk, uint64_t list)
{
	uint64_t entries[ENTRIES_PER_PAGE];

	if (list % sizeof(uint64_t))
		return NVME_PRP_OFFSET_INVALID | NVME_DNR;
	for (;;) {
		size_t room = (NVME_PAGE_SIZE - list % NVME_PAGE_SIZE) / sizeof(uint64_t);
		size_t needed = DIV_ROUND_UP(walk->remaining, NVME_PAGE_SIZE);
		size_t count = MIN(room, needed);
		bool linked = needed > room;
		nvme_result result =
			result_of(nvme_host_read(walk->worker->ctrl->host, walk->worker->index,
						 list, entries, count * sizeof(uint64_t)));

		if (result)
			return result;
		for (size_t i = 0; i < count; i++)
			if (entries[i] % NVME_PAGE_SIZE)
				return NVME_PRP_OFFSET_INVALID | NVME_DNR;
		for (size_t i = 0; i < count - linked; i++)
			add_page(walk, entries[i]);
		if (!linked)
			return 0;
		list = entries[count - 1];
	}
}

static nvme_result walk_prps(struct nvme_worker *worker, uint64_t prp1, uint64_t prp2, size_t bytes,
			     struct nvme_segment *segments, unsigned *ret_count)
{
	struct walk walk = { .worker = worker, .segments = segments, .remaining = bytes };
	nvme_result result = 0;

	if (prp1 % sizeof(uint32_t))
		return NVME_PRP_OFFSET_INVALID | NVME_DNR;
	add_page(&walk, prp1);
	if (walk.remaining > NVME_PAGE_SIZE)
		result = walk_list(&walk, prp2);
	else if (walk.remaining && prp2 % NVME_PAGE_SIZE)
		result = NVME_PRP_OFFSET_INVALID | NVME_DNR;
	else if (walk.remaining)
		add_page(&walk, prp2);
	*ret_count = walk.count;
	return result;
}

nvme_result nvme_data_pointer_walk(const struct nvme_request *request, size_t bytes,
				   unsigned access, struct nvme_segment *segments,
				   unsigned *ret_count)
{
	const struct nvme_command *command = &request->command;

	if (command->flags & NVME_COMMAND_PSDT)
		return nvme_sgl_walk(request, bytes, access, segments, ret_count);
	return walk_prps(request->worker, command->prp1, command->prp2, bytes, segments, ret_count);
}

static bool is_aligned(const struct iovec *iov, uint32_t alignment)
{
	return alignment <= 1 || (((uintptr_t)iov->iov_base | iov->iov_len) & (alignment - 1)) == 0;
}

static bool map_in_place(struct nvme_request *request, unsigned count, unsigned access,
			 uint32_t alignment)
{
	struct nvme_worker *worker = request->worker;

	if (count > BLOCK_MAX_IOV)
		return false;
	for (unsigned i = 0; i < count; i++) {
		const struct nvme_segment *segment = &worker->segments[i];
		struct iovec *iov = &request->iov[i];

		if (segment->bucket)
			return false;

		iov->iov_base =
			nvme_host_resolve(worker->ctrl->host, segment->iova, segment->len, access);
		iov->iov_len = segment->len;
		request->direct_iova[i] = segment->iova;
		if (!iov->iov_base || !is_aligned(iov, alignment))
			return false;
	}
	if (access == NVME_HOST_WRITE) {
		request->direct = count;
		WRITE_ONCE(worker->direct_reads, worker->direct_reads + 1);
	}
	request->block.iov = request->iov;
	request->block.iovcnt = count;
	return true;
}

static bool contained(struct nvme_worker *worker, const struct nvme_segment *segments,
		      unsigned count, unsigned access)
{
	for (unsigned i = 0; i < count; i++)
		if (!segments[i].bucket && !nvme_host_contains(worker->ctrl->host, segments[i].iova,
							       segments[i].len, access))
			return false;
	return true;
}

static nvme_result map_bounce(struct nvme_request *request, size_t bytes, unsigned count,
			      unsigned access)
{
	struct nvme_worker *worker = request->worker;
	struct nvme_bounce *bounce;

	if (!contained(worker, worker->segments, count, access))
		return NVME_DATA_TRANSFER_ERROR;
	bounce = nvme_bounce_new(&worker->bounces);
	if (!bounce)
		return -EAGAIN;
	request->bounce = bounce;
	memcpy(bounce->segments, worker->segments, count * sizeof(*bounce->segments));
	bounce->count = count;
	bounce->delivered = 0;
	bounce->delivered_bytes = 0;
	request->iov[0] = (struct iovec){ bounce->data, bytes };
	request->block.iov = request->iov;
	request->block.iovcnt = 1;
	if (access == NVME_HOST_WRITE)
		return 0;
	return result_of(nvme_segments_read(worker, bounce->segments, count, bounce->data));
}

nvme_result nvme_data_pointer_map(struct nvme_request *request, size_t bytes, bool write,
				  uint32_t alignment)
{
	struct nvme_worker *worker = request->worker;
	unsigned access = write ? NVME_HOST_READ : NVME_HOST_WRITE, count;
	nvme_result result;

	result = nvme_data_pointer_walk(request, bytes, access, worker->segments, &count);
	if (result || map_in_place(request, count, access, alignment))
		return result;
	return map_bounce(request, bytes, count, access);
}

static void write_segment(struct nvme_worker *worker, const struct nvme_segment *segment,
			  const void *from)
{
	struct nvme_host *host = worker->ctrl->host;
	void *to;

	if (segment->bucket)
		return;
	to = nvme_host_resolve(host, segment->iova, segment->len, NVME_HOST_WRITE);
	if (to) {
		memcpy(to, from, segment->len);
		nvme_write_log_add(worker->write_log, segment->iova, segment->len);
	} else {
		nvme_host_write(host, worker->index, segment->iova, from, segment->len);
	}
}

/* 0 or -EFAULT, nothing written then. */
static int write_segments(struct nvme_worker *worker, const struct nvme_segment *segments,
			  unsigned count, const void *data)
{
	const char *from = data;

	if (!contained(worker, segments, count, NVME_HOST_WRITE))
		return -EFAULT;
	for (unsigned i = 0; i < count; i++) {
		write_segment(worker, &segments[i], from);
		from += segments[i].len;
	}
	return 0;
}

nvme_result nvme_data_pointer_reply(struct nvme_request *request, const void *data, size_t bytes)
{
	struct nvme_worker *worker = request->worker;
	unsigned count;
	nvme_result result;

	result = nvme_data_pointer_walk(request, bytes, NVME_HOST_WRITE, worker->segments, &count);
	request->has_written = true;
	return result ? result : result_of(write_segments(worker, worker->segments, count, data));
}

nvme_result nvme_data_pointer_fetch(struct nvme_request *request, void *data, size_t bytes)
{
	struct nvme_worker *worker = request->worker;
	unsigned count;
	nvme_result result;

	result = nvme_data_pointer_walk(request, bytes, NVME_HOST_READ, worker->segments, &count);
	return result ? result
		      : result_of(nvme_segments_read(worker, worker->segments, count, data));
}

int nvme_bounce_deliver(struct nvme_worker *worker, struct nvme_bounce *bounce)
{
	if (!contained(worker, bounce->segments + bounce->delivered,
		       bounce->count - bounce->delivered, NVME_HOST_WRITE))
		return -EFAULT;
	while (bounce->delivered < bounce->count) {
		const struct nvme_segment *segment = &bounce->segments[bounce->delivered];

		if (!nvme_host_write_room(worker->ctrl->host))
			return -EAGAIN;
		write_segment(worker, segment, (char *)bounce->data + bounce->delivered_bytes);
		bounce->delivered++;
		bounce->delivered_bytes += segment->len;
	}
	return 0;
}

int nvme_segments_read(struct nvme_worker *worker, const struct nvme_segment *segments,
		       unsigned count, void *data)
{
	char *to = data;
	int err = 0;

	for (unsigned i = 0; i < count && !err; i++) {
		err = nvme_host_read(worker->ctrl->host, worker->index, segments[i].iova, to,
				     segments[i].len);
		to += segments[i].len;
	}
	return err;
}
