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
	[NVME_EVENT_TEMPERATURE] = { NVME_EVENT_TYPE_SMART, NVME_EVENT_TEMPERATURE_THRESHOLD,
				     NVME_LOG_SMART, NVME_WARNING_OF_TEMPERATURE },
	/* Masked by feature 82h, before there is anything to tell of. */
	[NVME_EVENT_RESERVATION] = { NVME_EVENT_TYPE_COMMAND_SET, NVME_EVENT_RESERVATION_LOG,
				     NVME_LOG_RESERVATION, 0 },
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

static uint32_t result_of(enum nvme_event event)
{
	return events[event].type | events[event].info << 8 | events[event].page << 16;
}

void nvme_async_event_told(struct nvme_controller *ctrl, uint32_t result)
{
	for (unsigned event = 0; event < ARRAY_SIZE(events); event++) {
		if (result_of(event) != result)
			continue;
		NVME_STORE(ctrl->state->events.masked,
			   ctrl->state->events.masked | 1u << events[event].type);
		forget(ctrl, event);
		nvme_crash_point();
	}
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
		else if (ctrl->workers[0]->parked.first &&
			 !(state->masked & 1u << events[event].type))
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
	bool any = false;
	int event;

	while (is_pending(ctrl) && can_deliver(ctrl) && (event = next_event(ctrl)) >= 0) {
		struct nvme_request *request = nvme_request_list_take(&ctrl->workers[0]->parked);

		request->result = result_of(event);
		request->status = NVME_SUCCESS;
		nvme_request_executed(request);
		nvme_async_event_told(ctrl, request->result);
		nvme_request_resume(request);
		any = true;
	}
	return any;
}

void nvme_async_event_request(struct nvme_request *request)
{
	struct nvme_request_list *parked = &request->worker->parked;
	const struct nvme_request *other;
	unsigned count = 0;

	for (other = parked->first; other; other = other->next)
		count++;
	if (count == NVME_MAX_ASYNC_EVENTS)
		nvme_request_complete(request, NVME_ASYNC_EVENT_LIMIT | NVME_DNR);
	else
		nvme_request_wait(request, parked);
}

void nvme_async_event_log_read(struct nvme_controller *ctrl, uint8_t page)
{
	for (unsigned event = 0; event < ARRAY_SIZE(events); event++)
		if (events[event].page == page)
			ctrl->state->events.masked &= ~(1u << events[event].type);
	if (page == NVME_LOG_CHANGED_NAMESPACES)
		forget(ctrl, NVME_EVENT_NAMESPACE);
	if (page == NVME_LOG_RESERVATION)
		forget(ctrl, NVME_EVENT_RESERVATION);
}
