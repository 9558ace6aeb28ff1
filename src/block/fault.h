/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BLOCK_FAULT_H
#define BLOCK_FAULT_H

#include "block/block.h"

/*
 * Theory of operation
 *
 * A file backend that a test makes slow, deaf or broken while it is in use. Rules and counters are
 * in a *control file* that the test and this process have mapped; a change of a rule counts at
 * once, also for requests that are already held.
 *
 * A power cut. An image keeps what it was given, but a disk with a volatile cache does not. So a
 * second, *stable* file has what a power cut would leave: a write stays out of it until a flush
 * that came after the write, or the write's own FUA, has succeeded. Which blocks of the stable file
 * are behind the image is noted in the control file, so that a restart of this process, which is no
 * power cut, does not forget them.
 */
#define BLOCK_FAULT_MAGIC	0x746c7561666e7600ULL
#define BLOCK_FAULT_WITHOUT_END UINT32_MAX
#define BLOCK_FAULT_BLOCK	4096u /* bytes of the image a byte of behind[] */

struct block_fault_rule {
	uint32_t delay_ms; /* before it is given to the image */
	uint32_t hang;	   /* held as long as this is not 0 */
	uint32_t
		error; /* errno that its first system call returns, instead of being made; 0: none */
	uint32_t skip; /* so many are spared first; counts down */
	uint32_t left; /* so many fail; counts down, but for WITHOUT_END */
	uint32_t reserved;
	uint64_t first, last; /* bytes: only requests that touch these fail; last 0: all */

	/* Counted here. */
	uint64_t begun, held, succeeded, failed; /* held: at this moment */
};

struct block_fault_control {
	uint64_t magic;
	struct block_fault_rule rules[5]; /* by enum block_op */
	uint8_t behind[];		  /* 0: the stable file has it; only used with one */
};

/**
 * block_open_fault() - for tests
 * @fd: the image, as for block_open_file(); owned from here on, as are
 * @control_fd: struct block_fault_control, and
 * @stable_fd: a file as large as the image, or -1
 *
 * Return: NULL with a sentence.
 */
struct block *block_open_fault(int fd, const struct block_file_options *options, int control_fd,
			       int stable_fd, struct error **errp);

#endif
