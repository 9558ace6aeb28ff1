// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/ring.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "base/fd.h"
#include "base/i18n.h"
#include "base/log.h"
#include "block/stream.h"

/* More requests than that at a time help no device; the rest waits in the ring. */
#define DEPTH_MAX 1024u

/* Requests that one fence is for. With two it costs a quarter more, eight gain nothing and keep the
 * guest waiting. Of larger ones it is a small part. */
#define STREAMED_MAX   4
#define STREAMED_BYTES (16 * KiB)

/* A write past RLIMIT_FSIZE is an answer to the guest, not a reason to die. The signal goes to the
 * thread that made the system call, which is this one or one that inherits its mask. */
static void block_file_size_signal(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGXFSZ);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

struct block_ring *block_ring_new(enum block_ring_kind kind, unsigned depth, struct error **errp)
{
	struct block_ring *ring = NULL;
	int err = 0;

	depth = MAX(1u, MIN(depth, DEPTH_MAX));
	if (kind != BLOCK_RING_THREADS) {
		ring = block_ring_uring_new(depth, &err);
		if (!ring && kind == BLOCK_RING_URING) {
			error_set_errno(errp, err,
					_("io_uring is not available here (use io=\"threads\")"));
			return NULL;
		}
		if (!ring)
			log_info("io_uring is not available (%s): using threads", strerror(err));
	}
	if (!ring)
		ring = block_ring_threads_new(&err);
	if (!ring) {
		error_set_errno(errp, err, _("cannot make a ring for disk requests"));
		return NULL;
	}
	ring->depth = depth;
	block_queue_init(&ring->streamed);
	ring->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ring->kick_fd < 0) {
		error_set_errno(errp, errno, _("cannot make a ring for disk requests"));
		ring->ops->free(ring);
		return NULL;
	}
	block_file_size_signal();
	return ring;
}

void block_ring_free(struct block_ring *ring)
{
	int kick_fd;

	if (!ring)
		return;
	kick_fd = ring->kick_fd;
	ring->ops->free(ring);
	close(kick_fd);
}

enum block_ring_kind block_ring_kind(const struct block_ring *ring)
{
	return ring->ops->kind;
}

void block_ring_execute(struct block_ring *ring, struct block_request *request)
{
	request->priv.period = ring->period;
	ring->in_flight[ring->period]++;
	ring->ops->execute(ring, request);
}

void block_ring_finish(struct block_ring *ring, struct block_request *request)
{
	ring->in_flight[request->priv.period]--;
	block_complete(request, request->priv.result);
}

void block_ring_flush(struct block_ring *ring)
{
	ring->ops->flush(ring);
}

static unsigned settle(struct block_ring *ring)
{
	struct block_request *request = ring->streamed.first, *next;
	unsigned count = ring->streamed_count;

	if (!count)
		return 0;
	block_stream_fence();
	/* done() may submit, and so come here again. */
	block_queue_init(&ring->streamed);
	ring->streamed_count = 0;
	for (; request; request = next) {
		next = request->priv.next; /* done() may reuse the request */
		block_ring_finish(ring, request);
	}
	return count;
}

void block_ring_streamed(struct block_ring *ring, struct block_request *request)
{
	request->priv.result = 0;
	request->priv.period = ring->period;
	ring->in_flight[ring->period]++;
	block_queue_add(&ring->streamed, request);
	if (++ring->streamed_count == STREAMED_MAX || request->bytes > STREAMED_BYTES)
		settle(ring);
}

unsigned block_ring_reap(struct block_ring *ring)
{
	unsigned settled = settle(ring);

	return settled + (block_ring_in_flight(ring) ? ring->ops->reap(ring) : 0);
}

void block_ring_wait(struct block_ring *ring, int64_t timeout_ns)
{
	ring->ops->wait(ring, ring->streamed_count ? 0 : timeout_ns);
}

void block_ring_kick(struct block_ring *ring)
{
	fd_eventfd_signal(ring->kick_fd);
}

unsigned block_ring_in_flight(const struct block_ring *ring)
{
	return ring->in_flight[0] + ring->in_flight[1];
}

void block_ring_mark(struct block_ring *ring)
{
	ring->period = !ring->period;
}

unsigned block_ring_marked(const struct block_ring *ring)
{
	return ring->in_flight[!ring->period];
}
