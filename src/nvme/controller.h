/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_CONTROLLER_H
#define NVME_CONTROLLER_H

#include "base/error.h"
#include "block/block.h"
#include "nvme/host.h"
#include "nvme/limits.h"
#include "nvme/share.h"

/*
 * One NVMe I/O controller: the face that src/controller (the program) sees. See nvme/host.h for
 * threads and memory.
 *
 * All that must outlive the process (registers, queues, features, namespaces, later commands in
 * flight) is in one `struct nvme_state` of fixed, versioned layout (nvme/state.h), which the caller
 * provides: a mapped memfd. Everything else in `struct nvme_controller` can be made again from it.
 */
struct nvme_controller;
struct nvme_worker;

/* Where the guest leaves its doorbells; see doorbell.h. */
enum nvme_doorbells {
	NVME_DOORBELLS_AUTO, /* in its own memory if it knows how, else in the registers */
	NVME_DOORBELLS_TRAPPED,
	NVME_DOORBELLS_MAPPED,
};

struct nvme_controller_config {
	enum nvme_doorbells doorbells;
	/* Mapped: the registers' page, which the client writes; and whether it is new, so that the state
	 * knows better. */
	uint32_t *doorbell_page;
	bool doorbell_page_is_new;

	char serial[21];  /* 1 to 20 printable ASCII characters */
	char subnqn[224]; /* empty: derived from the subsystem's uuid */
	uint8_t uuid[16]; /* of this controller */
	uint8_t subsystem
		[16];	  /* all zero: it is alone in one of its own, with its own uuid; ids that
				  are not given derive from it */
	uint16_t cntlid;  /* 0 to NVME_MAX_CNTLID */
	unsigned queues;  /* I/O queue pairs, 1 to 64 */
	unsigned vectors; /* MSI-X vectors the PCI function has; queues + 1 normally */
	bool frozen;	  /* until nvme_controller_thaw() */
	bool poison;	  /* fail the commands that a predecessor had in hand when it died */
};

/* What becomes of a command that the storage has failed; see hold.h. */
enum nvme_error_policy {
	NVME_ERROR_REPORT,
	NVME_ERROR_STOP,
	NVME_ERROR_ENOSPACE, /* held for want of space, else reported */
};

/* Of a namespace; see throttle.h. */
enum nvme_limit {
	NVME_LIMIT_TOTAL_BYTES,
	NVME_LIMIT_READ_BYTES,
	NVME_LIMIT_WRITE_BYTES,
	NVME_LIMIT_TOTAL_COMMANDS,
	NVME_LIMIT_READ_COMMANDS,
	NVME_LIMIT_WRITE_COMMANDS,
	NVME_LIMITS,
};

struct nvme_limits {
	struct {
		uint64_t rate; /* a second; 0: no limit */
		uint64_t max;  /* a second, in a burst of a second; 0: no burst */
	} limit[NVME_LIMITS];
};

struct nvme_namespace_config {
	uint32_t nsid;	     /* 1 to NVME_MAX_NAMESPACES */
	uint32_t block_size; /* logical: 512 or 4096; 0: 512, or 4096 when the image needs it */
	uint32_t
		next_block_size; /* that a predecessor has asked for, nvme_host_block_size(); 0: none */
	uint8_t nguid[16];	 /* all zero: derived (UUIDv5) from the subsystem's uuid and nsid */
	uint8_t uuid[16];	 /* the same */
	uint8_t eui64[8];	 /* all zero: none */
	bool read_only;		 /* write protected whatever the image allows */
	bool shareable; /* others may write to the image: no pair is alone with it, see fused.c; other
			   controllers of the subsystem may have it as well, see ana.h */
	enum nvme_error_policy error_policy;
	struct nvme_limits limits;
	struct nvme_share *share; /* NULL: no reservations; else as long as the namespace */
	bool not_ready;		  /* nothing is executed before nvme_controller_set_ready() */
};

