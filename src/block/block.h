/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include <sys/uio.h>

#include "base/error.h"

/*
 * Theory of operation
 *
 * A `struct block` is one opened image, shared by all threads. A `struct block_ring` belongs to one
 * thread: requests are submitted through it, complete on it, and the thread sleeps in it, so that
 * one wait covers completions and kicks alike. There are two kinds of ring behind one interface:
 * io_uring, and where the kernel refuses io_uring, poll() with a few worker threads.
 *
 * A request is embedded in its owner's object; the block layer allocates nothing per request.
 * done() is called on the ring's thread, exactly once, from block_ring_reap() or, for backends that
 * need no wait (memory, null) and for errors found at once, from inside block_submit() itself, of
 * this request or of one before: the caller must be ready for that.
 *
 * Short reads and writes are continued here, so result is all or nothing. A read beyond a short
 * image's end is zeroes. Results are 0 or -errno, and the errno keeps its meaning to the end:
 * -ENOSPC (a full quota and a file size limit included), -EIO, -EROFS, -ENOTSUP... A request that
 * breaks the rules below is answered with -EINVAL and touches nothing.
 *
 * Volatile cache: `block_info.volatile_cache` says whether an acknowledged write may still be lost
 * by a power cut. Then BLOCK_FLUSH and BLOCK_FUA make it durable; else they cost nothing.
 */

enum block_op {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,
	BLOCK_WRITE_ZEROES, /* only when block_info.can_write_zeroes */
	BLOCK_DISCARD,	    /* a hint; only when block_info.can_discard */
};

#define BLOCK_FUA     (1u << 0) /* BLOCK_WRITE, BLOCK_WRITE_ZEROES: durable before done() */
#define BLOCK_NO_HOLE (1u << 1) /* BLOCK_WRITE_ZEROES: keep the space allocated */

struct block;
struct block_ring;

struct block_request {
	enum block_op op;
	unsigned flags;
	uint64_t offset;   /* bytes; a multiple of block_info.block_size */
	uint64_t bytes;	   /* the same; the sum of iov for READ and WRITE; inside the capacity */
	struct iovec *iov; /* owned by the caller, untouched, valid until done() */
	unsigned iovcnt;   /* at most BLOCK_MAX_IOV */
	void (*done)(struct block_request *request, int result);

	/* The backend's, from block_submit() to done(). */
	struct {
		struct block *block;
		struct block_ring *ring;
		struct block_request *next;
		void *bounce;	   /* stands in for an iov that O_DIRECT would not take */
		uint64_t progress; /* bytes done so far of a short transfer */
		int result;
		uint8_t phase;	 /* which of several system calls is next */
		uint8_t retries; /* in a row that went no further */
		uint8_t period;	 /* in which it was submitted, see block_ring_mark() */
	} priv;
};

/* An MDTS of 1 MiB at 4 KiB a PRP entry, plus one for an offset into the first page; below IOV_MAX.
 */
#define BLOCK_MAX_IOV 257

struct block_info {
	uint64_t capacity;   /* bytes, a multiple of block_size */
	uint32_t block_size; /* what requests must be aligned to: 1 for buffered files, else the
				device's (512, 4096) */
	uint32_t memory_alignment; /* iov bases that are not, and iov lengths that are no multiple
				      of block_size, cost a copy (O_DIRECT); 1 if none */
	uint32_t granularity; /* writes and holes that are no multiple of it, at a multiple, cost
				 more or free less; a power of two, 1 if it is all the same */
	bool read_only;
	bool volatile_cache;
	bool can_write_zeroes;
	bool can_discard;
};

/*
 * How an image is opened. The image lock is not taken here: it belongs to the keeper (or,
 * standalone, to main), see block/lock.h. The descriptor is opened by whoever may; the controller
 * has no file system.
 */
enum block_cache {
	BLOCK_CACHE_NONE,
	BLOCK_CACHE_WRITEBACK,
	BLOCK_CACHE_WRITETHROUGH
};

