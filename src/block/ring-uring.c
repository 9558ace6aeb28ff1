// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Theory of operation
 *
 * At most `depth` requests have a system call in the submission queue or in the kernel (`active`);
 * the others wait in `backlog`. The queues are made larger than that, so that neither can run full.
 *
 * A kick is an eventfd on which the ring keeps one poll request of its own, KICK, armed while the
 * thread sleeps. Its completion may turn up in wait(), which sees it before it sleeps or after, or
 * among others in reap(), which then remembers it in `kicked`, so that the next wait() does not
 * sleep: a kick between the caller's last look at its own work and wait() is not lost.
 *
 * With DEFER_TASKRUN the kernel posts completions only when this thread enters it; a flag in the
 * shared page says when that is needed, and io_uring_peek_cqe() looks at it. So reap() costs no
 * system call while nothing has happened.
 *
 * More than a few entries are not kept for the next flush: the kernel holds all that is submitted
 * together back until it has gone through the last of them (a block plug), so a disk that has
 * nothing to do would stand while we and the kernel prepare what a deep queue has brought. As long as the
 * disk has less to do than that, none is kept but one that is alone.
 *
 * io_uring copies an iovec array when it is submitted (IORING_FEAT_SUBMIT_STABLE), so one scratch
 * array serves all continuations of short transfers: whoever needs it next submits first.
 */
#include "block/ring.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>

#include "base/fd.h"
#include "base/log.h"

struct uring {
	struct block_ring ring;
	struct io_uring io;
	unsigned active;
	struct block_queue backlog;
	bool armed;	   /* KICK is in the kernel */
	bool kicked;	   /* reap() saw it; wait() owes a return */
	bool scratch_used; /* by an entry that is not yet submitted */
	struct iovec scratch[BLOCK_MAX_IOV];
};

/* Measured at depth 32 and 128: with 16 and more the disk stands, with 2 the calls cost a fifth. */
#define SUBMIT_AT_ONCE 4

/* user_data of our own poll request; all others are requests. */
#define KICK NULL

static struct uring *to_uring(struct block_ring *ring)
{
	return container_of(ring, struct uring, ring);
}

/* Only what passes by itself is worth another attempt; the rest would be a bug of ours, such as a
 * call from a thread that is not the ring's. */
static void check_submit(int ret)
{
	if (ret >= 0 || ret == -EINTR || ret == -EAGAIN || ret == -EBUSY || ret == -ETIME)
		return;
	log_error("io_uring does not take requests: %s", strerror(-ret));
	abort();
}

static void submit_entries(struct uring *uring)
{
	int ret = 1;

	/* The kernel stops behind an entry that it refuses, which is answered like any other. */
	while (io_uring_sq_ready(&uring->io) && ret > 0) {
		ret = io_uring_submit(&uring->io);
		check_submit(ret);
	}
	if (!io_uring_sq_ready(&uring->io))
		uring->scratch_used = false;
}

static struct io_uring_sqe *get_entry(struct uring *uring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->io);

	if (!sqe) {
		submit_entries(uring);
		sqe = io_uring_get_sqe(&uring->io);
	}
	return sqe;
}

static struct __kernel_timespec a_while = { .tv_nsec = BLOCK_WAIT_NS };

static void fill_entry(struct io_uring_sqe *sqe, const struct block_call *call)
{
	const struct iovec *iov = call->iov;

	switch (call->kind) {
	case BLOCK_CALL_READ:
		if (call->iovcnt == 1)
			io_uring_prep_read(sqe, call->fd, iov->iov_base, iov->iov_len,
					   call->offset);
		else
			io_uring_prep_readv(sqe, call->fd, iov, call->iovcnt, call->offset);
		sqe->rw_flags = call->flags;
		break;
	case BLOCK_CALL_WRITE:
		if (call->iovcnt == 1)
			io_uring_prep_write(sqe, call->fd, iov->iov_base, iov->iov_len,
					    call->offset);
		else
			io_uring_prep_writev(sqe, call->fd, iov, call->iovcnt, call->offset);
		sqe->rw_flags = call->flags;
		break;
	case BLOCK_CALL_SYNC:
		io_uring_prep_fsync(sqe, call->fd, IORING_FSYNC_DATASYNC);
		break;
	case BLOCK_CALL_FALLOCATE:
		io_uring_prep_fallocate(sqe, call->fd, call->flags, call->offset, call->length);
		break;
	case BLOCK_CALL_WAIT:
		io_uring_prep_timeout(sqe, &a_while, 0, 0);
		break;
	}
	if (call->may_block)
		sqe->flags |= IOSQE_ASYNC;
}

/* Queue the request's next system call. False when there is no room, then nothing has changed. */
static bool start(struct uring *uring, struct block_request *request)
{
	struct block_call call = { .scratch = uring->scratch };
	struct io_uring_sqe *sqe;

	if (uring->scratch_used) {
		submit_entries(uring);
		if (uring->scratch_used)
			return false;
	}
	sqe = get_entry(uring);
	if (!sqe)
		return false;
	request->priv.block->ops->prepare(request, &call);
	fill_entry(sqe, &call);
	io_uring_sqe_set_data(sqe, request);
	uring->scratch_used = call.iov == uring->scratch && call.iovcnt > 1;
	uring->active++;
	return true;
}

static void start_backlog(struct uring *uring)
{
	while (uring->backlog.first && uring->active < uring->ring.depth) {
		struct block_request *request = block_queue_take(&uring->backlog);

		if (!start(uring, request)) {
			/* The kernel is short of memory: the next flush tries again. Order among
			 * requests in flight is nobody's right. */
			block_queue_add(&uring->backlog, request);
			return;
		}
	}
}

