// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/journal.h"

struct found {
	uint64_t order;
	uint16_t slot;
};

static int by_order(const void *a, const void *b)
{
	const struct found *one = a, *other = b;

	return one->order < other->order ? -1 : one->order > other->order;
}

static bool is_first_half(const struct nvme_journal *journal, unsigned slot)
{
	return (journal->state->commands[slot].flags & NVME_COMMAND_FUSE) == NVME_FUSE_FIRST &&
	       nvme_journal_word(journal, slot) == NVME_JOURNAL_FETCHED;
}

/* The second half may not be there. They are fetched together, again. */
static void forget_last(struct nvme_journal *journal)
{
	nvme_journal_remove(journal, journal->inherited[--journal->inherited_count]);
	journal->fetched--;
}

void nvme_journal_open(struct nvme_journal *journal, struct nvme_state *state, unsigned sqid)
{
	struct found found[NVME_JOURNAL_SLOTS];
	unsigned count = 0;

	journal->queue = &state->sqs[sqid];
	journal->state = &state->journals[sqid];
	journal->fetched = journal->queue->fetched;
	journal->free_count = 0;
	journal->left = 0;
	for (unsigned slot = journal->queue->slots; slot-- > 0;) {
		if (nvme_journal_stage(nvme_journal_word(journal, slot)) == NVME_JOURNAL_FREE)
			journal->free[journal->free_count++] = slot;
		else
			found[count++] = (struct found){ journal->state->slots[slot].order, slot };
	}
	qsort(found, count, sizeof(found[0]), by_order);
	for (unsigned i = 0; i < count; i++)
		journal->inherited[i] = found[i].slot;
	journal->inherited_count = count;
	/* It died before it said that these are fetched. */
	if (count && found[count - 1].order >= journal->fetched) {
		journal->fetched = found[count - 1].order + 1;
		if (sqid && is_first_half(journal, found[count - 1].slot))
			forget_last(journal);
		nvme_journal_advance(journal);
	}
}

unsigned nvme_journal_add(struct nvme_journal *journal, const struct nvme_command *command)
{
	unsigned slot;

	if (journal->free_count) {
		slot = journal->free[--journal->free_count];
	} else {
		slot = journal->queue->slots;
		/* First: entries beyond are not looked at. */
		NVME_STORE(journal->queue->slots, slot + 1);
	}
	journal->state->commands[slot] = *command;
	nvme_crash_point();
	journal->state->slots[slot].order = journal->fetched++;
	nvme_journal_set(journal, slot, NVME_JOURNAL_FETCHED);
	return slot;
}

void nvme_journal_clear(struct nvme_state *state, unsigned sqid)
{
	struct nvme_state_sq *sq = &state->sqs[sqid];

	for (unsigned slot = 0; slot < sq->slots; slot++)
		NVME_STORE(state->journals[sqid].slots[slot].word, NVME_JOURNAL_FREE);
	NVME_STORE(sq->slots, 0);
	NVME_STORE(sq->fetched, 0);
}

bool nvme_journal_is_sane(const struct nvme_state *state, unsigned sqid)
{
	const struct nvme_state_sq *sq = &state->sqs[sqid];

	if (sq->slots > NVME_JOURNAL_SLOTS)
		return false;
	for (unsigned slot = 0; slot < sq->slots; slot++) {
		uint64_t word = state->journals[sqid].slots[slot].word;

		if (nvme_journal_stage(word) > NVME_JOURNAL_POSTING)
			return false;
		if (sq->entries && nvme_journal_stage(word) == NVME_JOURNAL_POSTING &&
		    NVME_POSITION_SLOT(nvme_journal_position(word)) >= state->cqs[sq->cqid].entries)
			return false;
	}
	return true;
}