/** nvme_controller_state_size() - bytes of the state that the caller provides, zero-filled for a
 * new controller */
size_t nvme_controller_state_size(void);

/** nvme_controller_state_used() - so many of them, from the first, does a controller with @queues
 * I/O queue pairs use; the others stay zero */
size_t nvme_controller_state_used(unsigned queues);

/**
 * nvme_controller_new() - control thread
 * @state: nvme_controller_state_size() bytes, shared memory, valid as long as the controller. All
 *zero: a new controller after power-on reset. Else one left by a predecessor: judged first (magic,
 *version, bounds).
 *
 * Return: NULL with a sentence.
 */
struct nvme_controller *nvme_controller_new(const struct nvme_controller_config *config,
					    struct nvme_host *host, void *state,
					    struct error **errp);
/** nvme_controller_begin() - all workers are there; before anything else */
void nvme_controller_begin(struct nvme_controller *ctrl);
/** nvme_controller_free() - workers have stopped; blocks are closed by the caller afterwards */
void nvme_controller_free(struct nvme_controller *ctrl);

/*
 * Namespaces; control thread. Attaching and detaching raise the Namespace Attribute Changed event
 * where enabled.
 */

/** nvme_controller_attach() - the block stays the caller's; a bad size or block size is refused
 * with a sentence */
int nvme_controller_attach(struct nvme_controller *ctrl, const struct nvme_namespace_config *config,
			   struct block *block, struct error **errp);

/**
 * nvme_controller_detach() - no new command reaches the namespace; @done is called on the control
 *thread when the last one in flight is over, and only then the block may be closed
 *
 * Return: 0 or -ENOENT.
 */
int nvme_controller_detach(struct nvme_controller *ctrl, uint32_t nsid, void (*done)(void *opaque),
			   void *opaque);

/** nvme_controller_set_ready() - its commands may, or may not, be executed (namespace.h); not while
 * any is, unless frozen */
void nvme_controller_set_ready(struct nvme_controller *ctrl, uint32_t nsid, bool ready);

/** nvme_controller_reservation_changed() - perhaps; what others tell us is due to be looked at */
void nvme_controller_reservation_changed(struct nvme_controller *ctrl);

/** nvme_controller_reservation_unseen() - has somebody changed the reservations since
 * nvme_controller_reservation_seen()? @ret_change then says to what */
bool nvme_controller_reservation_unseen(struct nvme_controller *ctrl, uint32_t nsid,
					uint32_t *ret_change);

/** nvme_controller_reservation_seen() - all that was at the image when _unseen() was asked is over */
void nvme_controller_reservation_seen(struct nvme_controller *ctrl, uint32_t nsid, uint32_t change);

/** nvme_controller_is_haunted() - a predecessor's namespaces are not all ready: its requests may be
 * under way */
bool nvme_controller_is_haunted(const struct nvme_controller *ctrl);

/** nvme_controller_await_no_more() - what a predecessor had and was not attached again is gone */
void nvme_controller_await_no_more(struct nvme_controller *ctrl);

/*
 * Frozen: registers are served and doorbells taken, but nothing is fetched, executed, posted or
 * signalled. Control thread.
 */

/** nvme_controller_freeze() - @done on the control thread, when nothing is executing, by us or a
 * predecessor, and the state changes no more but by registers */
void nvme_controller_freeze(struct nvme_controller *ctrl, void (*done)(void *opaque), void *opaque);

/** nvme_controller_sync() - frozen: flush all namespaces; then @done with 0 or -errno */
void nvme_controller_sync(struct nvme_controller *ctrl, void (*done)(void *opaque, int result),
			  void *opaque);

/** nvme_controller_thaw() - go on; every queue with interrupts raises its vector once */
void nvme_controller_thaw(struct nvme_controller *ctrl);

bool nvme_controller_is_frozen(const struct nvme_controller *ctrl);

