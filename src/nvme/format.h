/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_FORMAT_H
#define NVME_FORMAT_H

#include "nvme/namespace.h"
#include "nvme/queue.h"
#include "nvme/share.h"

/* LBA formats: 512 and 4096, where it may have either, else only the one it has. */
static inline unsigned nvme_format_count(const struct nvme_namespace *ns)
{
	return ns->formattable ? 2 : 1;
}

/** nvme_format_shift() - of the block size of LBA format @number */
static inline unsigned nvme_format_shift(const struct nvme_namespace *ns, unsigned number)
{
	if (!ns->formattable)
		return ns->block_shift;
	return number ? 12 : 9;
}

/** nvme_format_judge() - Format NVM, section 5.23: 0, and the namespace in request->ns, or the status */
nvme_status nvme_format_judge(struct nvme_request *request);

/** nvme_format() - execute it */
void nvme_format(struct nvme_request *request);

/** nvme_format_init() - a new namespace, whose block size is perhaps being recorded */
void nvme_format_init(struct nvme_namespace *ns, uint32_t next_block_size);

/** nvme_format_recorded() - it has that block size now; while all workers stand at a pause point */
void nvme_format_recorded(struct nvme_namespace *ns, unsigned shift);

/** nvme_format_poll() - worker 0: end those whose block size is recorded. Return: was there any? */
bool nvme_format_poll(struct nvme_worker *worker);

/** nvme_format_has_work() - would nvme_format_poll() find any? */
bool nvme_format_has_work(const struct nvme_worker *worker);

/** nvme_format_give_up() - @ns is detached: end the one that waits for its block size to be recorded */
void nvme_format_give_up(struct nvme_worker *worker, const struct nvme_namespace *ns);

/** nvme_format_adopt() - a namespace that a predecessor had, and perhaps was formatting, or a new one */
void nvme_format_adopt(struct nvme_namespace *ns, bool was_there);

/** nvme_format_forget() - with a reset: no command formats anything; all workers have drained */
void nvme_format_forget(struct nvme_controller *ctrl);

/** nvme_format_percent_left() - of a format in progress; worker 0 */
unsigned nvme_format_percent_left(const struct nvme_namespace *ns);

/** nvme_format_is() - is it this command that its namespace is being formatted by? */
static inline bool nvme_format_is(const struct nvme_request *request)
{
	return !request->sq->id && request->ns && request->ns->format == request->slot + 1u;
}

/** nvme_format_end() - the namespace is not being formatted any more */
void nvme_format_end(struct nvme_namespace *ns);

/** nvme_format_release() - a request that ends formats nothing any more */
static inline void nvme_format_release(const struct nvme_request *request)
{
	if (nvme_format_is(request))
		nvme_format_end(request->ns);
}

/** nvme_format_is_elsewhere() - is the image being formatted by another controller? */
bool nvme_format_is_elsewhere(const struct nvme_namespace *ns);

/** nvme_format_admits() - may a command for request->ns go on, or is that being formatted? */
static inline bool nvme_format_admits(const struct nvme_request *request)
{
	const struct nvme_namespace *ns = request->ns;
	uint32_t format = LOAD_ACQUIRE(ns->format);

	if (!format && (!ns->share || !LOAD_ACQUIRE(nvme_share_format(ns->share)->owner)))
		return true;
	/* The format itself, which a predecessor has begun; or a write whose compare has had its answer. */
	return nvme_format_is(request) || nvme_request_was_judged(request) ||
	       (!format && !nvme_format_is_elsewhere(ns));
}

#endif
