/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BLOCK_RING_H
#define BLOCK_RING_H

#include "block/backend.h"

/*
 * Private to this folder: the two kinds of ring behind block.h's one interface.
 */
struct block_ring_ops {
	enum block_ring_kind kind;
	void (*execute)(struct block_ring *ring, struct block_request *request);
	void (*flush)(struct block_ring *ring);
	unsigned (*reap)(struct block_ring *ring);
	void (*wait)(struct block_ring *ring, int64_t timeout_ns);
	void (*free)(struct block_ring *ring);
};

/* Requests in order of arrival, linked by priv.next. */
struct block_queue {
	struct block_request *first;
	struct block_request **last; /* where the next one is linked in */
};

struct block_ring {
	const struct block_ring_ops *ops;
	unsigned depth;
	unsigned in_flight[2]; /* submitted and not yet done(), by the period of submission */
	uint8_t period;	       /* 0 or 1: the present one; block_ring_mark() begins the other */
	int kick_fd;	       /* eventfd; whoever sleeps in the ring watches it */
	struct block_queue streamed; /* executed, but others may not see what was written yet */
	unsigned streamed_count;
};

static inline void block_queue_init(struct block_queue *queue)
{
	queue->first = NULL;
	queue->last = &queue->first;
}

static inline void block_queue_add(struct block_queue *queue, struct block_request *request)
{
	request->priv.next = NULL;
	*queue->last = request;
	queue->last = &request->priv.next;
}

static inline struct block_request *block_queue_take(struct block_queue *queue)
{
	struct block_request *request = queue->first;

	if (request) {
		queue->first = request->priv.next;
		if (!queue->first)
			queue->last = &queue->first;
	}
	return request;
}

/** block_ring_execute() - run a request's system calls; for backends, on the ring's thread */
void block_ring_execute(struct block_ring *ring, struct block_request *request);

/**
 * block_ring_streamed() - a request was executed by block_stream_copy(): done() after the fence
 *
 * One is for several requests. It is made here, then done() is called for earlier ones too, or at
 * the latest in the next block_ring_reap().
 */
void block_ring_streamed(struct block_ring *ring, struct block_request *request);

/** block_ring_finish() - done() for a request that went through the ring; for rings */
void block_ring_finish(struct block_ring *ring, struct block_request *request);

/** block_ring_uring_new() - NULL and @ret_errno, positive, where the kernel has no io_uring for us
 */
struct block_ring *block_ring_uring_new(unsigned depth, int *ret_errno);

/** block_ring_threads_new() - NULL when memory or descriptors are used up */
struct block_ring *block_ring_threads_new(int *ret_errno);

#endif
