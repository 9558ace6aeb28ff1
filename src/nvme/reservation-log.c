// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/reservation-log.h"

#include "nvme/async-event.h"
#include "nvme/controller-private.h"
#include "nvme/reservation.h"

static uint32_t *seen_of(const struct nvme_namespace *ns)
{
	return &ns->ctrl->state->notices.seen[ns->nsid - 1];
}

/* All that it was told until now. */
static void see_all(const struct nvme_namespace *ns)
{
	uint64_t word;

	if (nvme_reservation_notices(ns, &word))
		NVME_STORE(*seen_of(ns), NVME_NOTICES_SEEN(ns->reservation->place, word));
}

static bool has_seen_some(const struct nvme_namespace *ns)
{
	return *seen_of(ns) >> 16 == ns->reservation->place + 1;
}

void nvme_reservation_log_open(const struct nvme_namespace *ns)
{
	if (ns->ctrl->phase == NVME_STOPPED || !has_seen_some(ns))
		see_all(ns);
}

void nvme_reservation_log_reset(struct nvme_controller *ctrl)
{
	for (uint32_t nsid = 1; nsid <= NVME_MAX_NAMESPACES; nsid++) {
		const struct nvme_namespace *ns = nvme_namespace_find(ctrl, nsid);

		if (ns && ns->reservation)
			see_all(ns);
	}
}

void nvme_reservation_log_adopt(struct nvme_controller *ctrl)
{
	struct nvme_state_notices *notices = &ctrl->state->notices;

	NVME_STORE(notices->read, notices->told);
	/* There are no workers yet to be kicked. */
	if (notices->read != notices->added)
		ctrl->state->events.pending |= 1u << NVME_EVENT_RESERVATION;
}

/*
 * The log
 */
static void add(struct nvme_state_notices *notices, unsigned type, uint32_t nsid)
{
	if (notices->added - notices->told == NVME_NOTICES) {
		NVME_STORE(notices->read, MAX(notices->read, notices->told + 1));
		NVME_STORE(notices->told, notices->told + 1);
	}
	notices->log[notices->added % NVME_NOTICES] = NVME_NOTICE(type, nsid);
	nvme_crash_point();
	NVME_STORE(notices->added, notices->added + 1);
}

static bool look(const struct nvme_namespace *ns)
{
	struct nvme_state_notices *notices = &ns->ctrl->state->notices;
	uint64_t word, added = notices->added;
	uint16_t count;

	if (!has_seen_some(ns))
		see_all(ns);
	if (!nvme_reservation_notices(ns, &word))
		return false;
	count = word - *seen_of(ns);
	if (!count)
		return false;
	for (unsigned i = MIN(count, NVME_NOTICES_A_WORD); i-- > 0;) {
		unsigned type = word >> (16 + 2 * i) & 3;

		if (type && !(notices->masks[ns->nsid - 1] & 1u << type))
			add(notices, type, ns->nsid);
	}
	if (notices->added != added)
		nvme_async_event_raise(ns->ctrl, NVME_EVENT_RESERVATION);
	nvme_crash_point();
	NVME_STORE(*seen_of(ns), NVME_NOTICES_SEEN(ns->reservation->place, word));
	nvme_crash_point();
	return notices->added != added;
}

bool nvme_reservation_log_has_work(struct nvme_controller *ctrl)
{
	return READ_ONCE(ctrl->notices_due) && ctrl->sqs[0].live;
}

bool nvme_reservation_log_poll(struct nvme_controller *ctrl)
{
	bool any = false;

	if (!nvme_reservation_log_has_work(ctrl))
		return false;
	/* What comes while we look is due again. */
	__atomic_store_n(&ctrl->notices_due, false, __ATOMIC_SEQ_CST);
	for (uint32_t nsid = 1; nsid <= NVME_MAX_NAMESPACES; nsid++) {
		const struct nvme_namespace *ns = nvme_namespace_find(ctrl, nsid);

		if (ns && ns->reservation)
			any |= look(ns);
	}
	return any;
}

