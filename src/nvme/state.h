/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_STATE_H
#define NVME_STATE_H

#include "base/error.h"
#include "nvme/limits.h"
#include "nvme/spec.h"

/*
 * Theory of operation
 *
 * All of a controller that must outlive its process, in one block of shared memory that a keeper
 * holds. The layout is fixed: native integers, explicit padding, no pointers. A change of it is a
 * new NVME_STATE_VERSION. The memory is provided by whoever starts us and is sparse: what no queue
 * has used takes no page.
 *
 * Each field has one writer: the control thread (registers, doorbells, namespaces), worker 0
 * (features, definitions of I/O queues, shadow doorbells), or the worker that owns the queue (its position and its
 * journal). What others read meanwhile is accessed with READ_ONCE() and friends. The bit sets of
 * events are atomic.
 *
 * The process may be killed between any two instructions. A thread's stores that come before that
 * point in the program are all there then, none that come after, so what a successor finds is
 * decided by the order of stores alone:
 *
 * - Commands. journal.h.
 * - Registers. A message that was not handled to its end comes again (base/relay-frame.h), so a
 *   register write has only to be harmless the second time. Enabling stores CC, then the admin
 *   queue's definition, then CSTS.RDY: without RDY it is begun again. Stopping is what takes time
 *   and goes on without a message: `ending` says so from before the first queue is dropped until
 *   after the last of the state has been cleared, and whoever finds it goes on. Clearing twice is
 *   the same as clearing once.
 * - Queues. A queue is there when `entries` says so, which is stored last when it is created and
 *   first when it is deleted. Whether that was the effect of a command that has no result yet is
 *   told by the command's journal entry, which was NVME_JOURNAL_STARTED before.
 * - Position of a completion queue: one word, stored after the completion is written. Whether the
 *   completion in hand was written is seen in guest memory (recovery.c). Of a submission queue: the
 *   number of commands fetched, stored after they are in the journal; what is in the journal counts.
 * - Features are single words, and setting one twice is the same as setting it once. Of the shadow
 *   doorbells the address of the doorbells comes last, and goes first.
 * - Events. An event is delivered by journalling the request's result; then its type is masked,
 *   then its bit is cleared. A successor that finds the result without its mask repeats both. Get
 *   Log Page of the changed namespaces moves them to `taken_namespaces` first, and forgets those
 *   when its result is in the journal; what a successor finds there it puts back. So an event or a
 *   changed namespace may be told twice, and none is lost.
 * - Reservation notifications are the same: one is added to the log before it is seen, and `read` goes
 *   back to `told` in a successor.
 * - Counters and the error log may count a command twice that was run twice. An entry of the log is
 *   valid when its number, which is stored last, says so.
 */

#define NVME_STATE_MAGIC   0x656d766e74726976ULL /* "virtnvme" */
#define NVME_STATE_VERSION 3

struct nvme_state_registers {
	uint32_t cc;
	uint32_t csts;
	uint32_t intms;
	uint32_t aqa;
	uint64_t asq;
	uint64_t acq;
	uint32_t ending;	   /* NVME_ENDING_* */
	uint32_t unsafe_shutdowns; /* SMART's; no reset clears it */
};

#define NVME_ENDING_STOP                                                                           \
	(1u << 0) /* the queues are being dropped, what they had in flight drains */
#define NVME_ENDING_RESET (1u << 1) /* and the registers go back to power-on values */
#define NVME_ENDING_POWER (1u << 2) /* it is the machine that was reset: to be counted */

struct nvme_state_sq {
	uint64_t base;
	uint32_t entries; /* 0: there is no such queue */
	uint32_t tail;	  /* doorbell: the control thread's, or with shadow doorbells the owner's */
	uint64_t fetched; /* commands, since the queue was created: modulo entries it is the head */
	uint16_t cqid;
	uint16_t slots; /* of the journal: those beyond were never used */
	uint32_t padding;
};

struct nvme_state_cq {
	uint64_t base;
	uint32_t entries;
	uint32_t head; /* doorbell: as an SQ's tail */
	uint32_t
		position; /* of the next completion: slot, and its phase from NVME_POSITION_PHASE */
	uint16_t vector;
	uint8_t interrupts;
	uint8_t padding;
};

#define NVME_POSITION_PHASE   16
#define NVME_POSITION_SLOT(x) ((x)&0xffffu)

/* A submission queue's commands in flight, see journal.h. */
#define NVME_JOURNAL_SLOTS NVME_MAX_IO_ENTRIES

struct nvme_state_slot {
	uint64_t word;	/* how far the command is: see journal.h; stored last */
	uint64_t order; /* of its fetch: what `fetched` was */
};

struct nvme_state_journal {
	struct nvme_command commands[NVME_JOURNAL_SLOTS];
	struct nvme_state_slot slots[NVME_JOURNAL_SLOTS];
};

struct nvme_state_features {
	uint32_t arbitration;
	uint32_t power;
	uint32_t over_temperature;
	uint32_t under_temperature;
	uint32_t error_recovery;
	uint32_t write_cache;
	uint32_t coalescing;
	uint32_t write_atomicity;
	uint32_t async_event;
	uint32_t host_id_bytes; /* 8 or 16; 0: it was not set */
	uint64_t vectors_uncoalesced[NVME_MAX_QUEUES / 64 + 1];
	/* The guest's clock: what CLOCK_REALTIME is ahead of it, in ms, shifted by one; bit 0: it was
	 * set by the guest. */
	uint64_t timestamp;
	uint64_t host_id[2];
	uint8_t host_behavior[8]; /* those bytes that are defined */
};

