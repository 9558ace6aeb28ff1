/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_JOURNAL_H
#define NVME_JOURNAL_H

#include "nvme/crash-point.h"
#include "nvme/state.h"

/*
 * Theory of operation
 *
 * Every command that was fetched and whose completion the guest may not see yet has an entry in the
 * journal of its submission queue, which is part of the state. An entry is the command's 64 bytes,
 * its number in the order of fetching, and a word that says how far it is. The word is written as
 * one store after all that it vouches for:
 *
 *	FREE	  no command.
 *	FETCHED	  command and number are there. Nothing that cannot be done twice has happened. With
 *		  a status: it is not to be run (it was in hand when a predecessor died), but failed.
 *	STARTED	  the command was judged and does now what cannot be judged twice: a queue that is
 *		  created or deleted exists or not because of it.
 *	EXECUTED  all is done; status and result are what the guest is to be told. Never run again.
 *	POSTING	  the completion with this status and result goes, or went, to this slot of the
 *		  completion queue with this phase, and to no other.
 *
 * and FREE again when the completion is visible: it was stored directly, or the client has
 * acknowledged the message with it. A queue has as many entries as a queue can be long, and the
 * free ones are used last in, first out: an idle disk touches few pages however long it runs.
 *
 * Journals are keyed by queue: a successor may have another number of workers.
 */
enum nvme_journal_stage {
	NVME_JOURNAL_FREE,
	NVME_JOURNAL_FETCHED,
	NVME_JOURNAL_STARTED,
	NVME_JOURNAL_EXECUTED,
	NVME_JOURNAL_POSTING,
};

/* The word: stage in bits 0 to 2, phase 3, slot 4 to 15, status 16 to 31, result 32 to 63. */
#define NVME_JOURNAL_WORD(stage, status, result)                                                   \
	((uint64_t)(stage) | (uint64_t)(status) << 16 | (uint64_t)(result) << 32)
#define NVME_JOURNAL_PLACE(position)                                                               \
	((uint64_t)NVME_POSITION_SLOT(position) << 4 |                                             \
	 (uint64_t)((position) >> NVME_POSITION_PHASE & 1) << 3)

static inline enum nvme_journal_stage nvme_journal_stage(uint64_t word)
{
	return word & 7;
}

/** nvme_journal_position() - of POSTING, as nvme_state_cq.position has it */
static inline uint32_t nvme_journal_position(uint64_t word)
{
	return (word >> 4 & 0xfff) | (word >> 3 & 1) << NVME_POSITION_PHASE;
}

static inline nvme_status nvme_journal_status(uint64_t word)
{
	return word >> 16;
}

static inline uint32_t nvme_journal_result(uint64_t word)
{
	return word >> 32;
}

_Static_assert(NVME_MAX_ADMIN_ENTRIES <= 4096 && NVME_MAX_IO_ENTRIES <= 4096, "bits of the slot");

/* The journal of a queue as its worker holds it. */
struct nvme_journal {
	struct nvme_state_sq *queue;
	struct nvme_state_journal *state;
	uint64_t fetched;
	unsigned free_count;
	/* A predecessor's entries in the order of fetching; from `left` on they are not taken over
	 * yet. */
	unsigned inherited_count, left;
	uint16_t free[NVME_JOURNAL_SLOTS];
	uint16_t inherited[NVME_JOURNAL_SLOTS];
};

/** nvme_journal_open() - find what a predecessor left; a queue that is new has nothing */
void nvme_journal_open(struct nvme_journal *journal, struct nvme_state *state, unsigned sqid);

/** nvme_journal_add() - a command that was fetched. Return: its slot; one is free. */
unsigned nvme_journal_add(struct nvme_journal *journal, const struct nvme_command *command);

/** nvme_journal_advance() - all commands added since the last time are fetched: none again */
static inline void nvme_journal_advance(struct nvme_journal *journal)
{
	NVME_STORE(journal->queue->fetched, journal->fetched);
}

static inline uint64_t nvme_journal_word(const struct nvme_journal *journal, unsigned slot)
{
	return READ_ONCE(journal->state->slots[slot].word);
}

static inline void nvme_journal_set(struct nvme_journal *journal, unsigned slot, uint64_t word)
{
	NVME_STORE(journal->state->slots[slot].word, word);
}

static inline void nvme_journal_remove(struct nvme_journal *journal, unsigned slot)
{
	nvme_journal_set(journal, slot, NVME_JOURNAL_FREE);
	journal->free[journal->free_count++] = slot;
}

/** nvme_journal_clear() - no command of that queue is in flight any more */
void nvme_journal_clear(struct nvme_state *state, unsigned sqid);

/** nvme_journal_is_sane() - every value that is used as an index or size */
bool nvme_journal_is_sane(const struct nvme_state *state, unsigned sqid);

#endif