/** nvme_controller_resized() - the block's capacity has changed (after block_refresh()); nobody
 * submits meanwhile. 0, -ENOENT, or -EINVAL when no block is left */
int nvme_controller_resized(struct nvme_controller *ctrl, uint32_t nsid);

/**
 * nvme_controller_set_block_size() - what nvme_host_block_size() asked for is recorded, or
 * (0) cannot be for now; while all workers stand at a pause point
 *
 * Return: 0, -ENOENT, -EINVAL.
 */
int nvme_controller_set_block_size(struct nvme_controller *ctrl, uint32_t nsid,
				   uint32_t block_size);

/** nvme_controller_set_limits() - from here on; while all workers stand at a pause point. 0 or
 * -ENOENT */
int nvme_controller_set_limits(struct nvme_controller *ctrl, uint32_t nsid,
			       const struct nvme_limits *limits);

/** nvme_controller_retry() - execute the commands that are held again, or @give_up: answer them
 * with the error */
void nvme_controller_retry(struct nvme_controller *ctrl, bool give_up);

/** nvme_controller_guest_ran() - the answer to nvme_host_silent(): for the last so many ms at least
 * the guest has not been stopped; 0: it is, or nobody knows */
void nvme_controller_guest_ran(struct nvme_controller *ctrl, uint64_t ms);

/*
 * The PCI function's side; control thread.
 */

#define NVME_BAR0_SIZE                                                                             \
	(16 * KiB) /* StorNVMe wants at least 16 KiB; registers, doorbells at 4096 (DSTRD 0) */
#define NVME_BAR0_DOORBELLS 4096

/*
 * For the configuration space; Identify Controller repeats the vendors. Guests bind by the class
 * code. There is no PCI vendor id of our own; this one is unassigned, and QEMU's own devices without
 * one use it. Not the id of QEMU's NVMe controller, 1b36:0010: Linux distrusts the namespace ids of
 * that one (NVME_QUIRK_BOGUS_NID) and hides them.
 */
#define NVME_PCI_VENDOR		  0x1234
#define NVME_PCI_DEVICE		  0x4e56
#define NVME_PCI_SUBSYSTEM_VENDOR NVME_PCI_VENDOR
#define NVME_PCI_SUBSYSTEM	  NVME_PCI_DEVICE

/**
 * nvme_controller_read() - a register read
 * @offset: into BAR0, naturally aligned for @len 4 or 8; anything else reads as zeroes and is
 * logged
 */
void nvme_controller_read(struct nvme_controller *ctrl, uint64_t offset, void *buf, size_t len);

/** nvme_controller_write() - a register or doorbell write; the same rules */
void nvme_controller_write(struct nvme_controller *ctrl, uint64_t offset, const void *buf,
			   size_t len);

/**
 * nvme_controller_reset() - function level, conventional or DEVICE_RESET: everything back to
 * power-on
 * @done: on the control thread, when no command is in flight and no write to guest memory can come
 * any more
 *
 * Returns before it is over. Resets that come meanwhile join it; the same @done with the same
 * @opaque is then called once.
 */
void nvme_controller_reset(struct nvme_controller *ctrl, void (*done)(void *opaque), void *opaque);

/** nvme_controller_lose_power() - the reset that follows at once is one of the machine: SMART counts it */
void nvme_controller_lose_power(struct nvme_controller *ctrl);

/** nvme_controller_set_bus_master() - PCI command register; off: no DMA, commands stay unfetched */
void nvme_controller_set_bus_master(struct nvme_controller *ctrl, bool on);

/** nvme_controller_set_msix() - MSI-X on or off (off: INTx by pending CQs and INTMS/INTMC) */
void nvme_controller_set_msix(struct nvme_controller *ctrl, bool enabled);

/*
 * What a migration must copy by hand; control thread.
 */

/** nvme_controller_direct_reads() - how many are in flight straight into guest memory */
unsigned nvme_controller_direct_reads(const struct nvme_controller *ctrl);

