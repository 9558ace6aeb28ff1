/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_HOST_H
#define NVME_HOST_H

#include "base/util.h"
#include "block/block.h"

/*
 * What the NVMe controller model needs of the machine that it is plugged into: guest memory,
 * interrupts, threads. The seam for the program (src/controller/host.c, over vfio-user) and for the
 * tests (a fake machine in memory).
 *
 * Theory of operation
 *
 * Threads. There is one control thread (registers, resets) and `workers` I/O threads. A worker owns
 * whole queues: a CQ and every SQ that posts to it. Worker 0 also owns the admin queue. Nothing is
 * shared under a lock: what one thread wants of another it sends as a call (nvme_host_call()),
 * which runs there between two polls.
 *
 * Guest memory behaves as PCI's does. Most of it is mapped and used in place: nvme_host_resolve()
 * gives a pointer. What is not mapped (memory without a descriptor; every write while a migration
 * copies RAM) goes by message, with PCI's rules: writes are *posted*, they return at once and are
 * executed in order; reads wait; an interrupt is raised only after all writes that its thread
 * posted before it have been executed.
 *
 * No write waits for its execution, so a worker can always be stopped, drained or paused, whatever
 * the machine is doing. What can be put off (a read's data, a completion, fetching admin commands,
 * which answer with data) asks nvme_host_write_room() first; when there is room again the worker is
 * kicked.
 *
 * A pointer from nvme_host_resolve() is good until the thread's next pause point: the return of the
 * worker's poll function, or a nvme_host_read() that had to wait. While a worker stands at one, the
 * DMA map may change. So resolve everything after the last read of a step, and re-resolve cached
 * queue pointers when nvme_host.map_generation has moved. Memory already handed to the block
 * layer stays valid however the map changes (the host keeps it).
 *
 * A read that waits is ended with -ECANCELED by a reset; then drop what you were doing, the queue
 * is gone.
 */

#define NVME_HOST_READ	  (1u << 0) /* we read guest memory */
#define NVME_HOST_WRITE	  (1u << 1) /* we write guest memory */

#define NVME_HOST_CONTROL UINT32_MAX /* "thread" of nvme_host_call(): the control thread */

struct nvme_host;
struct nvme_write_log;

/* A call to another thread: embedded in whatever it is about, so that sending one cannot fail. */
struct nvme_host_call {
	void (*run)(struct nvme_host_call *call);
	struct nvme_host_call *next; /* the host's */
};

struct nvme_host_ops {
	void *(*resolve)(struct nvme_host *host, uint64_t iova, size_t len, unsigned access);
	bool (*contains)(struct nvme_host *host, uint64_t iova, size_t len, unsigned access);
	int (*read)(struct nvme_host *host, unsigned worker, uint64_t iova, void *buf, size_t len);
	int (*write)(struct nvme_host *host, unsigned worker, uint64_t iova, const void *buf,
		     size_t len);
	bool (*write_room)(struct nvme_host *host);
	void (*after_writes)(struct nvme_host *host, unsigned worker,
			     void (*fn)(void *opaque, unsigned value), void *opaque,
			     unsigned value);
	void (*fence)(struct nvme_host *host, void (*fn)(void *opaque, unsigned value),
		      void *opaque, unsigned value);
	bool (*writes_pending)(struct nvme_host *host, unsigned worker);
	uint64_t (*writes_posted)(struct nvme_host *host, unsigned worker);
	uint64_t (*writes_acknowledged)(struct nvme_host *host, unsigned worker);
	void (*interrupt)(struct nvme_host *host, unsigned worker, unsigned vector);
	void (*set_intx)(struct nvme_host *host, bool asserted);
	void (*call)(struct nvme_host *host, unsigned thread, struct nvme_host_call *call);
	void (*kick)(struct nvme_host *host, unsigned worker);
	void (*cancel_reads)(struct nvme_host *host, bool cancel);
	void (*io_error)(struct nvme_host *host, uint32_t nsid, enum block_op op, int error);
	void (*silent)(struct nvme_host *host);
	void (*block_size)(struct nvme_host *host, uint32_t nsid, uint32_t block_size);
};

struct nvme_host {
	const struct nvme_host_ops *ops;
	unsigned workers;		   /* >= 1, constant */
	struct nvme_write_log *write_logs; /* one a worker; NULL: nobody wants to know */
	unsigned map_generation; /* moves at every change of the DMA map, only while all workers
				    stand at a pause point */
};

/**
 * nvme_host_resolve() - a pointer to guest memory, for the accesses named
 *
 * Return: NULL if any byte of the range is unmapped, lacks the permission, is not contiguous here,
 * or must go by message. nvme_host_contains() tells the last from an error.
 */
static inline void *nvme_host_resolve(struct nvme_host *host, uint64_t iova, size_t len,
				      unsigned access)
{
	return host->ops->resolve(host, iova, len, access);
}

/** nvme_host_contains() - is the whole range mapped with that permission, directly or by message?
 */
static inline bool nvme_host_contains(struct nvme_host *host, uint64_t iova, size_t len,
				      unsigned access)
{
	return host->ops->contains(host, iova, len, access);
}

/**
 * nvme_host_read() - copy from guest memory; may wait (a pause point)
 *
 * Return: 0, -EFAULT (not mapped), -ECANCELED (a reset came), -EIO (the peer failed it).
 */
