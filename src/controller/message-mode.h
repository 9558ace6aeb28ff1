/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_MESSAGE_MODE_H
#define CONTROLLER_MESSAGE_MODE_H

#include "controller/host.h"
#include "controller/late-writes.h"
#include "nvme/write-log.h"

/*
 * Message mode of one device: while a migration copies the guest's memory, every write to it goes
 * by VFIO_USER_DMA_WRITE, so that QEMU sees it. See message-mode.c. Control thread only.
 */

/* In shared memory, behind the device's state: it survives this process and never leaves this host.
 * All zero: off. */
struct message_mode_state {
	uint32_t version; /* 0: never used */
	uint32_t enabled;
	uint64_t since; /* CLOCK_MONOTONIC, microseconds: what was written directly after it is to
			   be copied by hand */
};

struct message_mode {
	struct host *host;
	struct message_mode_state *state;
	struct nvme_write_log *logs; /* IO_THREADS_MAX */
	struct late_writes *late;
	uint64_t entered;  /* by this process; CLOCK_MONOTONIC, microseconds */
	unsigned draining; /* workers whose posted writes are not executed */
	unsigned round;	   /* of leaving: an answer to an earlier one counts no more */
	void (*left)(void *opaque, bool still_on);
	void *opaque;
};

/** message_mode_memory_size() - bytes of shared memory that it takes; little of it is touched */
size_t message_mode_memory_size(void);

/**
 * message_mode_init() - no client and no workers yet
 * @memory: all zero, or as a predecessor left it: when it had message mode on, it is on from here
 * on
 */
void message_mode_init(struct message_mode *mode, struct host *host, void *memory);

bool message_mode_enabled(const struct message_mode *mode);

/**
 * message_mode_enter() - after it no byte is stored directly, but by what is in flight in the kernel
 *
 * Also when it is on already, or being left; then @since is the new one.
 */
void message_mode_enter(struct message_mode *mode, uint64_t since);

/**
 * message_mode_leave() - directly again, when all that was posted is executed or the client gone
 * @left: called then, perhaps at once; @still_on: no, for message_mode_enter() was called meanwhile
 */
void message_mode_leave(struct message_mode *mode, void (*left)(void *opaque, bool still_on),
			void *opaque);

#endif
