// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Theory of operation
 *
 * Write Uncorrectable marks blocks as invalid: whoever reads them, in whatever command, is told
 * Unrecovered Read Error, until they are written, zeroed, deallocated or erased. What is marked is
 * in memory, for reads, and in a file (marks.h), where it lasts as long as the image.
 *
 * `marked` in the namespace says whether anything is. A command pays for a look at that; only when
 * it is true is the list looked at, under a lock.
 *
 * Worker 0 changes what is marked, one change after another: it writes the file, and when that is
 * durable the list is replaced, and the command goes on at its own worker. A change is a command's: either
 * to mark, or, for one that has written marked blocks, to unmark them. It has written its data then:
 * should we die before the end, blocks are still marked of which nobody was told that they are
 * written, and the successor executes the command again. So is a mark twice the same as once.
 *
 * A command that waits for its change counts as executing, so that a freeze has no change under way.
 * A predecessor's may be in the kernel still: the file is read when the namespace becomes ready, for
 * that waits for all that the predecessor was at (controller/generation-lock.h).
 */
#include "nvme/uncorrectable.h"

#include <errno.h>
#include <pthread.h>

#include "base/log.h"
#include "nvme/controller-private.h"
#include "nvme/io.h"

struct nvme_uncorrectable {
	struct nvme_namespace *ns;
	struct nvme_marks_file *file;
	pthread_mutex_t lock; /* of `marks` */
	struct nvme_marks marks;

	/* Worker 0's */
	struct nvme_request_list changes; /* the first is in hand */
	struct nvme_marks next;
	struct nvme_marks_slot slots[2]; /* the second stays empty */
	struct iovec iov;
	struct block_request write;
	uint64_t number; /* of the slot in force, 0: none is */
	unsigned in_force;
	bool broken; /* the file makes no sense */
};

int nvme_uncorrectable_open(struct nvme_namespace *ns, struct nvme_marks_file *file)
{
	struct nvme_uncorrectable *all = calloc(1, sizeof(*all));

	if (!all)
		return -ENOMEM;
	all->ns = ns;
	all->file = file;
	pthread_mutex_init(&all->lock, NULL);
	nvme_request_list_init(&all->changes);
	ns->uncorrectable = all;
	return 0;
}

void nvme_uncorrectable_close(struct nvme_namespace *ns)
{
	if (!ns->uncorrectable)
		return;
	pthread_mutex_destroy(&ns->uncorrectable->lock);
	free(ns->uncorrectable);
}

/* Nothing is behind the end, and should there be something again it is not what was. */
static void publish(struct nvme_uncorrectable *all, const struct nvme_marks *marks)
{
	struct nvme_namespace *ns = all->ns;

	pthread_mutex_lock(&all->lock);
	if (marks)
		all->marks = *marks;
	nvme_marks_set(&all->marks, block_get_info(ns->block)->capacity, UINT64_MAX, false);
	STORE_RELEASE(ns->marked, all->marks.count != 0);
	pthread_mutex_unlock(&all->lock);
}

void nvme_uncorrectable_resized(struct nvme_namespace *ns)
{
	if (ns->uncorrectable)
		publish(ns->uncorrectable, NULL);
}

void nvme_uncorrectable_recall(struct nvme_namespace *ns)
{
	struct nvme_uncorrectable *all = ns->uncorrectable;
	struct nvme_marks_slot slots[2];
	int slot;

	if (!all)
		return;
	slot = all->file->recall(all->file, slots);
	if (slot == 0)
		slot = nvme_marks_find(slots);
	all->broken = slot < 0 && slot != -ENOENT;
	if (all->broken)
		log_error("namespace %u: which of its blocks were marked uncorrectable is lost: %s",
			  ns->nsid, strerror(-slot));
	if (slot < 0) {
		slots[1] = (struct nvme_marks_slot){ .number = 0 };
		slot = 1;
	}
	all->number = slots[slot].number;
	all->in_force = slot;
	publish(all, &slots[slot].marks);
}

bool nvme_uncorrectable_is_offered(struct nvme_controller *ctrl)
{
	for (uint32_t nsid = 1; nsid <= NVME_MAX_NAMESPACES; nsid++) {
		const struct nvme_namespace *ns = nvme_namespace_find(ctrl, nsid);

		if (ns && ns->uncorrectable)
			return true;
	}
	return false;
}

