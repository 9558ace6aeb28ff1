// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/state.h"

#include <errno.h>

#include "base/i18n.h"
#include "nvme/features.h"

void nvme_state_init(struct nvme_state *state)
{
	state->magic = NVME_STATE_MAGIC;
	state->version = NVME_STATE_VERSION;
	state->size = sizeof(*state);
	state->power_cycles = 1;
	nvme_features_reset(&state->features);
}

void nvme_state_reset(struct nvme_state *state)
{
	state->registers.csts = 0;
	state->registers.intms = 0;
	memset(state->sqs, 0, sizeof(state->sqs));
	memset(state->cqs, 0, sizeof(state->cqs));
	memset(&state->events, 0, sizeof(state->events));
	nvme_features_reset(&state->features);
}

static bool sq_is_sane(const struct nvme_state *state, unsigned id, unsigned queues)
{
	const struct nvme_state_sq *sq = &state->sqs[id];

	if (!sq->entries)
		return true;
	return id <= queues && sq->cqid <= queues && !id == !sq->cqid &&
	       sq->entries <= (id ? NVME_MAX_IO_ENTRIES : NVME_MAX_ADMIN_ENTRIES) &&
	       sq->head < sq->entries && sq->tail < sq->entries && state->cqs[sq->cqid].entries;
}

static bool cq_is_sane(const struct nvme_state *state, unsigned id, unsigned queues,
		       unsigned vectors)
{
	const struct nvme_state_cq *cq = &state->cqs[id];

	if (!cq->entries)
		return true;
	return id <= queues && cq->vector < vectors && cq->phase <= 1 &&
	       cq->entries <= (id ? NVME_MAX_IO_ENTRIES : NVME_MAX_ADMIN_ENTRIES) &&
	       cq->head < cq->entries && cq->tail < cq->entries;
}

int nvme_state_judge(const struct nvme_state *state, unsigned queues, unsigned vectors,
		     struct error **errp)
{
	if (state->magic != NVME_STATE_MAGIC)
		return error_set(errp, EINVAL, _("the state is not one of an NVMe controller"));
	if (state->version != NVME_STATE_VERSION || state->size != sizeof(*state))
		return error_set(errp, ENOTSUP,
				 _("the controller's state has version %u, this program reads %u"),
				 state->version, NVME_STATE_VERSION);
	if (state->events.count > NVME_MAX_ASYNC_EVENTS)
		return error_set(errp, EINVAL, _("the controller's state has %u parked events"),
				 state->events.count);
	for (unsigned id = 0; id < NVME_MAX_QUEUES; id++)
		if (!sq_is_sane(state, id, queues) || !cq_is_sane(state, id, queues, vectors))
			return error_set(errp, EINVAL,
					 _("the controller's state has an impossible queue %u"),
					 id);
	return 0;
}
