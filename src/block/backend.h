/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BLOCK_BACKEND_H
#define BLOCK_BACKEND_H

#include "block/block.h"

/*
 * Private to this folder: what a backend is made of.
 *
 * Theory of operation
 *
 * A backend either answers inside submit() (memory, null), or it works by system calls, one after
 * another (file). Then, unless these cannot wait, submit() hands the request to its ring with block_ring_execute(), and the
 * ring asks prepare() for the next system call, makes it, and gives the outcome to advance() until
 * that says the request is finished. What has to be remembered in between is in request->priv: a
 * request needs no memory of its own, and a backend does not know which kind of ring it runs on.
 *
 * prepare() and advance() run on the ring's thread or on a worker of it, for one request never two
 * at a time. What requests share, the struct block, they touch only atomically.
 */

enum block_call_kind {
	BLOCK_CALL_READ,
	BLOCK_CALL_WRITE,
	BLOCK_CALL_SYNC, /* fdatasync */
	BLOCK_CALL_FALLOCATE,
	BLOCK_CALL_WAIT, /* nothing, for BLOCK_WAIT_NS */
};

#define BLOCK_WAIT_NS 5000000

/* One system call. */
struct block_call {
	enum block_call_kind kind;
	int fd;
	uint64_t offset;
	uint64_t length;	 /* FALLOCATE */
	const struct iovec *iov; /* READ, WRITE */
	unsigned iovcnt;
	int flags;	       /* RWF_* or FALLOC_FL_* */
	bool may_block;	       /* it came back with EAGAIN: wait for it in the kernel */
	struct iovec *scratch; /* the ring's: BLOCK_MAX_IOV entries that iov may point to */
};

struct block_ops {
	/* The request is sane: inside the capacity, aligned, allowed; READ and WRITE have bytes. */
	void (*submit)(struct block *block, struct block_ring *ring, struct block_request *request);
	/* A hint, see block_prefetch(); inside the capacity; NULL: it would not help. */
	void (*prefetch)(const struct block *block, uint64_t offset, uint64_t bytes);
	void (*prepare)(struct block_request *request, struct block_call *call);
	/* The first half of submit(), for a backend that stands before this one: what the first
	 * system call will be. Return: finished without one, with the result in priv.result. */
	bool (*start)(struct block_request *request);
	/* @result: bytes or -errno. Return: finished, with the result in priv.result. */
	bool (*advance)(struct block_request *request, int result);
	int (*refresh)(struct block *block);
	void (*close)(struct block *block);
};

struct block {
	const struct block_ops *ops;
	struct block_info info;
};

/** block_complete() - the one place from which done() is called */
void block_complete(struct block_request *request, int result);

/** block_carry_out() - make a request's system calls here, one after another, until it is finished
 * @scratch: BLOCK_MAX_IOV entries */
void block_carry_out(struct block_request *request, struct iovec *scratch);

#endif
