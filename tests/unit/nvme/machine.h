/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_UNIT_NVME_MACHINE_H
#define TESTS_UNIT_NVME_MACHINE_H

#include "nvme/controller.h"
#include "nvme/limits.h"
#include "nvme/spec.h"

/*
 * A machine for the controller model to be plugged into, and a driver for it: guest memory in an
 * array, all threads played by one (calls wait in queues until machine_run()), disks whose requests
 * can be held back and made to fail. Nothing happens but inside machine_run() and the functions
 * that call it.
 */
#define MACHINE_MEMORY	(4 * MiB)
#define MACHINE_BASE	0x100000000ULL /* guest address of it */
#define MACHINE_QUEUES	4
#define MACHINE_WORKERS 4
#define MACHINE_ENTRIES 16 /* of each queue, unless a test makes its own */

/* Also `struct block`, as the controller sees it. */
struct machine_disk {
	struct block_info info;
	uint8_t *data;	/* NULL: nobody looks at what is there */
	bool hold;	/* requests wait for machine_release() */
	bool drop;	/* they never end */
	int result;	/* of all requests, if not 0 */
	unsigned count; /* held */
	struct block_request *held[256];
	struct machine_dead *dead; /* of a process that is gone, see machine_die() */
	struct block_request last; /* as submitted */
	unsigned submitted, flushes;
	/* The first hints: where, and how many were submitted before. */
	unsigned hint_count;
	struct {
		uint64_t offset, bytes;
		unsigned submitted;
	} hints[8];
};

struct machine_queue {
	uint64_t sq, cq; /* guest addresses */
	unsigned sq_entries, cq_entries, tail, head, phase;
};

/* A call of nvme_host_after_writes() that waits. */
struct machine_after {
	void (*fn)(void *opaque, unsigned value);
	void *opaque;
	unsigned value;
};

/* A write by message that is not executed yet. */
struct machine_message {
	struct machine_message *next;
	bool old; /* of a process that is gone */
	uint64_t iova;
	size_t len;
	uint8_t data[];
};

struct machine {
	struct nvme_host host;
	struct nvme_controller *ctrl;
	struct nvme_controller_config config;
	struct nvme_worker *workers[MACHINE_WORKERS];
	void *state;

	uint8_t *memory, *retired; /* `retired`: where it was before machine_move_memory() */
	uint64_t allocated;
	uint64_t hole, hole_len; /* not mapped */
	bool read_only;		 /* the guest's memory is, for us */
	bool message_reads, message_writes;
	/* Before each access to guest memory: the guest does something meanwhile. */
	void (*meanwhile)(struct machine *machine);

	struct {
		struct nvme_host_call *first, **end;
	} calls[MACHINE_WORKERS + 1]; /* the last is the control thread's */
	bool fast_control; /* has run what a worker calls it for before the worker goes on */
	unsigned kicks[MACHINE_WORKERS];
	unsigned interrupts[NVME_MAX_QUEUES];
	bool intx, cancelled;
	unsigned silences;  /* nobody has answered yet */
	unsigned io_errors; /* reported; the last one is */
	struct {
		uint32_t nsid;
		enum block_op op;
		int code;
	} io_error;
	unsigned block_sizes;	  /* asked for; the last one is */
	uint32_t block_size[2];	  /* namespace, bytes */
	bool records_later;	  /* the test says when; else at once */
	bool writes_pending;	  /* posted ones are not executed yet */
	unsigned reads, writes;	  /* by message */
	unsigned writes_executed; /* while writes_pending */
	bool no_room;		  /* for more of them */
	bool queue_writes;	  /* they wait for machine_execute_one() */
	struct machine_message *messages;
	struct machine_after after[64];
	unsigned after_count;
	struct machine_after fence; /* told when no message is old */

	struct machine_queue queues[NVME_MAX_QUEUES];
	uint64_t shadow, events; /* addresses of the doorbell buffers; 0: none */
	unsigned trapped;	 /* doorbell writes */
	uint16_t next_cid;
};

struct machine_completion {
	uint16_t cid, sqid, sq_head;
	nvme_status status; /* without NVME_DNR and NVME_MORE */
	bool dnr;
	uint32_t result;
};

/** machine_new() - powered on, bus master and MSI-X on, not enabled */
struct machine *machine_new(unsigned workers);
void machine_free(struct machine *machine);

/** machine_die() - the process is no more; what it has in flight at @disk, and messages that were
 * sent, may still happen */
void machine_die(struct machine *machine, struct machine_disk *disk);
/** machine_lose_messages() - those that wait were not sent any more, but for the first ones:
 * @choose */
