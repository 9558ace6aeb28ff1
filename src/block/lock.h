/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BLOCK_LOCK_H
#define BLOCK_LOCK_H

#include "base/error.h"
#include "base/util.h"

/*
 * Image locks, in QEMU's own language, so that qemu-img, another QEMU and we respect each other.
 *
 * Theory of operation
 *
 * For each of four permissions QEMU (block/file-posix.c) has two bytes of the image file. Who uses
 * the permission holds a read lock on byte 100 + n; who does not let others use it holds one on
 * byte 200 + n:
 *
 *	n	permission		who uses it	who forbids it
 *	0	consistent read		100		200
 *	1	write			101		201
 *	2	write unchanged		102		202
 *	3	resize			103		203
 *
 * All locks are shared ones, so taking them never fails by itself. After taking its own, a program
 * looks whether somebody else forbids what it uses, or uses what it forbids; if so it lets go. Two
 * that start together may both lose, but never both win.
 *
 * The locks are open file description locks: they belong to the description that @fd refers to, are
 * inherited with it, and end when the last descriptor for it is closed. They are the keeper's, on
 * a description of its own, so that the image is never unlocked while a controller is restarted.
 * They do not reach other hosts for block devices, nor on every network file system.
 *
 * One more byte is ours alone: each controller generation holds a lock on a byte of its own
 * description. The kernel gives it back only when the last request of a dead controller has ended,
 * so the successor that gets it knows that nothing is under way any more. Images can be shared, and
 * only generations of the same controller wait for each other: which byte it is, from
 * BLOCK_LOCK_GENERATION_BYTE on, depends on who uses the image. QEMU uses bytes 100 to 104 and 200
 * to 204, libvirt byte 0.
 */
#define BLOCK_LOCK_GENERATION_BYTE 400

enum block_lock_mode {
	BLOCK_LOCK_READ_ONLY,	    /* nobody may write meanwhile */
	BLOCK_LOCK_EXCLUSIVE_WRITE, /* others may read, if they can stand changes */
	BLOCK_LOCK_SHARED_WRITE,    /* <shareable/>: others may write as well, if they share too */
};

/**
 * block_lock_acquire() - lock the image behind @fd
 * @fd: open for reading at least; holds no image lock yet
 *
 * Return: 0; -EAGAIN with a sentence that the image is in use, then nothing is locked; or another
 * -errno with a sentence where the file system has no such locks.
 */
int block_lock_acquire(int fd, enum block_lock_mode mode, struct error **errp);

/**
 * block_lock_generation() - be the one generation that uses the image behind @fd
 * @fd: the description that the requests go through
 * @read_only: @fd is not open for writing
 * @key: of the user, at most BLOCK_LOCK_GENERATION_KEYS - 1
 *
 * Return: 0; -EAGAIN while an earlier one is not over; or another -errno.
 */
int block_lock_generation(int fd, bool read_only, uint64_t key);

#define BLOCK_LOCK_GENERATION_KEYS (1ULL << 48)

/** block_lock_generation_is_held() - has another description the lock of @key? True also when that
 * cannot be known. */
bool block_lock_generation_is_held(int fd, uint64_t key);

/** block_unlock_generation() - nothing is under way. 0 or -errno */
int block_unlock_generation(int fd, uint64_t key);

/** block_lock_release() - give back what block_lock_acquire() got; harmless without it. 0 or -errno
 */
int block_lock_release(int fd);

#endif
