// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/async-event.h"

#include "nvme/controller-private.h"

static const struct {
	uint8_t type;
	uint8_t info;
	uint8_t page;
	uint32_t enabled_by; /* bit of feature 0Bh; 0: always */
} events[] = {
	[NVME_EVENT_DOORBELL_REGISTER] = { NVME_EVENT_TYPE_ERROR,
					   NVME_EVENT_INVALID_DOORBELL_REGISTER, NVME_LOG_ERROR,
					   0 },
	[NVME_EVENT_DOORBELL_VALUE] = { NVME_EVENT_TYPE_ERROR, NVME_EVENT_INVALID_DOORBELL_VALUE,
					NVME_LOG_ERROR, 0 },
	[NVME_EVENT_NAMESPACE] = { NVME_EVENT_TYPE_NOTICE, NVME_EVENT_NAMESPACE_CHANGED,
				   NVME_LOG_CHANGED_NAMESPACES, NVME_EVENT_NAMESPACE_MASK },
};

void nvme_async_event_raise(struct nvme_controller *ctrl, enum nvme_event event)
{
	__atomic_fetch_or(&ctrl->state->events.pending, 1u << event, __ATOMIC_SEQ_CST);
	nvme_host_kick(ctrl->host, 0);
}

static void forget(struct nvme_controller *ctrl, enum nvme_event event)
{
	__atomic_fetch_and(&ctrl->state->events.pending, ~(1u << event), __ATOMIC_RELAXED);
}

/* The next event that may be delivered now; -1: none. Those not enabled are forgotten. */
static int next_event(struct nvme_controller *ctrl)
{
	struct nvme_state_events *state = &ctrl->state->events;
	uint32_t pending = __atomic_load_n(&state->pending, __ATOMIC_ACQUIRE);

	for (unsigned event = 0; pending && event < ARRAY_SIZE(events); event++) {
		uint32_t enabled_by = events[event].enabled_by;

		if (!(pending & 1u << event))
			continue;
		if (enabled_by && !(ctrl->state->features.async_event & enabled_by))
			forget(ctrl, event);
		else if (state->count && !(state->masked & 1u << events[event].type))
			return event;
	}
	return -1;
}

static bool can_deliver(struct nvme_controller *ctrl)
{
	struct nvme_cq *cq = &ctrl->cqs[0];

	return !cq->waiting.first && nvme_cq_can_post(cq);
}

/* A stopped controller's state is the control thread's: look at nothing of it before `live`. */
static bool is_pending(struct nvme_controller *ctrl)
{
	return ctrl->sqs[0].live && __atomic_load_n(&ctrl->state->events.pending, __ATOMIC_RELAXED);
}

bool nvme_async_event_has_work(struct nvme_controller *ctrl)
{
	return is_pending(ctrl) && can_deliver(ctrl) && next_event(ctrl) >= 0;
}

bool nvme_async_event_flush(struct nvme_controller *ctrl)
{
	struct nvme_state_events *state = &ctrl->state->events;
	bool any = false;
	int event;

	while (is_pending(ctrl) && can_deliver(ctrl) && (event = next_event(ctrl)) >= 0) {
		uint16_t cid = state->cids[0];

		forget(ctrl, event);
		state->masked |= 1u << events[event].type;
		state->count--;
		memmove(&state->cids[0], &state->cids[1], state->count * sizeof(cid));
		nvme_cq_post(&ctrl->cqs[0], &ctrl->sqs[0], cid, NVME_SUCCESS,
			     events[event].type | events[event].info << 8 |
				     events[event].page << 16);
		any = true;
	}
	return any;
}

void nvme_async_event_request(struct nvme_request *request)
{
	struct nvme_state_events *state = &request->worker->ctrl->state->events;

	if (state->count == NVME_MAX_ASYNC_EVENTS) {
		nvme_request_complete(request, NVME_ASYNC_EVENT_LIMIT | NVME_DNR);
		return;
	}
	state->cids[state->count++] = request->command.cid;
	nvme_request_park(request);
}

void nvme_async_event_log_read(struct nvme_controller *ctrl, uint8_t page)
{
	for (unsigned event = 0; event < ARRAY_SIZE(events); event++)
		if (events[event].page == page)
			ctrl->state->events.masked &= ~(1u << events[event].type);
	if (page == NVME_LOG_CHANGED_NAMESPACES)
		forget(ctrl, NVME_EVENT_NAMESPACE);
}