void machine_lose_messages(struct machine *machine, unsigned (*choose)(unsigned n));
/** machine_haunt() - let each request of the dead end, or not: @choose. No more come. */
void machine_haunt(struct machine *machine, struct machine_disk *disk,
		   unsigned (*choose)(unsigned n));
/** machine_adopt() - a successor takes over the state. NULL and a sentence: it would not */
struct nvme_controller *machine_adopt(struct machine *machine, struct error **errp);

/** machine_restart() - the process dies and a successor takes over the state. NULL and a sentence:
 * it would not */
struct nvme_controller *machine_restart(struct machine *machine, struct error **errp);

/* cmocka fixtures: a machine with one or two workers, enabled, with a disk as namespace 1 and the
 * I/O queues 1 and 2. */
int machine_setup(void **state);
int machine_setup_two_workers(void **state);
/* One worker, and the disk's bytes tell where they come from. */
int machine_setup_pattern(void **state);
int machine_teardown(void **state);

/** machine_run() - all threads, until there is nothing more to do; then every worker must agree to
 * sleep */
void machine_run(struct machine *machine);
/** machine_run_worker() - calls and one poll of one worker. Return: whether there was anything. */
bool machine_run_worker(struct machine *machine, unsigned worker);
bool machine_run_control(struct machine *machine);

/*
 * Guest memory.
 */
/** machine_execute_one() - the oldest message that waits. Return: was there one? */
bool machine_execute_one(struct machine *machine);
/** machine_drop_messages() - those that wait have no effect */
void machine_drop_messages(struct machine *machine);
/** machine_execute_writes() - what was posted is; no longer writes_pending */
void machine_execute_writes(struct machine *machine);

uint64_t machine_alloc(struct machine *machine, unsigned pages);
void *machine_at(struct machine *machine, uint64_t iova);
void machine_move_memory(struct machine *machine);

/*
 * Disks.
 */
struct machine_disk *machine_disk_new(uint64_t bytes);
void machine_disk_free(struct machine_disk *disk);
void machine_attach(struct machine *machine, uint32_t nsid, struct machine_disk *disk);
/** machine_disk() - of namespace 1 of the fixtures */
struct machine_disk *machine_disk(struct machine *machine);
/** machine_disk_die() - half of machine_die() */
void machine_disk_die(struct machine *machine, struct machine_disk *disk);
/** machine_release() - let the oldest request held back end */
void machine_release(struct machine *machine, struct machine_disk *disk);

/*
 * The driver.
 */
uint32_t machine_read32(struct machine *machine, uint64_t offset);
uint64_t machine_read64(struct machine *machine, uint64_t offset);
void machine_write32(struct machine *machine, uint64_t offset, uint32_t value);

/** machine_enable() - and run until ready */
void machine_enable(struct machine *machine);
/** machine_create_queue() - CQ and SQ @id with @entries each, vector @id */
void machine_create_queue(struct machine *machine, unsigned id, unsigned entries);

/** machine_shadow() - Doorbell Buffer Config; from here on the driver uses shadow doorbells */
void machine_shadow(struct machine *machine);

/** machine_put() - into the submission queue, without the doorbell. Return: the command id. */
uint16_t machine_put(struct machine *machine, unsigned id, struct nvme_command command);
void machine_ring(struct machine *machine, unsigned id);
/** machine_submit() - put and ring */
uint16_t machine_submit(struct machine *machine, unsigned id, struct nvme_command command);

/** machine_take() - the next completion, if there is one; frees its slot by the doorbell */
bool machine_take(struct machine *machine, unsigned id, struct machine_completion *ret);
/** machine_peek() - the same, and the slot stays taken */
bool machine_peek(struct machine *machine, unsigned id, struct machine_completion *ret);

/** machine_execute() - submit, run, take: there must be exactly this completion */
struct machine_completion machine_execute(struct machine *machine, unsigned id,
					  struct nvme_command command);

/* Commands */
struct nvme_command machine_rw(uint8_t opcode, uint64_t lba, unsigned blocks, uint64_t prp1,
			       uint64_t prp2);
struct nvme_command machine_create_cq(unsigned id, unsigned entries, uint64_t base,
				      unsigned vector);
struct nvme_command machine_create_sq(unsigned id, unsigned entries, uint64_t base, unsigned cqid);
struct nvme_command machine_get_log(uint8_t page, unsigned bytes, uint64_t offset, bool retain,
				    uint64_t prp1);

#define assert_status(completion, expected) assert_int_equal((completion).status, expected)

#endif