void nvme_controller_reservation_changed(struct nvme_controller *ctrl)
{
	__atomic_store_n(&ctrl->notices_due, true, __ATOMIC_SEQ_CST);
	nvme_host_kick(ctrl->host, 0);
}

/* In the order in which they were read. */
static void told(struct nvme_request *request)
{
	struct nvme_state_notices *notices = &request->worker->ctrl->state->notices;

	if (notices->told == notices->read)
		return; /* its page has gone, for want of room */
	if (!request->status) {
		NVME_STORE(notices->told, notices->told + 1);
		return;
	}
	NVME_STORE(notices->read, notices->read - 1);
	nvme_async_event_raise(request->worker->ctrl, NVME_EVENT_RESERVATION);
}

void nvme_reservation_log_page(struct nvme_request *request, void *page)
{
	struct nvme_controller *ctrl = request->worker->ctrl;
	struct nvme_state_notices *notices = &ctrl->state->notices;
	struct nvme_reservation_log log = { .count = notices->read + 1 };
	uint64_t left = notices->added - notices->read;
	unsigned notice;

	if (!left)
		return;
	notice = notices->log[notices->read % NVME_NOTICES];
	log.type = NVME_NOTICE_TYPE(notice);
	log.nsid = NVME_NOTICE_NSID(notice);
	log.available = left - 1;
	memcpy(page, &log, sizeof(log));
	NVME_STORE(notices->read, notices->read + 1);
	request->on_executed = told;
	/* It was forgotten with the reading. */
	if (left > 1)
		nvme_async_event_raise(ctrl, NVME_EVENT_RESERVATION);
}

/*
 * The features
 */
static nvme_status find(struct nvme_request *request, const struct nvme_namespace **ret)
{
	uint32_t nsid = request->command.nsid;

	*ret = nvme_namespace_find(request->worker->ctrl, nsid);
	if (!*ret && (!nsid || nsid > NVME_MAX_NAMESPACES))
		return NVME_INVALID_NAMESPACE | NVME_DNR;
	return *ret && (*ret)->reservation ? 0 : nvme_invalid_field(request, nsid);
}

nvme_status nvme_reservation_log_get_feature(struct nvme_request *request, bool initial)
{
	const struct nvme_controller *ctrl = request->worker->ctrl;
	const struct nvme_namespace *ns;
	bool persists;
	nvme_status status;

	if (!nvme_reservation_is_offered(request->worker->ctrl))
		return nvme_invalid_field(request, cdw10);
	status = find(request, &ns);
	if (status || initial)
		return status;
	if ((request->command.cdw10 & 0xff) == NVME_FEATURE_NOTIFICATION_MASK) {
		request->result = ctrl->state->notices.masks[ns->nsid - 1];
		return 0;
	}
	if (!nvme_reservation_persists(ns, &persists))
		return NVME_INTERNAL_ERROR | NVME_DNR;
	request->result = persists ? NVME_PERSISTENCE_PTPL : 0;
	return 0;
}

static void set_mask(const struct nvme_namespace *ns, uint32_t mask)
{
	WRITE_ONCE(ns->ctrl->state->notices.masks[ns->nsid - 1], mask & NVME_NOTICE_MASKS);
}

/* Of one, or of all that have reservations. */
nvme_status nvme_reservation_log_set_feature(struct nvme_request *request)
{
	struct nvme_controller *ctrl = request->worker->ctrl;
	uint32_t cdw11 = request->command.cdw11;
	const struct nvme_namespace *ns;
	nvme_status status;

	if (!nvme_reservation_is_offered(ctrl))
		return nvme_invalid_field(request, cdw10);
	if (request->command.nsid != NVME_NSID_ALL) {
		status = find(request, &ns);
		if (status)
			return status;
	}
	for (uint32_t nsid = 1; nsid <= NVME_MAX_NAMESPACES; nsid++) {
		ns = nvme_namespace_find(ctrl, nsid);
		if (ns && ns->reservation &&
		    (request->command.nsid == NVME_NSID_ALL || request->command.nsid == nsid))
			set_mask(ns, cdw11);
	}
	return 0;
}
