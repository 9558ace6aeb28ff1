/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_FUSED_H
#define NVME_FUSED_H

#include "nvme/journal.h"
#include "nvme/namespace.h"
#include "nvme/request.h"

/** nvme_fused_is_pair() - two commands that follow each other in an I/O queue say that they are one
 */
static inline bool nvme_fused_is_pair(const struct nvme_command *first,
				      const struct nvme_command *second)
{
	return (first->flags & NVME_COMMAND_FUSE) == NVME_FUSE_FIRST &&
	       (second->flags & NVME_COMMAND_FUSE) == NVME_FUSE_SECOND;
}

nvme_status nvme_fused_judge_half(struct nvme_request *request);

/** nvme_fused_judge() - is it what its place in a pair allows? 0 or the status it ends with. */
static inline nvme_status nvme_fused_judge(struct nvme_request *request)
{
	return request->command.flags & NVME_COMMAND_FUSE ? nvme_fused_judge_half(request) : 0;
}

/** nvme_fused_start() - both, as nvme_request_start() does with one */
void nvme_fused_start(struct nvme_request *first, struct nvme_request *second);

/** nvme_fused_over() - one of two that are still partners has ended: go on with the other, or end it
 */
void nvme_fused_over(struct nvme_request *request, nvme_status status);

/** nvme_fused_adopt() - in which namespaces has a predecessor left a pair between its two halves? */
void nvme_fused_adopt(struct nvme_controller *ctrl);

/** nvme_fused_close_new() - a namespace in which it has */
void nvme_fused_close_new(struct nvme_namespace *ns);

/** nvme_fused_forget() - with a reset: no pair has anything for itself; all workers have drained */
void nvme_fused_forget(struct nvme_controller *ctrl);

/** nvme_fused_inherit() - the second half of a pair whose first half a predecessor has executed */
void nvme_fused_inherit(struct nvme_request *request);

/** nvme_fused_open() - nobody has the namespace for itself any more */
void nvme_fused_open(struct nvme_namespace *ns);

/** nvme_fused_close() - see to it that nothing of the namespace is executed here; runs as a call */
void nvme_fused_close(struct nvme_host_call *call);

/** nvme_fused_closed() - nothing of the namespace is executed here any more, as it was to be */
void nvme_fused_closed(struct nvme_namespace_share *share);

/** nvme_fused_quiet() - one command of the namespace less is executed here */
static inline void nvme_fused_quiet(struct nvme_namespace_share *share)
{
	if (--share->executing == 0 && share->closing)
		nvme_fused_closed(share);
}

/** nvme_fused_admits() - may it be executed now: its namespace is ready and no pair's own? */
static inline bool nvme_fused_admits(const struct nvme_request *request)
{
	const struct nvme_namespace *ns = request->ns;
	const struct nvme_namespace_share *share = nvme_namespace_share(request);
	uint64_t closed = share->closed;
	const struct nvme_request *owner;

	if (!nvme_namespace_is_ready(ns))
		return false;
	if (!closed || closed != LOAD_ACQUIRE(ns->claim))
		return true;
	owner = READ_ONCE(ns->owner);
	/* Whom a predecessor's pair has left it to may not find it any more. */
	return owner == request || (!owner && share->leaving);
}

/** nvme_fused_is_owner() - does it have its namespace for itself? */
static inline bool nvme_fused_is_owner(const struct nvme_request *request)
{
	return request->ns && nvme_namespace_share(request)->closed &&
	       READ_ONCE(request->ns->owner) == request;
}

/** nvme_fused_release() - a request that ends gives back what it has for itself */
static inline void nvme_fused_release(const struct nvme_request *request)
{
	if (nvme_fused_is_owner(request))
		nvme_fused_open(request->ns);
}

#endif