static inline int nvme_host_read(struct nvme_host *host, unsigned worker, uint64_t iova, void *buf,
				 size_t len)
{
	return host->ops->read(host, worker, iova, buf, len);
}

/**
 * nvme_host_write() - copy to guest memory; posted, in order for this worker
 *
 * Return: 0 or -EFAULT (not mapped writable). A failure after posting is not told, as on PCI.
 */
static inline int nvme_host_write(struct nvme_host *host, unsigned worker, uint64_t iova,
				  const void *buf, size_t len)
{
	return host->ops->write(host, worker, iova, buf, len);
}

/** nvme_host_write_room() - shall more be posted now? After a false all workers are kicked when it
 * may be */
static inline bool nvme_host_write_room(struct nvme_host *host)
{
	return host->ops->write_room(host);
}

/**
 * nvme_host_after_writes() - call @fn(@opaque, @value) when all writes that @worker has posted are
 * executed, or the client has gone
 *
 * At once when there are none, else on the control thread. Called on the worker's thread, or on the
 * control thread while the worker posts nothing. The same call for the same writes is made once.
 */
static inline void nvme_host_after_writes(struct nvme_host *host, unsigned worker,
					  void (*fn)(void *opaque, unsigned value), void *opaque,
					  unsigned value)
{
	host->ops->after_writes(host, worker, fn, opaque, value);
}

/**
 * nvme_host_fence() - call @fn(@opaque, @value) when all writes that a predecessor has posted are
 * executed, or the client has gone; control thread, perhaps at once
 */
static inline void nvme_host_fence(struct nvme_host *host, void (*fn)(void *opaque, unsigned value),
				   void *opaque, unsigned value)
{
	host->ops->fence(host, fn, opaque, value);
}

/**
 * nvme_host_writes_pending() - may writes that this worker has posted not be executed yet?
 *
 * Then what shall be seen after them goes by nvme_host_write() too: a store through a pointer would
 * overtake them.
 */
static inline bool nvme_host_writes_pending(struct nvme_host *host, unsigned worker)
{
	return host->ops->writes_pending(host, worker);
}

/**
 * nvme_host_writes_posted() - how many writes this worker has posted by message
 *
 * A write that nvme_host_write() has posted is visible to the guest once
 * nvme_host_writes_acknowledged() has reached what this said right after it; one that was stored
 * directly is at once, and the two are then equal unless older ones are under way. On the worker's
 * own thread. Without a client the two are equal; a new client begins anew, after a reset.
 */
static inline uint64_t nvme_host_writes_posted(struct nvme_host *host, unsigned worker)
{
	return host->ops->writes_posted(host, worker);
}

/** nvme_host_writes_acknowledged() - and how many of them have been executed: the oldest ones */
static inline uint64_t nvme_host_writes_acknowledged(struct nvme_host *host, unsigned worker)
{
	return host->ops->writes_acknowledged(host, worker);
}

/** nvme_host_interrupt() - signal an MSI-X (or MSI) vector, after this worker's posted writes */
static inline void nvme_host_interrupt(struct nvme_host *host, unsigned worker, unsigned vector)
{
	host->ops->interrupt(host, worker, vector);
}

/** nvme_host_set_intx() - drive the INTx# level (only when MSI-X is off); control thread */
static inline void nvme_host_set_intx(struct nvme_host *host, bool asserted)
{
	host->ops->set_intx(host, asserted);
}

/**
 * nvme_host_call() - run @call->run() on a thread: a worker's index, or NVME_HOST_CONTROL
 *
 * Never from inside this function, also not when the thread is the caller's own. In order per
 * sender.
 * @call is the host's until run() is called, and may be sent again from there.
 */
static inline void nvme_host_call(struct nvme_host *host, unsigned thread,
				  struct nvme_host_call *call)
{
	host->ops->call(host, thread, call);
}

/** nvme_host_kick() - a doorbell moved: make the worker poll; no system call when it is awake */
static inline void nvme_host_kick(struct nvme_host *host, unsigned worker)
{
	host->ops->kick(host, worker);
}

/** nvme_host_cancel_reads() - end all waiting reads with -ECANCELED, and new ones too until called
 * with false */
static inline void nvme_host_cancel_reads(struct nvme_host *host, bool cancel)
{
	host->ops->cancel_reads(host, cancel);
}

/**
 * nvme_host_io_error() - the storage has failed an @op with @error (errno), and commands are held
 * until nvme_controller_retry(); control thread
 */
static inline void nvme_host_io_error(struct nvme_host *host, uint32_t nsid, enum block_op op,
				      int error)
{
	host->ops->io_error(host, nsid, op, error);
}

/**
 * nvme_host_silent() - the guest has said nothing for its Keep Alive Timeout: could it? Control
 * thread
 *
 * nvme_controller_guest_ran() answers, perhaps from inside.
 */
static inline void nvme_host_silent(struct nvme_host *host)
{
	host->ops->silent(host);
}

/**
 * nvme_host_block_size() - a namespace that is all zeroes shall have that block size; it is to be
 * recorded where the machine's next start finds it, durably, before
 * nvme_controller_set_block_size(); control thread
 */
static inline void nvme_host_block_size(struct nvme_host *host, uint32_t nsid, uint32_t block_size)
{
	host->ops->block_size(host, nsid, block_size);
}

#endif
