/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VFIO_USER_DMA_H
#define VFIO_USER_DMA_H

#include "base/error.h"
#include "base/util.h"

/*
 * The guest's memory as the client has mapped it.
 *
 * Theory of operation
 *
 * A *region* is what one DMA_MAP declared: an IOVA range with permissions and, normally, a range of
 * a file. A *mapping* is one mmap() of a whole file, shared by all regions of the same file
 * (st_dev, st_ino): a hugetlb file can be mapped only at multiples of its page size, and QEMU's
 * regions are not; and QEMU takes regions away and puts them back in other pieces while I/O runs in
 * the same memory.
 *
 * The map is read by every worker without a lock, and changed by the control thread only between
 * the device's dma_pause() and dma_resume(). A mapping whose last region went is *retired*, not
 * unmapped: requests in flight in the kernel may still point into it. It goes when
 * vfio_user_dma_release_retired() says that they are over.
 *
 * The file is the client's: it may be truncated under us. The SIGBUS handler
 * (vfio_user_dma_handle_sigbus()) puts zero pages under the fault, so that it costs the guest its
 * data and us nothing.
 */
struct vfio_user_dma;

#define VFIO_USER_ACCESS_READ  (1u << 0)
#define VFIO_USER_ACCESS_WRITE (1u << 1)

/**
 * vfio_user_dma_resolve() - pointer to [@iova, @iova + @len) when that is contiguous in one mapping
 * and permitted
 *
 * Any worker, between pauses. NULL otherwise. Adjacent regions of one file are one range.
 */
void *vfio_user_dma_resolve(struct vfio_user_dma *dma, uint64_t iova, size_t len, unsigned access);

/** vfio_user_dma_contains() - all mapped with that permission, with or without a file behind it */
bool vfio_user_dma_contains(struct vfio_user_dma *dma, uint64_t iova, size_t len, unsigned access);

/** vfio_user_dma_has_unmapped() - is there memory that is written by message only? */
bool vfio_user_dma_has_unmapped(const struct vfio_user_dma *dma);

/** vfio_user_dma_generation() - moves at each change of the map */
unsigned vfio_user_dma_generation(const struct vfio_user_dma *dma);

/**
 * vfio_user_dma_read_message() - VFIO_USER_DMA_READ for memory without a file; waits for the reply
 *
 * Any worker; at most 64 KiB are asked for at a time over all workers (QEMU cuts longer replies).
 * The control thread must go on processing messages meanwhile.
 *
 * Return: 0, -EFAULT, -EIO (the client's error), -ECANCELED (vfio_user_dma_cancel()), -ENOTCONN.
 */
int vfio_user_dma_read_message(struct vfio_user_dma *dma, uint64_t iova, void *buf, size_t len);

/**
 * vfio_user_dma_write_message() - VFIO_USER_DMA_WRITE, posted: returns when it is sent; executed in
 *order
 * @stream: the worker's index; the counts below are per stream
 *
 * Never waits for an acknowledgement: who can, asks vfio_user_dma_write_room() first. A client that
 * leaves so many unanswered that this finds no slot loses its connection.
 *
 * Return: 0, -EFAULT, -ENOTCONN.
 */
int vfio_user_dma_write_message(struct vfio_user_dma *dma, unsigned stream, uint64_t iova,
				const void *buf, size_t len);

/**
 * vfio_user_dma_write_room() - are fewer writes unacknowledged than there should be at most?
 *
 * Any thread. After a false the room hook is called once there is room again.
 */
bool vfio_user_dma_write_room(struct vfio_user_dma *dma);

/** vfio_user_dma_most_written() - the bytes of whole pages of 4 KiB that the unacknowledged writes
 * of the connection have touched at most */
uint64_t vfio_user_dma_most_written(struct vfio_user_dma *dma);

/** vfio_user_dma_set_room_hook() - @room: any thread's */
void vfio_user_dma_set_room_hook(struct vfio_user_dma *dma, void (*room)(void *opaque),
				 void *opaque);

/** vfio_user_dma_set_written_hook() - @written: a write of ours was executed, before anybody else is
 * told; control thread */
void vfio_user_dma_set_written_hook(struct vfio_user_dma *dma,
				    void (*written)(void *opaque, uint64_t iova, uint32_t len),
				    void *opaque);

/** vfio_user_dma_writes_pending() - are writes that @stream has posted not acknowledged? On its
 * thread. */
bool vfio_user_dma_writes_pending(const struct vfio_user_dma *dma, unsigned stream);

/** vfio_user_dma_writes_posted() - by @stream, since the connection began; on its thread */
uint64_t vfio_user_dma_writes_posted(const struct vfio_user_dma *dma, unsigned stream);
/** vfio_user_dma_writes_acknowledged() - how many of them the client has executed: the oldest */
uint64_t vfio_user_dma_writes_acknowledged(const struct vfio_user_dma *dma, unsigned stream);

/**
 * vfio_user_dma_after_writes() - call @fn(@opaque, @value) once all writes that @stream has posted
 * are acknowledged
 *
 * At once, on the calling thread, when there are none (the normal case: one comparison); else on
 * the control thread, at the latest when the connection ends. Called on the stream's thread, or
 * while that posts nothing.
 */
void vfio_user_dma_after_writes(struct vfio_user_dma *dma, unsigned stream,
				void (*fn)(void *opaque, unsigned value), void *opaque,
				unsigned value);

/**
 * vfio_user_dma_fence() - call @fn(@opaque, @value) when everything is executed that was posted on
 * this connection, also by a predecessor of this process
 *
 * Control thread; not from here when it can be asked of the client, else at once. At the latest when
 * the connection ends.
 */
void vfio_user_dma_fence(struct vfio_user_dma *dma, void (*fn)(void *opaque, unsigned value),
			 void *opaque, unsigned value);

/** vfio_user_dma_cancel() - end waiting reads with -ECANCELED, and new ones too until called with
 * false */
void vfio_user_dma_cancel(struct vfio_user_dma *dma, bool cancel);

/**
 * vfio_user_dma_set_wait_hooks() - called by a worker around its wait in read_message(): it stands
 * at a pause point
 * @enter, @leave: leave() returns only when no pause is on
 */
void vfio_user_dma_set_wait_hooks(struct vfio_user_dma *dma, void (*enter)(void *opaque),
				  void (*leave)(void *opaque), void *opaque);

/** vfio_user_dma_mark_retired() - choose the mappings that are retired now; false: none. Control
 * thread. */
bool vfio_user_dma_mark_retired(struct vfio_user_dma *dma);
/** vfio_user_dma_release_retired() - no request that began before the mark is in flight any more:
 * unmap what it chose and has not come into use again */
void vfio_user_dma_release_retired(struct vfio_user_dma *dma);

/** vfio_user_dma_handle_sigbus() - install the handler, once per process */
int vfio_user_dma_handle_sigbus(void);

#endif
