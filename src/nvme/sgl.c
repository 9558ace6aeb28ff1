// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Theory of operation
 *
 * An SGL is a list of descriptors in segments: the last one of a segment leads to the next. It may
 * describe more than the command's data (Identify says so), and what comes after the data is not
 * looked at. Descriptors may be empty and segments may form a loop, so the walk counts descriptors,
 * and gives up at a number that no honest list of NVME_MAX_SEGMENTS data blocks has.
 */
#include "nvme/sgl.h"

#include <errno.h>

#include "nvme/controller-private.h"

#define MAX_DESCRIPTORS	      (4 * NVME_MAX_SEGMENTS)
#define DESCRIPTORS_AT_A_TIME 256u

struct walk {
	const struct nvme_request *request;
	unsigned access;
	struct nvme_segment *segments;
	unsigned count;
	size_t remaining;     /* bytes */
	unsigned descriptors; /* looked at */

	/* Of the segment: those that are left, and some of them already here. */
	uint64_t from;
	unsigned left;
	bool is_last;
	struct nvme_sgl_descriptor here[DESCRIPTORS_AT_A_TIME];
	unsigned next, end;
};

static bool is_neighbour(const struct nvme_segment *last, uint64_t iova, bool bucket)
{
	if (last->bucket || bucket)
		return last->bucket && bucket;
	/* Not around the end of the address space. */
	return iova && last->iova + last->len == iova;
}

static nvme_result add(struct walk *walk, const struct nvme_sgl_descriptor *descriptor, bool bucket)
{
	struct nvme_segment *last = walk->count ? &walk->segments[walk->count - 1] : NULL;
	uint32_t len = MIN(walk->remaining, descriptor->length);

	if (!len)
		return 0;
	if (last && is_neighbour(last, descriptor->address, bucket))
		last->len += len;
	else if (walk->count == NVME_MAX_SEGMENTS)
		return NVME_SGL_NUMBER_INVALID | NVME_DNR;
	else
		walk->segments[walk->count++] = (struct nvme_segment){ .iova = descriptor->address,
								       .len = len,
								       .bucket = bucket };
	walk->remaining -= len;
	return 0;
}

static nvme_result enter_segment(struct walk *walk, const struct nvme_sgl_descriptor *descriptor)
{
	unsigned size = sizeof(*descriptor);

	if (walk->is_last || !descriptor->length || descriptor->length % size ||
	    descriptor->address % sizeof(uint64_t))
		return NVME_SGL_SEGMENT_INVALID | NVME_DNR;
	walk->from = descriptor->address;
	walk->left = descriptor->length / size;
	walk->is_last = descriptor->id == NVME_SGL_LAST_SEGMENT;
	walk->next = walk->end = 0;
	return 0;
}

static nvme_result look_at(struct walk *walk, const struct nvme_sgl_descriptor *descriptor)
{
	if (++walk->descriptors > MAX_DESCRIPTORS)
		return NVME_SGL_NUMBER_INVALID | NVME_DNR;
	switch (descriptor->id) {
	case NVME_SGL_DATA_BLOCK:
		return add(walk, descriptor, false);
	case NVME_SGL_BIT_BUCKET:
		/* Of what the guest sends nothing is left out. */
		return walk->access == NVME_HOST_WRITE ? add(walk, descriptor, true) : 0;
	case NVME_SGL_SEGMENT:
	case NVME_SGL_LAST_SEGMENT:
		if (walk->left) /* these come last */
			return NVME_SGL_NUMBER_INVALID | NVME_DNR;
		return enter_segment(walk, descriptor);
	default:
		return NVME_SGL_TYPE_INVALID | NVME_DNR;
	}
}

static nvme_result read_some(struct walk *walk)
{
	const struct nvme_worker *worker = walk->request->worker;
	unsigned count = MIN(walk->left, DESCRIPTORS_AT_A_TIME);
	size_t bytes = count * sizeof(walk->here[0]);
	int err = nvme_host_read(worker->ctrl->host, worker->index, walk->from, walk->here, bytes);

	if (err)
		return err == -ECANCELED ? err : NVME_DATA_TRANSFER_ERROR;
	walk->from += bytes;
	walk->next = 0;
	walk->end = count;
	return 0;
}

static nvme_result next_descriptor(struct walk *walk, struct nvme_sgl_descriptor *ret)
{
	nvme_result result;

	if (!walk->left)
		return NVME_SGL_LENGTH_INVALID | NVME_DNR;
	if (walk->next == walk->end) {
		result = read_some(walk);
		if (result)
			return result;
	}
	*ret = walk->here[walk->next++];
	walk->left--;
	return 0;
}

nvme_result nvme_sgl_walk(const struct nvme_request *request, size_t bytes, unsigned access,
			  struct nvme_segment *segments, unsigned *ret_count)
{
	struct walk walk;
	struct nvme_sgl_descriptor descriptor;
	nvme_result result;

	walk.request = request;
	walk.access = access;
	walk.segments = segments;
	walk.count = walk.descriptors = walk.left = 0;
	walk.remaining = bytes;
	walk.is_last = false;
	memcpy(&descriptor, &request->command.prp1, sizeof(descriptor));
	result = look_at(&walk, &descriptor);
	while (!result && walk.remaining) {
		result = next_descriptor(&walk, &descriptor);
		if (!result)
			result = look_at(&walk, &descriptor);
	}
	*ret_count = walk.count;
	return result;
}
