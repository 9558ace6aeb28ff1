// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/state.h"

#include <errno.h>
#include <time.h>

#include "base/i18n.h"
#include "nvme/features.h"
#include "nvme/journal.h"

void nvme_state_init(struct nvme_state *state)
{
	state->version = NVME_STATE_VERSION;
	state->size = sizeof(*state);
	state->power_cycles = 1;
	state->powered_on = time(NULL);
	nvme_features_reset(&state->features);
	/* Last: a predecessor's state without it is one that was never used. */
	NVME_STORE(state->magic, NVME_STATE_MAGIC);
}

void nvme_state_reset(struct nvme_state *state)
{
	struct nvme_state_notices *notices = &state->notices;

	for (unsigned id = 0; id < NVME_MAX_QUEUES; id++) {
		NVME_STORE(state->sqs[id].entries, 0);
		nvme_journal_clear(state, id);
	}
	memset(state->sqs, 0, sizeof(state->sqs));
	memset(state->cqs, 0, sizeof(state->cqs));
	nvme_crash_point();
	memset(&state->events, 0, sizeof(state->events));
	NVME_STORE(state->shadow.doorbells, 0);
	memset(&state->shadow, 0, sizeof(state->shadow));
	for (unsigned i = 0; i < NVME_MAX_WORKERS; i++)
		state->hands[i].command = 0;
	nvme_features_reset(&state->features);
	state->keep_alive = 0;
	notices->added = notices->read = notices->told = 0;
	memset(notices->masks, 0, sizeof(notices->masks));
	state->registers.intms = 0;
	NVME_STORE(state->registers.csts, 0);
}

static bool sq_is_sane(const struct nvme_state *state, unsigned id, unsigned queues)
{
	const struct nvme_state_sq *sq = &state->sqs[id];

	if (!sq->entries)
		return true;
	return id <= queues && sq->cqid <= queues && !id == !sq->cqid &&
	       sq->entries <= (id ? NVME_MAX_IO_ENTRIES : NVME_MAX_ADMIN_ENTRIES) &&
	       state->cqs[sq->cqid].entries;
}

static bool cq_is_sane(const struct nvme_state *state, unsigned id, unsigned queues,
		       unsigned vectors)
{
	const struct nvme_state_cq *cq = &state->cqs[id];

	if (!cq->entries)
		return true;
	return id <= queues && cq->vector < vectors &&
	       cq->entries <= (id ? NVME_MAX_IO_ENTRIES : NVME_MAX_ADMIN_ENTRIES) &&
	       NVME_POSITION_SLOT(cq->position) < cq->entries &&
	       cq->position >> NVME_POSITION_PHASE <= 1;
}

static bool notices_are_sane(const struct nvme_state_notices *notices)
{
	return notices->told <= notices->read && notices->read <= notices->added &&
	       notices->added - notices->told <= NVME_NOTICES;
}

/* Not the doorbells: they are the guest's, and compared with the size wherever they are used. */
int nvme_state_judge(const struct nvme_state *state, unsigned queues, unsigned vectors,
		     struct error **errp)
{
	if (state->magic != NVME_STATE_MAGIC)
		return error_set(errp, EINVAL, _("the state is not one of an NVMe controller"));
	if (state->version != NVME_STATE_VERSION || state->size != sizeof(*state))
		return error_set(errp, ENOTSUP,
				 _("the controller's state has version %u, this program reads %u"),
				 state->version, NVME_STATE_VERSION);
	if ((state->shadow.doorbells | state->shadow.events) % NVME_PAGE_SIZE)
		return error_set(errp, EINVAL,
				 _("the controller's state has impossible doorbell buffers"));
	if (!notices_are_sane(&state->notices))
		return error_set(
			errp, EINVAL,
			_("the controller's state has impossible reservation notifications"));
	for (unsigned id = 0; id < NVME_MAX_QUEUES; id++)
		if (!sq_is_sane(state, id, queues) || !cq_is_sane(state, id, queues, vectors) ||
		    !nvme_journal_is_sane(state, id))
			return error_set(errp, EINVAL,
					 _("the controller's state has an impossible queue %u"),
					 id);
	return 0;
}
