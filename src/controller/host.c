// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/host.h"

#include <assert.h>
#include <errno.h>

static_assert(NVME_HOST_READ == VFIO_USER_ACCESS_READ, "one set of flags");
static_assert(NVME_HOST_WRITE == VFIO_USER_ACCESS_WRITE, "one set of flags");

static struct host *to_host(struct nvme_host *nvme)
{
	return container_of(nvme, struct host, nvme);
}

static void *host_resolve(struct nvme_host *nvme, uint64_t iova, size_t len, unsigned access)
{
	struct host *host = to_host(nvme);

	if (access & NVME_HOST_WRITE && host->writes != HOST_WRITES_DIRECT)
		return NULL;
	return host->dma ? vfio_user_dma_resolve(host->dma, iova, len, access) : NULL;
}

static bool host_contains(struct nvme_host *nvme, uint64_t iova, size_t len, unsigned access)
{
	struct host *host = to_host(nvme);

	return host->dma && vfio_user_dma_contains(host->dma, iova, len, access);
}

static int host_read(struct nvme_host *nvme, unsigned worker, uint64_t iova, void *buf, size_t len)
{
	struct host *host = to_host(nvme);
	const void *memory = host_resolve(nvme, iova, len, NVME_HOST_READ);
	int ret;

	if (memory) {
		memcpy(buf, memory, len);
		return 0;
	}
	if (!host->dma)
		return -EFAULT;
	ret = vfio_user_dma_read_message(host->dma, iova, buf, len);
	return ret == -ENOTCONN ? -ECANCELED : ret;
}

static int host_write(struct nvme_host *nvme, unsigned worker, uint64_t iova, const void *buf,
		      size_t len)
{
	struct host *host = to_host(nvme);
	void *memory = host_resolve(nvme, iova, len, NVME_HOST_WRITE);

	/* In order, also behind those that go by message. */
	if (memory && !vfio_user_dma_writes_pending(host->dma, worker)) {
		memcpy(memory, buf, len);
		return 0;
	}
	if (!host->dma)
		return -EFAULT;
	/* Posted: what happens to it later, even that the client went away, is not told. */
	return vfio_user_dma_write_message(host->dma, worker, iova, buf, len) == -EFAULT ? -EFAULT
											 : 0;
}

static bool host_write_room(struct nvme_host *nvme)
{
	struct host *host = to_host(nvme);

	return host->writes != HOST_WRITES_DRAINING &&
	       (!host->dma || vfio_user_dma_write_room(host->dma));
}

static void host_after_writes(struct nvme_host *nvme, unsigned worker,
			      void (*fn)(void *opaque, unsigned value), void *opaque,
			      unsigned value)
{
	struct host *host = to_host(nvme);

	if (host->dma)
		vfio_user_dma_after_writes(host->dma, worker, fn, opaque, value);
	else
		fn(opaque, value);
}

static void host_fence(struct nvme_host *nvme, void (*fn)(void *opaque, unsigned value),
		       void *opaque, unsigned value)
{
	struct host *host = to_host(nvme);

	if (host->dma &&
	    (host->writes != HOST_WRITES_DIRECT || vfio_user_dma_has_unmapped(host->dma)))
		vfio_user_dma_fence(host->dma, fn, opaque, value);
	else
		fn(opaque, value);
}

static bool host_writes_pending(struct nvme_host *nvme, unsigned worker)
{
	struct host *host = to_host(nvme);

	return host->dma && vfio_user_dma_writes_pending(host->dma, worker);
}

static uint64_t host_writes_posted(struct nvme_host *nvme, unsigned worker)
{
	struct host *host = to_host(nvme);

	return host->dma ? vfio_user_dma_writes_posted(host->dma, worker) : 0;
}

static uint64_t host_writes_acknowledged(struct nvme_host *nvme, unsigned worker)
{
	struct host *host = to_host(nvme);

	return host->dma ? vfio_user_dma_writes_acknowledged(host->dma, worker) : 0;
}

static void trigger(void *opaque, unsigned vector)
{
	vfio_user_irq_trigger(opaque, vector);
}

