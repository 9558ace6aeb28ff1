/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

/* SCM_MAX_FD is 253; nothing of ours sends more than this many descriptors in one message. */
#define FD_MAX_PASSED 64

/**
 * fd_send() - sendmsg() with descriptors (SCM_RIGHTS), not raising SIGPIPE
 * @fds: @count descriptors, still owned by the caller; NULL when @count is 0
 *
 * Return: bytes sent, or -errno.
 */
ssize_t fd_send(int sock, const struct iovec *iov, size_t iovcnt, const int *fds, size_t count,
		int flags);

/**
 * fd_receive() - recvmsg() with descriptors
 * @fds: room for @max descriptors; those received are close-on-exec and owned by the caller. More
 *than @max, or cut-off control data, is -EMSGSIZE and none are kept.
 * @ret_count: how many were received
 *
 * Return: bytes received, 0 at end of stream, or -errno.
 */
ssize_t fd_receive(int sock, const struct iovec *iov, size_t iovcnt, int *fds, size_t max,
		   size_t *ret_count, int flags);

/** fd_close_all() - close @count descriptors, skipping negative ones */
void fd_close_all(const int *fds, size_t count);

/** fd_read_full() - read exactly @len bytes at the file position; 0, -ENODATA at an early end, or
 * -errno */
int fd_read_full(int fd, void *buf, size_t len);

/** fd_write_full() - write exactly @len bytes; 0 or -errno */
int fd_write_full(int fd, const void *buf, size_t len);

/**
 * fd_read_all() - read a whole file or pipe into memory
 * @max: -EFBIG beyond this many bytes
 * @ret_data: malloc()ed, with a terminating NUL that @ret_len does not count
 */
int fd_read_all(int fd, size_t max, char **ret_data, size_t *ret_len);

/** fd_set_nonblock() - 0 or -errno */
int fd_set_nonblock(int fd, int on);

/** fd_sealed_memfd() - of @size bytes for good, whoever else has it; or -errno */
int fd_sealed_memfd(const char *name, size_t size);

/** fd_eventfd_signal() - add one to an eventfd; a full counter is as good */
void fd_eventfd_signal(int fd);

/** fd_eventfd_drain() - take all that was added; false when nothing was */
int fd_eventfd_drain(int fd);

/** fd_watch_writes() - an inotify descriptor that becomes readable with each write(2) to the file at
 * @path, whoever writes; or -errno */
int fd_watch_writes(const char *path);

#endif
