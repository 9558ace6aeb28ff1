/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_DRIVER_H
#define BENCH_DRIVER_H

#include "bench/client.h"
#include "nvme/spec.h"

/*
 * Theory of operation
 *
 * A driver of the leanest kind: queues and buffers are made once, a command is one entry in a
 * queue, its completion is found by looking at the phase.
 *
 * Shadow doorbells (Doorbell Buffer Config, NVMe 1.3 section 5.7 and 7.13): the driver writes its
 * tails and heads to a page of guest memory; beside it the controller keeps, for each, up to which
 * value it needs no telling. Only when a step passes that value the register is written, which is
 * a system call here and a trap in a guest. A full fence between the store of the doorbell and the
 * look at the event index: one of the two sides sees the other.
 */
struct driver_queue {
	struct nvme_command *sq;
	volatile struct nvme_completion *cq;
	unsigned entries;
	unsigned id;
	uint16_t tail, head, old_tail, old_head;
	uint32_t phase;
	uint32_t *shadow;	  /* [0] the tail, [1] the head, or mapped; NULL: without */
	volatile uint32_t *event; /* the same for the event indexes; NULL: mapped */
};

#define DRIVER_MAX_QUEUES 64

struct driver {
	struct client client;
	uint64_t free; /* where unused guest memory begins */
	struct driver_queue admin;
	struct driver_queue queues[DRIVER_MAX_QUEUES];
	unsigned queue_count;
	int interrupt; /* eventfd of all vectors */
	bool interrupts;
	uint32_t *shadow, *event;
	uint64_t blocks;
	unsigned block_shift;
	unsigned max_transfer;
};

enum driver_doorbells {
	DRIVER_DOORBELLS_AUTO,
	DRIVER_DOORBELLS_SHADOW,
	DRIVER_DOORBELLS_TRAPPED,
	DRIVER_DOORBELLS_MAPPED,
};

struct driver_options {
	const char *socket;
	uint64_t memory; /* for buffers */
	bool hugepages;
	unsigned queues, entries;
	bool interrupts;
	enum driver_doorbells doorbells;
	uint32_t nsid;
};

/** driver_open() - connect, enable the controller, make the queues */
int driver_open(struct driver *driver, const struct driver_options *options, struct error **errp);
void driver_close(struct driver *driver);

/** driver_alloc() - whole pages of guest memory; NULL and a sentence when there is no more */
void *driver_alloc(struct driver *driver, uint64_t bytes, struct error **errp);
uint64_t driver_address(const struct driver *driver, const void *memory);

/** driver_set_buffer() - PRPs for @bytes at page-aligned @buffer; @list is a page for the list */
void driver_set_buffer(const struct driver *driver, struct nvme_command *command,
		       const void *buffer, size_t bytes, uint64_t *list);

/** driver_put() - the next entry of the submission queue; there is room. Told by driver_ring(). */
static inline void driver_put(struct driver_queue *queue, const struct nvme_command *command)
{
	queue->sq[queue->tail] = *command;
	if (++queue->tail == queue->entries)
		queue->tail = 0;
}

/**
 * driver_take() - the next completion, if there is one
 *
 * Return: the last dword of it, without the phase; 0xffffffff: none. Told by driver_ring().
 */
static inline uint32_t driver_take(struct driver_queue *queue)
{
	uint32_t last = LOAD_ACQUIRE(queue->cq[queue->head].last);

	if ((last >> 16 & 1) != queue->phase)
		return UINT32_MAX;
	if (++queue->head == queue->entries) {
		queue->head = 0;
		queue->phase ^= 1;
	}
	return last & ~(1u << 16);
}

void driver_ring_registers(struct driver *driver, struct driver_queue *queue, bool tail, bool head);

/* Section 7.13.1: does the step from @old to @now pass @event? */
static inline bool driver_must_tell(uint16_t event, uint16_t now, uint16_t old)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

/** driver_ring() - tell the controller about what was put and taken since the last time */
static inline void driver_ring(struct driver *driver, struct driver_queue *queue)
{
	bool tail = queue->tail != queue->old_tail, head = queue->head != queue->old_head;

	if (queue->shadow) {
		STORE_RELEASE(queue->shadow[0], queue->tail);
		STORE_RELEASE(queue->shadow[1], queue->head);
		tail = tail && queue->event;
		head = head && queue->event;
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		tail = tail && driver_must_tell(queue->event[0], queue->tail, queue->old_tail);
		head = head && driver_must_tell(queue->event[1], queue->head, queue->old_head);
	}
	queue->old_tail = queue->tail;
	queue->old_head = queue->head;
	if (tail || head)
		driver_ring_registers(driver, queue, tail, head);
}

#endif