/*
 * Changes
 */
static bool marks(const struct nvme_request *request)
{
	return request->sq->id && request->command.opcode == NVME_IO_WRITE_UNCORRECTABLE;
}

/* At the request's own worker. */
static void changed(struct nvme_host_call *call)
{
	struct nvme_request *request = container_of(call, struct nvme_request, call);
	int result = request->changed;

	if (!marks(request))
		request->block.done(&request->block, result);
	else
		nvme_request_complete(request, result ? NVME_INTERNAL_ERROR : NVME_SUCCESS);
}

static void change(struct nvme_uncorrectable *all);

/* With the last one the namespace may go. */
static void end_change(struct nvme_uncorrectable *all, int result)
{
	struct nvme_request *request = nvme_request_list_take(&all->changes);

	request->changed = result;
	request->call.run = changed;
	if (all->changes.first)
		change(all);
	nvme_host_call(request->worker->ctrl->host, request->worker->index, &request->call);
}

static void written(struct block_request *block, int result)
{
	struct nvme_uncorrectable *all = container_of(block, struct nvme_uncorrectable, write);

	if (result < 0) {
		log_guest(LOG_ERR, "namespace %u: cannot keep what is marked uncorrectable: %s",
			  all->ns->nsid, strerror(-result));
		end_change(all, -EIO);
		return;
	}
	all->number++;
	all->in_force ^= 1;
	publish(all, &all->next);
	end_change(all, 0);
}

static void change(struct nvme_uncorrectable *all)
{
	const struct nvme_request *request = all->changes.first;
	uint64_t offset = request->block.offset, end = offset + request->block.bytes;
	int ret = all->broken ? -EIO : 0;

	all->next = all->marks;
	if (ret == 0)
		ret = nvme_marks_set(&all->next, offset, end, marks(request));
	if (ret < 0) {
		end_change(all, -EIO);
		return;
	}
	nvme_marks_fill(&all->slots[0], &all->next, all->number + 1);
	/* The first one takes the space of both: later there may be none. */
	all->iov = (struct iovec){ all->slots,
				   all->number ? sizeof(all->slots[0]) : sizeof(all->slots) };
	all->write = (struct block_request){
		.op = BLOCK_WRITE,
		.flags = BLOCK_FUA,
		.offset = (all->in_force ^ 1) * sizeof(all->slots[0]),
		.bytes = all->iov.iov_len,
		.iov = &all->iov,
		.iovcnt = 1,
		.done = written,
	};
	nvme_crash_point();
	block_submit(all->file->block, all->ns->ctrl->workers[0]->ring, &all->write);
}

/* At worker 0. */
static void begin_change(struct nvme_host_call *call)
{
	struct nvme_request *request = container_of(call, struct nvme_request, call);
	struct nvme_uncorrectable *all = request->ns->uncorrectable;
	bool first = !all->changes.first;

	nvme_request_list_append(&all->changes, request);
	if (first)
		change(all);
}

static void ask(struct nvme_request *request)
{
	request->call.run = begin_change;
	nvme_host_call(request->worker->ctrl->host, 0, &request->call);
}

void nvme_uncorrectable_mark(struct nvme_request *request)
{
	ask(request);
}

/* The blocks are written, and still marked. */
static void unmark(struct block_request *block, int result)
{
	struct nvme_request *request = container_of(block, struct nvme_request, block);

	block->done = request->unmarked;
	if (result < 0)
		block->done(block, result);
	else
		ask(request);
}

bool nvme_uncorrectable_submit(struct nvme_request *request)
{
	struct nvme_namespace *ns = request->ns;
	struct nvme_uncorrectable *all = ns->uncorrectable;
	struct block_request *block = &request->block;
	bool meets;

	pthread_mutex_lock(&all->lock);
	meets = nvme_marks_meet(&all->marks, block->offset, block->offset + block->bytes);
	pthread_mutex_unlock(&all->lock);
	if (!meets)
		return false;
	if (block->op == BLOCK_READ) {
		block->done(block, -NVME_UNCORRECTABLE_ERRNO);
		return true;
	}
	request->unmarked = block->done;
	block->done = unmark;
	block_submit(ns->block, request->worker->ring, block);
	return true;
}
