/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_IO_THREAD_H
#define CONTROLLER_IO_THREAD_H

#include <sched.h>

#include "block/block.h"
#include "nvme/controller.h"

/*
 * The I/O threads. Each has one ring and, of every device, one worker; all of them serve all
 * devices of the process. See io-thread.c for how they sleep, are woken and are made to stand.
 */
struct io_threads;
struct io_thread;

#define IO_THREADS_MAX	       16
#define IO_THREADS_MAX_DEVICES 64

/**
 * io_threads_new() - start @count threads (1 to IO_THREADS_MAX), running when this returns
 * @poll_max_us: the longest that one without work polls before it sleeps, see polling.h
 * @pins: where each of them runs (pinning.h), an empty set: anywhere; NULL: so do all
 *
 * Return: NULL with a sentence.
 */
struct io_threads *io_threads_new(unsigned count, enum block_ring_kind kind, unsigned poll_max_us,
				  const cpu_set_t *pins, struct error **errp);

/** io_threads_free() - end and join them; no workers are left and nothing is in flight */
void io_threads_free(struct io_threads *threads);

unsigned io_threads_count(const struct io_threads *threads);

/** io_threads_pin() - where thread @index shall run; NULL: anywhere */
const cpu_set_t *io_threads_pin(const struct io_threads *threads, unsigned index);

/** io_threads_affinity() - where it may run in fact. Return: 0 or -errno */
int io_threads_affinity(const struct io_threads *threads, unsigned index, cpu_set_t *ret);

/** io_threads_call() - run @call on thread @index, or NVME_HOST_CONTROL; any thread; in order per
 * sender */
void io_threads_call(struct io_threads *threads, unsigned index, struct nvme_host_call *call);

/** io_threads_kick() - thread @index polls once more; any thread; no system call when it is awake
 */
void io_threads_kick(struct io_threads *threads, unsigned index);

/** io_threads_hold_kicks() - kicks by the calling thread wait for io_threads_release_kicks()
 *
 * For a batch of messages: doorbells that come together are found together, by one wake-up.
 */
void io_threads_hold_kicks(struct io_threads *threads);
void io_threads_release_kicks(struct io_threads *threads);

/** io_threads_control_fd() - readable when there are calls for the control thread: run
 * io_threads_run_control() */
int io_threads_control_fd(const struct io_threads *threads);
void io_threads_run_control(struct io_threads *threads);

/**
 * io_threads_pause() - control thread: return when every thread stands at a pause point
 *
 * They stay there until io_threads_resume(). Never waits for I/O: a thread that sleeps in its ring,
 * or waits for the client, stands already. Nests.
 */
void io_threads_pause(struct io_threads *threads);
void io_threads_resume(struct io_threads *threads);

/** io_threads_wait_enter() - the calling I/O thread stands until it calls _leave(): for a wait in
 * the middle of a poll */
void io_threads_wait_enter(void *unused);
void io_threads_wait_leave(void *unused);

/*
 * Something that every thread does between two polls. Embedded in what it is about, so that it
 * cannot fail for want of memory; in use until done() is called, on the control thread.
 */
struct io_operation {
	struct io_threads *threads;
	struct nvme_controller *ctrl;
	void (*done)(struct io_operation *operation);
	unsigned left;
	bool failed;
	struct io_part {
		struct nvme_host_call there, back;
		struct io_operation *operation;
		struct io_thread *thread;
		struct io_part *next; /* the thread's */
		bool failed;
	} parts[IO_THREADS_MAX];
};

/** io_threads_add() - every thread makes a worker of @ctrl; .failed when one could not */
void io_threads_add(struct io_threads *threads, struct io_operation *operation,
		    struct nvme_controller *ctrl, void (*done)(struct io_operation *operation));

/** io_threads_remove() - every thread frees its worker of @ctrl, which has nothing in flight */
void io_threads_remove(struct io_threads *threads, struct io_operation *operation,
		       struct nvme_controller *ctrl, void (*done)(struct io_operation *operation));

/**
 * io_threads_after_in_flight() - done when every block request that is in flight now is over
 *
 * One at a time of an operation: not again before done().
 */
void io_threads_after_in_flight(struct io_threads *threads, struct io_operation *operation,
				void (*done)(struct io_operation *operation));

#endif