struct block_file_options {
	enum block_cache cache; /* NONE: the descriptor was opened with O_DIRECT */
	bool read_only;
	bool discard;	/* discard="unmap" */
	bool in_memory; /* of a memfd: reads and writes copy, and wait for nothing */
};

/**
 * block_open_file() - a regular file or block device
 * @fd: owned by the block from here on, also on failure
 *
 * Return: NULL with a sentence.
 */
struct block *block_open_file(int fd, const struct block_file_options *options,
			      struct error **errp);

/** block_open_memory() - anonymous memory, zeroes at first, nothing survives; NULL with a sentence
 */
struct block *block_open_memory(uint64_t bytes, struct error **errp);

/** block_open_null() - reads zeroes (the buffer is not touched), forgets writes; for benchmarks */
struct block *block_open_null(uint64_t bytes);

/** block_get_info() - valid as long as the block; capacity changes only in block_refresh() */
const struct block_info *block_get_info(const struct block *block);

/**
 * block_refresh() - read the size again (resize), if it can change; nobody submits meanwhile
 * @limit: bytes that are not exceeded, however large it is; 0: none
 *
 * What was submitted before may still be at the image behind the new end.
 *
 * Return: 0, -EINVAL when nothing would be left, or another -errno; then nothing has changed.
 */
int block_refresh(struct block *block, uint64_t limit);

/** block_close() - no request may be in flight */
void block_close(struct block *block);

/** block_submit() - see the theory above; may be batched until the next block_ring_flush() or
 * _wait() */
void block_submit(struct block *block, struct block_ring *ring, struct block_request *request);

/**
 * block_prefetch() - a read of these bytes is about to be submitted; a hint
 *
 * To be called about one request ahead. Has no effect that could be seen, and takes any numbers.
 */
void block_prefetch(const struct block *block, uint64_t offset, uint64_t bytes);

/*
 * Rings
 */
enum block_ring_kind {
	BLOCK_RING_AUTO,
	BLOCK_RING_URING,
	BLOCK_RING_THREADS
};

/**
 * block_ring_new() - a ring for the calling thread; all other calls for it must come from that
 *thread, but for block_ring_kick()
 * @kind: AUTO tries io_uring and falls back to threads
 * @depth: requests in flight before further ones wait in a list inside the ring (unbounded by it:
 *the caller bounds)
 */
struct block_ring *block_ring_new(enum block_ring_kind kind, unsigned depth, struct error **errp);
void block_ring_free(struct block_ring *ring);

/** block_ring_kind() - URING or THREADS: what AUTO became */
enum block_ring_kind block_ring_kind(const struct block_ring *ring);

/** block_ring_flush() - give what was submitted to the kernel; no system call when there is nothing
 */
void block_ring_flush(struct block_ring *ring);

/** block_ring_reap() - call done() for what has completed; never sleeps, no system call when
 * nothing is in flight. Return: how many completed. */
unsigned block_ring_reap(struct block_ring *ring);

/**
 * block_ring_wait() - flush, then sleep until something completes, block_ring_kick() is called, or
 * the timeout ends
 * @timeout_ns: -1 for ever
 *
 * Does not call done(). A kick that came before is not lost.
 */
void block_ring_wait(struct block_ring *ring, int64_t timeout_ns);

/** block_ring_kick() - wake the ring's thread; callable from any thread; async-signal-safe */
void block_ring_kick(struct block_ring *ring);

/** block_ring_in_flight() - requests submitted and not yet done() */
unsigned block_ring_in_flight(const struct block_ring *ring);

/**
 * block_ring_mark() - mark what is in flight now; block_ring_marked() then counts down to 0
 *
 * To know when memory that requests may point to can go, while new ones keep coming. One mark at a
 * time: not again before the count is 0.
 */
void block_ring_mark(struct block_ring *ring);
unsigned block_ring_marked(const struct block_ring *ring);

#endif