/**
 * nvme_controller_each_page_of_ours() - the guest memory that we write without noting it in a write
 * log: completion queues, the buffers of shadow doorbells
 *
 * Return: 0, or the first result of @run that is not.
 */
int nvme_controller_each_page_of_ours(const struct nvme_controller *ctrl,
				      int (*run)(void *opaque, uint64_t iova, uint64_t len),
				      void *opaque);

/* The other controllers of a subsystem, as sets of CNTLIDs; see subsystem.h. */
struct nvme_peers {
	uint64_t all;
	uint64_t attached[NVME_MAX_NAMESPACES]; /* those that have namespace nsid - 1 */
};

/** nvme_controller_add_peer() - to what @ctrl is to know, if @peer is another one of its subsystem */
void nvme_controller_add_peer(const struct nvme_controller *ctrl,
			      const struct nvme_controller *peer, struct nvme_peers *peers);

/** nvme_controller_set_peers() - all that there are now */
void nvme_controller_set_peers(struct nvme_controller *ctrl, const struct nvme_peers *peers);

/** nvme_controller_bytes_being_read() - of guest memory, in whole pages, by reads whose completion the
 * guest may not see yet; the workers stand still */
uint64_t nvme_controller_bytes_being_read(const struct nvme_controller *ctrl);

/** nvme_controller_most_bytes_of_ours() - how much that can be, in whole pages, with as many and as
 * large queues as a guest can make */
uint64_t nvme_controller_most_bytes_of_ours(const struct nvme_controller *ctrl);

/*
 * Workers: called on their own thread only. All of them exist before the first call of the PCI
 * function's side, and until the last.
 */

/** nvme_worker_new() - worker @index of the host's; its requests go through @ring */
struct nvme_worker *nvme_worker_new(struct nvme_controller *ctrl, unsigned index,
				    struct block_ring *ring);
/** nvme_worker_free() - the thread is about to end; nothing in flight */
void nvme_worker_free(struct nvme_worker *worker);

/** nvme_worker_poll() - fetch and execute what the owned SQs hold. Return: whether there was
 * anything to do. */
bool nvme_worker_poll(struct nvme_worker *worker);

/**
 * nvme_worker_arm() - before sleeping: from here on a doorbell kicks
 *
 * Return: false if something came in meanwhile: poll again instead.
 */
bool nvme_worker_arm(struct nvme_worker *worker);

/** nvme_worker_wait() - for how many nanoseconds an armed worker may sleep; -1: until it is kicked */
int64_t nvme_worker_wait(const struct nvme_worker *worker);

/** nvme_worker_disarm() - after sleeping, before anything else: what is being completed need not be
 * answered by a doorbell that kicks */
void nvme_worker_disarm(struct nvme_worker *worker);

/** nvme_worker_watches() - does the guest leave its doorbells where a poll sees them, or are all brought
 * by the control thread with a kick? */
bool nvme_worker_watches(const struct nvme_worker *worker);

/** nvme_worker_looks() - nobody tells of a doorbell: asleep, it must look again and again */
bool nvme_worker_looks(const struct nvme_worker *worker);

/** nvme_worker_in_flight() - commands fetched and not completed */
unsigned nvme_worker_in_flight(const struct nvme_worker *worker);

/*
 * What a user sees: relaxed counters, readable from any thread.
 */
struct nvme_namespace_counters {
	uint64_t read_commands, read_bytes, write_commands, write_bytes, flush_commands, errors;
};

/** nvme_controller_counters() - 0 or -ENOENT */
int nvme_controller_counters(const struct nvme_controller *ctrl, uint32_t nsid,
			     struct nvme_namespace_counters *ret);

/** nvme_controller_status() - CC and CSTS as the guest sees them, for `info` */
void nvme_controller_status(const struct nvme_controller *ctrl, uint32_t *ret_cc,
			    uint32_t *ret_csts);

#endif
