/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_REQUEST_H
#define NVME_REQUEST_H

#include "block/block.h"
#include "nvme/data-pointer.h"
#include "nvme/host.h"
#include "nvme/spec.h"

/*
 * Theory of operation
 *
 * A request is one command from fetch to completion. Requests are pre-allocated, a pool for each
 * worker's I/O and one for admin commands; when a pool is empty its queues are not fetched from.
 *
 * The 64 bytes of the command are copied once, by the fetch, and only `command` is looked at from
 * then on: the guest may change its own copy at any time. Parsing judges the command and chooses
 * `execute`, which assumes it sane. Every request ends in exactly one of
 *   nvme_request_complete()  a status for the guest,
 *   nvme_request_park()      an Asynchronous Event Request, completed later by its id alone,
 *   nvme_request_drop()      a reset came; the guest is not told.
 */
struct nvme_bounce;
struct nvme_namespace;
struct nvme_sq;
struct nvme_worker;

struct nvme_request {
	struct nvme_request *next; /* in a pool or a list */
	struct nvme_sq *sq;
	struct nvme_worker *worker; /* that fetched it */
	void (*execute)(struct nvme_request *request);
	struct nvme_namespace *ns; /* held while not NULL */
	struct nvme_bounce *bounce;
	uint32_t result; /* dword 0 of the completion */
	nvme_status status;
	int held_result;	 /* see hold.h */
	uint16_t error_location; /* byte of the command that is at fault, for the error log */
	struct nvme_command command;
	struct block_request block;
	struct nvme_host_call call; /* admin commands about another worker's queue */
	struct iovec iov[BLOCK_MAX_IOV];
};

struct nvme_request_list {
	struct nvme_request *first, **end;
};

void nvme_request_list_init(struct nvme_request_list *list);
void nvme_request_list_append(struct nvme_request_list *list, struct nvme_request *request);
/** nvme_request_list_take() - the first, or NULL */
struct nvme_request *nvme_request_list_take(struct nvme_request_list *list);

struct nvme_request_pool {
	struct nvme_request *requests;
	struct nvme_request *free;
	unsigned size, touched; /* those beyond `touched` were never used: their pages are not there
				   yet */
};

/** nvme_request_pool_init() - 0 or -ENOMEM */
int nvme_request_pool_init(struct nvme_request_pool *pool, unsigned size);
void nvme_request_pool_destroy(struct nvme_request_pool *pool);
bool nvme_request_pool_is_empty(const struct nvme_request_pool *pool);

/** nvme_request_new() - a request of @sq, in flight from here on; NULL: none is free */
struct nvme_request *nvme_request_new(struct nvme_sq *sq);

/** nvme_request_start() - parse the command and execute it; may complete it at once */
void nvme_request_start(struct nvme_request *request);

/**
 * nvme_request_complete() - the one completion point
 * @status: with NVME_DNR where a repetition cannot help
 */
void nvme_request_complete(struct nvme_request *request, nvme_status status);

/** nvme_request_posted() - its completion is in the queue: free it */
void nvme_request_posted(struct nvme_request *request);

/** nvme_request_finish() - complete with a status, or drop when a reset came (-ECANCELED) */
void nvme_request_finish(struct nvme_request *request, nvme_result result);

void nvme_request_park(struct nvme_request *request);
void nvme_request_drop(struct nvme_request *request);

/** nvme_request_invalid_field() - remember where, for the error log */
static inline nvme_status nvme_request_invalid_field(struct nvme_request *request, size_t byte)
{
	request->error_location = byte;
	return NVME_INVALID_FIELD | NVME_DNR;
}

#define nvme_invalid_field(request, field)                                                         \
	nvme_request_invalid_field(request, offsetof(struct nvme_command, field))

#endif