/* What is queued: shall it wait for more, or for the next flush? */
static bool may_wait(const struct uring *uring)
{
	unsigned ready = io_uring_sq_ready(&uring->io);
	unsigned there = uring->active > ready ? uring->active - ready : 0;

	if (there >= SUBMIT_AT_ONCE)
		return ready < SUBMIT_AT_ONCE;
	/* One alone: its caller will soon sleep, which submits with the same system call. */
	return !there && ready == 1;
}

static void uring_execute(struct block_ring *ring, struct block_request *request)
{
	struct uring *uring = to_uring(ring);

	if (uring->backlog.first || uring->active >= ring->depth || !start(uring, request))
		block_queue_add(&uring->backlog, request);
	else if (!may_wait(uring))
		submit_entries(uring);
}

static void uring_flush(struct block_ring *ring)
{
	struct uring *uring = to_uring(ring);

	start_backlog(uring);
	submit_entries(uring);
}

static void take_kick(struct uring *uring, struct io_uring_cqe *cqe)
{
	io_uring_cqe_seen(&uring->io, cqe);
	uring->armed = false;
	fd_eventfd_drain(uring->ring.kick_fd);
}

static unsigned uring_reap(struct block_ring *ring)
{
	struct uring *uring = to_uring(ring);
	struct io_uring_cqe *cqe;
	unsigned finished = 0, left;
	bool more = false;

	/* No more than there can be now: done() may submit, and others wait for this thread too. */
	for (left = uring->active + 1; left && io_uring_peek_cqe(&uring->io, &cqe) == 0; left--) {
		struct block_request *request = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		if (request == KICK) {
			take_kick(uring, cqe);
			uring->kicked = true;
			continue;
		}
		/* Before done(), which may call us again. */
		io_uring_cqe_seen(&uring->io, cqe);
		uring->active--;
		if (request->priv.block->ops->advance(request, result)) {
			finished++;
			block_ring_finish(ring, request);
		} else {
			block_queue_add(&uring->backlog, request);
			more = true;
		}
	}
	/* What waits inside the ring is not the caller's to flush. */
	if (more || (finished && uring->backlog.first))
		uring_flush(ring);
	return finished;
}

static void arm_kick(struct uring *uring)
{
	struct io_uring_sqe *sqe;

	if (uring->armed)
		return;
	sqe = get_entry(uring);
	if (!sqe)
		return;
	io_uring_prep_poll_add(sqe, uring->ring.kick_fd, POLLIN);
	io_uring_sqe_set_data(sqe, KICK);
	uring->armed = true;
}

/* Is there a reason not to sleep? A kick is taken, completions stay for reap(). */
static bool something_happened(struct uring *uring)
{
	struct io_uring_cqe *cqe;

	if (uring->kicked) {
		uring->kicked = false;
		return true;
	}
	if (io_uring_peek_cqe(&uring->io, &cqe) != 0)
		return false;
	if (io_uring_cqe_get_data(cqe) == KICK)
		take_kick(uring, cqe);
	return true;
}

static void uring_wait(struct block_ring *ring, int64_t timeout_ns)
{
	struct uring *uring = to_uring(ring);
	struct io_uring_cqe *cqe;
	int ret;

	start_backlog(uring);
	arm_kick(uring);
	if (something_happened(uring)) {
		submit_entries(uring);
		return;
	}
	if (timeout_ns < 0) {
		ret = io_uring_submit_and_wait(&uring->io, 1);
	} else {
		struct __kernel_timespec ts = { .tv_sec = timeout_ns / 1000000000,
						.tv_nsec = timeout_ns % 1000000000 };

		ret = io_uring_submit_and_wait_timeout(&uring->io, &cqe, 1, &ts, NULL);
	}
	check_submit(ret);
	if (!io_uring_sq_ready(&uring->io))
		uring->scratch_used = false;
	/* Reported by returning. */
	something_happened(uring);
}

static void uring_free(struct block_ring *ring)
{
	struct uring *uring = to_uring(ring);

	io_uring_queue_exit(&uring->io);
	free(uring);
}

static const struct block_ring_ops uring_ops = {
	.kind = BLOCK_RING_URING,
	.execute = uring_execute,
	.flush = uring_flush,
	.reap = uring_reap,
	.wait = uring_wait,
	.free = uring_free,
};

struct block_ring *block_ring_uring_new(unsigned depth, int *ret_errno)
{
	/* Best first; what a kernel does not know it refuses with EINVAL. */
	static const unsigned flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	const unsigned needed =
		IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_EXT_ARG;
	struct uring *uring = calloc(1, sizeof(*uring));
	unsigned features, i;
	int ret = -EINVAL;

	if (!uring) {
		*ret_errno = ENOMEM;
		return NULL;
	}
	for (i = 0; i < ARRAY_SIZE(flags) && ret == -EINVAL; i++) {
		struct io_uring_params params = { .flags = flags[i] };

		/* One more for the kick; the kernel rounds up to a power of two. */
		ret = io_uring_queue_init_params(depth + 1, &uring->io, &params);
		features = params.features;
	}
	if (ret == 0 && (features & needed) != needed) {
		io_uring_queue_exit(&uring->io);
		ret = -ENOSYS;
	}
	if (ret < 0) {
		free(uring);
		*ret_errno = -ret;
		return NULL;
	}
	/* Saves looking up the descriptor at each entry; older kernels do without. */
	io_uring_register_ring_fd(&uring->io);
	block_queue_init(&uring->backlog);
	uring->ring.ops = &uring_ops;
	return &uring->ring;
}
