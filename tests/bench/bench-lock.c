// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * bench-lock IMAGE [KILLS [DEPTH]]: how long after a kill -9 the lock of an image is held by a process that reads it with
 * io_uring, with and without the image in the ring's table of files. A controller's successor waits for that (block/lock.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"

#define BLOCK	  4096u
#define DEPTH_MAX 256u
#define KILLS_MAX 10000u
#define SETTLE_US 20000

static int take_lock(int fd)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1000, .l_len = 1
	};

	return fcntl(fd, F_OFD_SETLK, &lock);
}

static void die(const char *what)
{
	fprintf(stderr, "bench-lock: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_image(const char *path, off_t *blocks)
{
	int fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		die(path);
	*blocks = lseek(fd, 0, SEEK_END) / BLOCK;
	return fd;
}

static void read_somewhere(struct io_uring *io, int fd, bool registered, off_t blocks, char *data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(io);

	io_uring_prep_read(sqe, registered ? 0 : fd, data, BLOCK, random() % blocks * BLOCK);
	if (registered)
		sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, data);
}

/* As a controller does, until it is killed. */
static void be_the_victim(const char *path, bool registered, unsigned depth)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SINGLE_ISSUER |
						   IORING_SETUP_DEFER_TASKRUN |
						   IORING_SETUP_TASKRUN_FLAG };
	struct io_uring_cqe *cqe;
	struct io_uring io;
	off_t blocks;
	int fd = open_image(path, &blocks);
	char *data;

	if (take_lock(fd) < 0)
		die("lock");
	errno = -io_uring_queue_init_params(DEPTH_MAX, &io, &params);
	if (errno)
		die("io_uring");
	errno = registered ? -io_uring_register_files(&io, &fd, 1) : 0;
	if (errno)
		die("register");
	if (posix_memalign((void **)&data, BLOCK, (size_t)depth * BLOCK))
		die("memory");
	srandom(getpid());
	for (unsigned i = 0; i < depth; i++)
		read_somewhere(&io, fd, registered, blocks, data + (size_t)i * BLOCK);
	for (;;) {
		io_uring_submit_and_wait(&io, 1);
		while (io_uring_peek_cqe(&io, &cqe) == 0) {
			char *buffer = io_uring_cqe_get_data(cqe);

			io_uring_cqe_seen(&io, cqe);
			read_somewhere(&io, fd, registered, blocks, buffer);
		}
	}
}

static double milliseconds(const char *path, bool registered, unsigned depth)
{
	pid_t pid = fork();
	uint64_t start;
	off_t blocks;
	int fd;

	if (pid < 0)
		die("fork");
	if (pid == 0)
		be_the_victim(path, registered, depth);
	fd = open_image(path, &blocks);
	usleep(SETTLE_US + random() % SETTLE_US);
	if (take_lock(fd) == 0)
		die("the reader has no lock");
	start = clock_ns(CLOCK_MONOTONIC);
	kill(pid, SIGKILL);
	while (take_lock(fd) < 0)
		usleep(50);
	start = clock_ns(CLOCK_MONOTONIC) - start;
	waitpid(pid, NULL, 0);
	close(fd);
	return start / 1e6;
}

static int compare(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;

	return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv)
{
	unsigned kills = argc > 2 ? strtoul(argv[2], NULL, 10) : 100;
	unsigned depth = argc > 3 ? strtoul(argv[3], NULL, 10) : 8;
	double *took[2];

	if (argc < 2 || !kills || kills > KILLS_MAX || !depth || depth > DEPTH_MAX) {
		fprintf(stderr, "usage: bench-lock IMAGE [KILLS [DEPTH]]\n");
		return 2;
	}
	for (unsigned i = 0; i < 2; i++)
		took[i] = calloc(kills, sizeof(double));
	for (unsigned n = 0; n < kills; n++)
		for (unsigned i = 0; i < 2; i++)
			took[i][n] = milliseconds(argv[1], i, depth);
	for (unsigned i = 0; i < 2; i++) {
		qsort(took[i], kills, sizeof(double), compare);
		printf("%-18s kill to lock: median %.1f ms, 90 %% %.1f, longest %.1f\n",
		       i ? "registered file" : "plain descriptor", took[i][kills / 2],
		       took[i][kills * 9 / 10], took[i][kills - 1]);
		free(took[i]);
	}
	return 0;
}