static void host_interrupt(struct nvme_host *nvme, unsigned worker, unsigned vector)
{
	struct host *host = to_host(nvme);

	if (host->dma)
		vfio_user_dma_after_writes(host->dma, worker, trigger, host->irq, vector);
}

static void host_set_intx(struct nvme_host *nvme, bool asserted)
{
	struct host *host = to_host(nvme);

	host->intx = asserted;
	if (host->irq)
		vfio_user_irq_set_intx(host->irq, asserted);
}

static void host_call(struct nvme_host *nvme, unsigned thread, struct nvme_host_call *call)
{
	io_threads_call(to_host(nvme)->threads, thread, call);
}

static void host_kick(struct nvme_host *nvme, unsigned worker)
{
	io_threads_kick(to_host(nvme)->threads, worker);
}

static void host_cancel_reads(struct nvme_host *nvme, bool cancel)
{
	struct host *host = to_host(nvme);

	if (host->dma)
		vfio_user_dma_cancel(host->dma, cancel);
}

static void host_io_error(struct nvme_host *nvme, uint32_t nsid, enum block_op op, int error)
{
	struct host *host = to_host(nvme);

	host->io_error(host, nsid, op, error);
}

static void host_silent(struct nvme_host *nvme)
{
	struct host *host = to_host(nvme);

	host->silent(host);
}

static void host_block_size(struct nvme_host *nvme, uint32_t nsid, uint32_t block_size)
{
	struct host *host = to_host(nvme);

	host->block_size(host, nsid, block_size);
}

static const struct nvme_host_ops host_ops = {
	.resolve = host_resolve,
	.contains = host_contains,
	.read = host_read,
	.write = host_write,
	.write_room = host_write_room,
	.after_writes = host_after_writes,
	.fence = host_fence,
	.writes_pending = host_writes_pending,
	.writes_posted = host_writes_posted,
	.writes_acknowledged = host_writes_acknowledged,
	.interrupt = host_interrupt,
	.set_intx = host_set_intx,
	.call = host_call,
	.kick = host_kick,
	.cancel_reads = host_cancel_reads,
	.io_error = host_io_error,
	.silent = host_silent,
	.block_size = host_block_size,
};

void host_init(struct host *host, struct io_threads *threads)
{
	host->nvme.ops = &host_ops;
	host->nvme.workers = io_threads_count(threads);
	host->nvme.map_generation = 1;
	host->threads = threads;
}

static void kick_all(void *opaque)
{
	struct io_threads *threads = opaque;
	unsigned i;

	for (i = 0; i < io_threads_count(threads); i++)
		io_threads_kick(threads, i);
}

void host_pause(struct host *host)
{
	io_threads_pause(host->threads);
}

void host_resume(struct host *host)
{
	bool changed = host->dma && vfio_user_dma_generation(host->dma) != host->dma_generation;

	if (changed) {
		host->dma_generation = vfio_user_dma_generation(host->dma);
		host->nvme.map_generation++;
	}
	io_threads_resume(host->threads);
	/* A queue may have been at rest because its memory was away: a doorbell that came then comes
	 * no second time. */
	if (changed)
		kick_all(host->threads);
}

void host_set_writes(struct host *host, enum host_writes writes)
{
	io_threads_pause(host->threads);
	host->writes = writes;
	host->nvme.map_generation++;
	io_threads_resume(host->threads);
	/* What waited for room. */
	kick_all(host->threads);
}

void host_connect(struct host *host, struct vfio_user_dma *dma, struct vfio_user_irq *irq)
{
	/* First: a successor's queues are live as soon as there is memory. */
	if (dma) {
		vfio_user_dma_set_wait_hooks(dma, io_threads_wait_enter, io_threads_wait_leave,
					     NULL);
		vfio_user_dma_set_room_hook(dma, kick_all, host->threads);
		vfio_user_dma_set_written_hook(dma, host->written, host->written_opaque);
	}
	io_threads_pause(host->threads);
	host->dma = dma;
	host->irq = irq;
	host->dma_generation = dma ? vfio_user_dma_generation(dma) : 0;
	host->nvme.map_generation++;
	io_threads_resume(host->threads);
}