/* Doorbell Buffer Config: a page each, addresses in the guest. */
struct nvme_state_shadow {
	uint64_t doorbells; /* 0: there are none */
	uint64_t events;
};

/* Events by enum nvme_event, see async-event.h. */
struct nvme_state_events {
	uint32_t pending;	     /* atomic */
	uint32_t masked;	     /* by event type: until the log page is read */
	uint64_t changed_namespaces; /* atomic; bit nsid - 1 */
	uint64_t taken_namespaces;   /* by a Get Log Page without a result */
};
_Static_assert(NVME_MAX_NAMESPACES <= 64, "changed_namespaces");

/* Reservation notifications, see reservation-log.h. */
struct nvme_state_notices {
	uint64_t added, read; /* of all since the reset */
	uint64_t told;	      /* of those read: the guest has its page, or is about to */
	uint32_t seen[NVME_MAX_NAMESPACES]; /* by nsid - 1; not of a reset: NVME_NOTICES_SEEN */
	uint16_t log[NVME_NOTICES];	    /* by number: NVME_NOTICE of it */
	uint8_t masks[NVME_MAX_NAMESPACES]; /* feature 82h */
	uint64_t unused[4];
};

/* Whose notices were seen, and how many. */
#define NVME_NOTICES_SEEN(place, count) ((uint32_t)((place) + 1) << 16 | (uint16_t)(count))
#define NVME_NOTICE(type, nsid)		((type) << 8 | (nsid))
#define NVME_NOTICE_TYPE(notice)	((notice) >> 8)
#define NVME_NOTICE_NSID(notice)	((notice)&0xff)

struct nvme_state_namespace {
	uint64_t blocks; /* 0: not attached */
	uint32_t block_size;
	uint32_t flags; /* NVME_STATE_NAMESPACE_* */
	uint8_t uuid[16];
};

#define NVME_STATE_NAMESPACE_READ_ONLY (1u << 0)
#define NVME_STATE_NAMESPACE_TAKEN     (1u << 1) /* it was shared, see ana.h */

struct nvme_state_counters {
	uint64_t read_commands, read_bytes, write_commands, write_bytes, flush_commands, errors;
};

/* What a worker parses, executes or ends at this moment, in a cache line of its own; and for how long
 * commands were outstanding, of which it was the last to have one (SMART). */
struct nvme_state_hand {
	uint32_t command; /* 0: none; else NVME_HAND of it */
	uint32_t padding;
	uint64_t busy_us;
	uint64_t unused[6];
};

#define NVME_HAND(sqid, slot) (1u << 31 | (uint32_t)(sqid) << 16 | (slot))
#define NVME_HAND_SQ(hand)    ((hand) >> 16 & 0x7fff)
#define NVME_HAND_SLOT(hand)  ((hand)&0xffff)

struct nvme_state {
	uint64_t magic;
	uint32_t version;
	uint32_t size;

	struct nvme_state_registers registers;
	struct nvme_state_features features;
	struct nvme_state_events events;
	struct nvme_state_shadow shadow;
	struct nvme_state_sq sqs[NVME_MAX_QUEUES];
	struct nvme_state_cq cqs[NVME_MAX_QUEUES];
	struct nvme_state_namespace namespaces[NVME_MAX_NAMESPACES];

	/* SMART: for the life of the controller, resets or not. */
	uint64_t power_cycles;
	uint64_t media_errors;			    /* atomic */
	uint64_t error_count;			    /* atomic */
	uint64_t errors[NVME_ERROR_LOG_ENTRIES][8]; /* struct nvme_error_entry */
	struct nvme_state_counters retired;	    /* of namespaces that are gone */
	struct nvme_state_counters counters[NVME_MAX_WORKERS][NVME_MAX_NAMESPACES];
	uint64_t powered_on; /* CLOCK_REALTIME, seconds; 0: not known */

	struct nvme_state_notices notices;

	uint32_t keep_alive; /* feature 0Fh, ms; 0: off */
	uint32_t padding;

	/* Of whole cache lines. */
	struct nvme_state_hand hands[NVME_MAX_WORKERS];
	struct nvme_state_journal journals[NVME_MAX_QUEUES];
};
_Static_assert(offsetof(struct nvme_state, hands) % 64 == 0, "layout");
_Static_assert(offsetof(struct nvme_state, journals) % 64 == 0, "layout");
_Static_assert(sizeof(struct nvme_state_sq) == 32, "layout");
_Static_assert(sizeof(struct nvme_state_cq) == 24, "layout");
_Static_assert(sizeof(struct nvme_state) == 5536064, "a change of the layout is a new version");

/** nvme_state_init() - a new controller, out of power-on reset; @state is zero-filled */
void nvme_state_init(struct nvme_state *state);

/**
 * nvme_state_judge() - may a predecessor's state be gone on with?
 * @queues: I/O queue pairs that this controller has
 * @vectors: interrupt vectors that it has
 *
 * Checks every value that is later used as an index or a size.
 *
 * Return: 0 or -errno with a sentence.
 */
int nvme_state_judge(const struct nvme_state *state, unsigned queues, unsigned vectors,
		     struct error **errp);

/**
 * nvme_state_reset() - what a controller reset clears (section 3.7.2): all but the admin queue's
 * registers, CC and what SMART counts; CSTS last
 */
void nvme_state_reset(struct nvme_state *state);

#endif
