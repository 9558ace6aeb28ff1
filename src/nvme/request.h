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
 *   nvme_request_drop()      a reset came; the guest is not told.
 *
 * How far it is, is in the journal (journal.h): its entry is made by the fetch and goes with the
 * request. Data and completions that go to the guest by message are there when the client has
 * acknowledged them. Until then a request that has posted data is not executed, and one whose
 * completion was posted is not over: it waits in the worker's `unacknowledged` list, which is in the
 * order of posting.
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
	void (*alone)(struct nvme_request *request); /* see fused.c */
	struct nvme_request *partner;		     /* the other half of a pair */
	struct nvme_namespace *ns;		     /* held while not NULL */
	struct nvme_bounce *bounce;
	uint32_t result; /* dword 0 of the completion */
	nvme_status status;
	int held_result;	 /* see hold.h */
	uint16_t error_location; /* byte of the command that is at fault, for the error log */
	uint16_t slot;		 /* of the journal */
	bool executing;		 /* counted in the worker's `executing` */
	bool has_written;	 /* data to the guest, maybe by message */
	bool rationed;		 /* its limits have counted it, see throttle.h */
	uint64_t mark;		 /* unacknowledged: how many writes must be */
	void (*acknowledged)(struct nvme_request *request);
	void (*on_executed)(struct nvme_request *request); /* the result is in the journal */
	struct nvme_command command;
	struct block_request block;
	void (*done)(struct block_request *block, int result); /* nvme_io_submit(): block's */
	struct nvme_host_call call; /* admin commands about another worker's queue */
	void (*step)(struct nvme_request *request);
	unsigned step_worker; /* of an admin command: where the step runs */
	struct iovec iov[BLOCK_MAX_IOV];
	/* A read straight into guest memory: where each of iov is. */
	unsigned direct;
	uint64_t direct_iova[BLOCK_MAX_IOV];
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
/** nvme_request_pool_has() - so many (1 or 2) are free */
bool nvme_request_pool_has(const struct nvme_request_pool *pool, unsigned count);

/** nvme_request_new() - a request of @sq, in flight from here on; NULL: none is free */
struct nvme_request *nvme_request_new(struct nvme_sq *sq);

/** nvme_request_put_back() - one that was new, and has no command */
void nvme_request_put_back(struct nvme_request *request);

/** nvme_request_start() - parse the command and execute it; may complete it at once */
void nvme_request_start(struct nvme_request *request);

/** nvme_request_begin() - what was parsed, with this status: execute it, or let it wait until it may be */
void nvme_request_begin(struct nvme_request *request, nvme_status status);

/** nvme_request_set_executing() - it may be at an image now, or not; a freeze waits for it */
void nvme_request_set_executing(struct nvme_request *request, bool executing);

/** nvme_request_execute() - what was parsed, now or when its namespace is ready */
void nvme_request_execute(struct nvme_request *request);

/** nvme_request_execute_now() - what waited in one of the worker's lists */
void nvme_request_execute_now(struct nvme_request *request);

/** nvme_request_take_in_hand() - should we die now, it may be because of this command */
void nvme_request_take_in_hand(struct nvme_request *request);

/** nvme_request_wait() - in one of the worker's lists, for nvme_request_execute_now() */
void nvme_request_wait(struct nvme_request *request, struct nvme_request_list *list);

/**
 * nvme_request_judged() - the command was found good and takes effect now; a successor that finds
 * it so knows that an effect that is there already is this command's
 */
void nvme_request_judged(struct nvme_request *request);

/** nvme_request_was_judged() - nvme_request_judged() has been called, perhaps by a predecessor */
bool nvme_request_was_judged(const struct nvme_request *request);

/**
 * nvme_request_complete() - the one completion point
 * @status: with NVME_DNR where a repetition cannot help
 */
void nvme_request_complete(struct nvme_request *request, nvme_status status);

/** nvme_request_executed() - put status and result into the journal */
void nvme_request_executed(struct nvme_request *request);

/** nvme_request_resume() - one that a predecessor has executed: post its completion */
void nvme_request_resume(struct nvme_request *request);

/** nvme_request_posted() - its completion is on the way to the queue */
void nvme_request_posted(struct nvme_request *request);

/** nvme_request_acknowledge() - go on with what the client has acknowledged. Return: was there
 * any? */
bool nvme_request_acknowledge(struct nvme_worker *worker);

/** nvme_request_has_acknowledged() - would nvme_request_acknowledge() find any? */
bool nvme_request_has_acknowledged(const struct nvme_worker *worker);

/** nvme_request_finish() - complete with a status, or drop when a reset came (-ECANCELED) */
void nvme_request_finish(struct nvme_request *request, nvme_result result);

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
