// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/reservation.h"

#include <errno.h>

#include "base/log.h"
#include "nvme/controller-private.h"
#include "nvme/io.h"
#include "nvme/reservation-log.h"

#define PAGE_MAGIC   0x76736572656d766eULL /* "nvmeresv" */
#define PAGE_VERSION 2
#define PLACES	     64

/* How often a copy may have changed under the one who reads it. */
#define TRIES 1000

struct place {
	uint64_t key; /* 0: free */
	uint32_t seen;
	uint16_t cntlid;
	uint16_t id_bytes;
	uint8_t host_id[16];
};

struct copy {
	struct nvme_reservation_state state;
	uint32_t last[PLACES];	  /* the last change of each place */
	uint64_t notices[PLACES]; /* reservation-log.h */
};

struct page {
	uint64_t magic;
	uint32_t version;
	uint32_t change;
	struct place places[PLACES];
	struct copy copies[2];
};
_Static_assert(sizeof(struct page) <= NVME_SHARE_FORMAT_AT, "layout");
_Static_assert(sizeof(struct copy) == 2832, "a change of the layout is a new PAGE_VERSION");

/* request->mark of one that has been executed, and waits until others have seen its change. */
#define EXECUTED (1ULL << 32)

static struct page *page_of(const struct nvme_reservation *reservation)
{
	return reservation->share->page;
}

static struct place *place_of(const struct nvme_reservation *reservation)
{
	return &page_of(reservation)->places[reservation->place];
}

static struct nvme_reservation_host host_of(const struct nvme_controller *ctrl)
{
	const struct nvme_state_features *features = &ctrl->state->features;
	struct nvme_reservation_host host = { .id_bytes = features->host_id_bytes };

	memcpy(host.id, features->host_id, sizeof(host.id));
	return host;
}

static bool has_id(const struct nvme_reservation_host *host)
{
	static const uint8_t none[sizeof(host->id)];

	return host->id_bytes && memcmp(host->id, none, sizeof(none));
}

/* What is in force. The copy is written again two changes later at the earliest. */
static bool load(const struct nvme_reservation *reservation, struct copy *ret, uint32_t *ret_change)
{
	const struct page *page = page_of(reservation);

	for (unsigned i = 0; i < TRIES; i++) {
		uint32_t change = LOAD_ACQUIRE(page->change);

		memcpy(ret, &page->copies[change & 1], sizeof(*ret));
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (READ_ONCE(page->change) != change)
			continue;
		*ret_change = change;
		return READ_ONCE(page->magic) == PAGE_MAGIC &&
		       nvme_reservation_is_sane(&ret->state);
	}
	return false;
}

bool nvme_reservation_notices(const struct nvme_namespace *ns, uint64_t *ret)
{
	struct copy copy;
	uint32_t change;

	if (!load(ns->reservation, &copy, &change))
		return false;
	*ret = copy.notices[ns->reservation->place];
	return true;
}

/*
 * The data path
 */
unsigned nvme_reservation_judge(const struct nvme_namespace *ns)
{
	struct nvme_reservation *reservation = ns->reservation;
	unsigned conflicts = NVME_RESERVATION_NO_READS | NVME_RESERVATION_NO_WRITES;
	struct nvme_reservation_host host;
	struct copy copy;
	uint32_t change;

	pthread_mutex_lock(&reservation->lock);
	if (load(reservation, &copy, &change)) {
		host = host_of(ns->ctrl);
		conflicts = nvme_reservation_conflicts(&copy.state, &host);
		WRITE_ONCE(reservation->verdict,
			   NVME_VERDICT_VALID | (uint64_t)conflicts << NVME_VERDICT_BITS | change);
	} else {
		log_guest(LOG_ERR,
			  "namespace %u: its reservations are damaged, nothing is let through",
			  ns->nsid);
	}
	pthread_mutex_unlock(&reservation->lock);
	return conflicts;
}

bool nvme_reservation_forbids(const struct nvme_request *request, unsigned conflicts)
{
	bool reads = request->block.op == BLOCK_READ;

	/* A read with FUA flushes first. */
	if (request->block.op == BLOCK_FLUSH)
		reads = request->sq->id && request->command.opcode != NVME_IO_FLUSH;
	return conflicts & (reads ? NVME_RESERVATION_NO_READS : NVME_RESERVATION_NO_WRITES);
}

/*
 * Coming, going, and who we are
 */
static void introduce(const struct nvme_namespace *ns)
{
	struct nvme_reservation *reservation = ns->reservation;
	struct place *place = place_of(reservation);
	struct nvme_reservation_host host = host_of(ns->ctrl);

	place->cntlid = ns->ctrl->config.cntlid;
	memcpy(place->host_id, host.id, sizeof(place->host_id));
	WRITE_ONCE(place->id_bytes, host.id_bytes);
	/* Under the lock: who was about to store a verdict about the old one has done it. */
	pthread_mutex_lock(&reservation->lock);
	WRITE_ONCE(reservation->verdict, 0);
	pthread_mutex_unlock(&reservation->lock);
}

void nvme_reservation_host_changed(struct nvme_controller *ctrl)
{
	for (uint32_t nsid = 1; nsid <= NVME_MAX_NAMESPACES; nsid++) {
		const struct nvme_namespace *ns = nvme_namespace_find(ctrl, nsid);

		if (ns && ns->reservation)
			introduce(ns);
	}
}

static bool take_place(struct nvme_share *share, unsigned *ret)
{
	struct page *page = share->page;

	for (unsigned i = 0; i < PLACES; i++) {
		if (READ_ONCE(page->places[i].key) == share->key) {
			*ret = i;
			return true;
		}
	}
	for (unsigned i = 0; i < PLACES; i++) {
		uint64_t key = READ_ONCE(page->places[i].key);

		if (key && share->is_alive(share, key))
			continue;
		/* Seen by whoever changes anything from now on, before we look at what is in force. */
		if (__atomic_compare_exchange_n(&page->places[i].key, &key, share->key, false,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
			*ret = i;
			return true;
		}
	}
	return false;
}

static int begin_page(struct page *page)
{
	uint64_t nobody = 0;

	if (__atomic_compare_exchange_n(&page->magic, &nobody, PAGE_MAGIC, false, __ATOMIC_SEQ_CST,
					__ATOMIC_SEQ_CST))
		WRITE_ONCE(page->version, PAGE_VERSION);
	return READ_ONCE(page->magic) == PAGE_MAGIC && READ_ONCE(page->version) == PAGE_VERSION
		       ? 0
		       : -EBADMSG;
}

int nvme_reservation_open(struct nvme_namespace *ns, struct nvme_share *share)
{
	struct nvme_reservation *reservation;
	struct page *page = share->page;
	int ret = begin_page(page);

	if (ret < 0)
		return ret;
	reservation = calloc(1, sizeof(*reservation));
	if (!reservation)
		return -ENOMEM;
	if (!take_place(share, &reservation->place)) {
		free(reservation);
		return -ENOSPC;
	}
	reservation->share = share;
	reservation->change = &page->change;
	pthread_mutex_init(&reservation->lock, NULL);
	ns->reservation = reservation;
	introduce(ns);
	nvme_reservation_log_open(ns);
	return 0;
}

void nvme_reservation_leave(const struct nvme_namespace *ns)
{
	if (!ns->reservation)
		return;
	NVME_STORE(ns->ctrl->state->notices.seen[ns->nsid - 1], 0);
	__atomic_store_n(&place_of(ns->reservation)->key, 0, __ATOMIC_SEQ_CST);
}

bool nvme_reservation_is_offered(struct nvme_controller *ctrl)
{
	for (uint32_t nsid = 1; nsid <= NVME_MAX_NAMESPACES; nsid++) {
		const struct nvme_namespace *ns = nvme_namespace_find(ctrl, nsid);

		if (ns && ns->reservation)
			return true;
	}
	return false;
}

void nvme_reservation_close(struct nvme_namespace *ns)
{
	struct nvme_reservation *reservation = ns->reservation;

	if (!reservation)
		return;
	pthread_mutex_destroy(&reservation->lock);
	free(reservation);
	ns->reservation = NULL;
}

bool nvme_controller_reservation_unseen(struct nvme_controller *ctrl, uint32_t nsid,
					uint32_t *ret_change)
{
	const struct nvme_namespace *ns = nvme_namespace_find(ctrl, nsid);

	if (!ns || !ns->reservation)
		return false;
	*ret_change = LOAD_ACQUIRE(*ns->reservation->change);
	return READ_ONCE(place_of(ns->reservation)->seen) != *ret_change;
}

void nvme_controller_reservation_seen(struct nvme_controller *ctrl, uint32_t nsid, uint32_t change)
{
	const struct nvme_namespace *ns = nvme_namespace_find(ctrl, nsid);

	if (ns && ns->reservation)
		STORE_RELEASE(place_of(ns->reservation)->seen, change);
}

static bool all_have_seen(const struct nvme_reservation *reservation, uint32_t change)
{
	const struct page *page = page_of(reservation);

	for (unsigned i = 0; i < PLACES; i++) {
		uint64_t key = __atomic_load_n(&page->places[i].key, __ATOMIC_SEQ_CST);

		if (!key || i == reservation->place ||
		    (int32_t)(LOAD_ACQUIRE(page->places[i].seen) - change) >= 0)
			continue;
		if (reservation->share->is_alive(reservation->share, key))
			return false;
	}
	return true;
}

/*
 * The commands
 */
static bool own(struct nvme_reservation *reservation, struct nvme_request *request)
{
	struct nvme_request *nobody = NULL;

	return __atomic_compare_exchange_n(&reservation->owner, &nobody, request, false,
					   __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) ||
	       nobody == request;
}

static void disown(struct nvme_reservation *reservation, const struct nvme_request *request)
{
	if (READ_ONCE(reservation->owner) == request)
		STORE_RELEASE(reservation->owner, NULL);
}

/* The next one of this controller may overwrite what tells that we were executed: so that goes into the
 * journal first. */
static void succeed(struct nvme_request *request)
{
	request->status = NVME_SUCCESS;
	request->result = 0;
	if (request->sq->live)
		nvme_request_executed(request);
	disown(request->ns->reservation, request);
	nvme_request_complete(request, NVME_SUCCESS);
}

static void fail(struct nvme_request *request, nvme_result result)
{
	disown(request->ns->reservation, request);
	nvme_request_finish(request, result);
}

static void wait_for_others(struct nvme_request *request)
{
	nvme_request_wait(request, &request->worker->reserving);
}

static void go_on(struct nvme_request *request)
{
	if (all_have_seen(request->ns->reservation, request->mark) ||
	    nvme_namespace_share(request)->leaving)
		succeed(request);
	else
		wait_for_others(request);
}

static nvme_status change(const struct nvme_request *request, struct nvme_reservation_state *state,
			  const uint64_t keys[2])
{
	uint32_t cdw10 = request->command.cdw10;
	struct nvme_reservation_host host = host_of(request->worker->ctrl);
	unsigned action = NVME_RESERVATION_ACTION(cdw10), type = NVME_RESERVATION_TYPE(cdw10);

	if (!has_id(&host))
		return NVME_HOST_ID_INCONSISTENT | NVME_DNR;
	switch (request->command.opcode) {
	case NVME_IO_RESERVATION_REGISTER:
		return nvme_reservation_register(state, &host, action,
						 cdw10 & NVME_RESERVATION_IEKEY, keys[0], keys[1]);
	case NVME_IO_RESERVATION_ACQUIRE:
		return nvme_reservation_acquire(state, &host, action, type, keys[0], keys[1]);
	default:
		return nvme_reservation_release(state, &host, action, type, keys[0]);
	}
}

/* The controllers of whom it concerns. */
static void tell_others(const struct nvme_request *request, struct copy *copy,
			const struct nvme_reservation_state *before)
{
	const struct nvme_command *command = &request->command;
	const struct page *page = page_of(request->ns->reservation);
	struct nvme_reservation_host by = host_of(request->worker->ctrl);
	bool cleared = command->opcode == NVME_IO_RESERVATION_RELEASE &&
		       NVME_RESERVATION_ACTION(command->cdw10) == NVME_CLEAR_ALL;

	for (unsigned i = 0; i < PLACES; i++) {
		const struct place *place = &page->places[i];
		struct nvme_reservation_host host = { .id_bytes = READ_ONCE(place->id_bytes) };
		unsigned type;

		memcpy(host.id, place->host_id, sizeof(host.id));
		type = nvme_reservation_notice(before, &copy->state, &by, &host, cleared);
		if (type)
			copy->notices[i] = nvme_reservation_log_append(copy->notices[i], type);
	}
}

/* The change is made by the last of these stores. */
static void publish(struct nvme_request *request, struct copy *copy, uint32_t number)
{
	struct nvme_reservation *reservation = request->ns->reservation;
	struct page *page = page_of(reservation);

	nvme_journal_set(&request->sq->journal, request->slot,
			 NVME_JOURNAL_WORD(NVME_JOURNAL_STARTED, 0, number));
	copy->last[reservation->place] = number;
	memcpy(&page->copies[number & 1], copy, sizeof(*copy));
	nvme_crash_point();
	__atomic_store_n(&page->change, number, __ATOMIC_SEQ_CST);
	nvme_crash_point();
}

/* With the lock. Return: 0, then request->mark says as of which change it is done; or what it ends with. */
static nvme_result make_change(struct nvme_request *request, const uint64_t keys[2])
{
	struct nvme_reservation *reservation = request->ns->reservation;
	uint64_t word = nvme_journal_word(&request->sq->journal, request->slot);
	struct nvme_reservation_state before;
	nvme_status status;
	struct copy copy;
	uint32_t number;

	if (!load(reservation, &copy, &number))
		return NVME_INTERNAL_ERROR | NVME_DNR;
	request->mark = EXECUTED | number;
	if (nvme_request_was_judged(request) &&
	    copy.last[reservation->place] == nvme_journal_result(word))
		return 0; /* a predecessor has done it */
	before = copy.state;
	status = change(request, &copy.state, keys);
	if (status)
		return status;
	if (memcmp(&before, &copy.state, sizeof(before)) == 0)
		return 0;
	tell_others(request, &copy, &before);
	publish(request, &copy, number + 1);
	request->mark = EXECUTED | (number + 1);
	return 0;
}

static size_t data_bytes(const struct nvme_request *request)
{
	return request->command.opcode == NVME_IO_RESERVATION_RELEASE ? 8 : 16;
}

static void execute(struct nvme_request *request)
{
	struct nvme_reservation *reservation = request->ns->reservation;
	uint64_t keys[2] = { 0 };
	nvme_result result = nvme_data_pointer_fetch(request, keys, data_bytes(request));

	if (result) {
		fail(request, result);
		return;
	}
	if (!own(reservation, request) || !reservation->share->lock(reservation->share)) {
		wait_for_others(request);
		return;
	}
	result = make_change(request, keys);
	reservation->share->unlock(reservation->share);
	/* A predecessor may have died before it told anybody. */
	if (!result)
		reservation->share->changed(reservation->share);
	if (result)
		fail(request, result);
	else if (request->command.opcode == NVME_IO_RESERVATION_ACQUIRE)
		go_on(request);
	else
		succeed(request); /* it takes nothing from anybody else */
}

bool nvme_reservation_poll(struct nvme_worker *worker)
{
	struct nvme_request_list waiting = worker->reserving;
	struct nvme_request *request, *last = NULL;
	bool any = false;

	nvme_request_list_init(&worker->reserving);
	while ((request = nvme_request_list_take(&waiting))) {
		if (request->mark)
			go_on(request);
		else
			nvme_request_execute_now(request);
		/* It is in the list again, as the last, or it is over. */
		last = worker->reserving.first
			       ? container_of(worker->reserving.end, struct nvme_request, next)
			       : NULL;
		any |= last != request;
	}
	return any;
}

void nvme_reservation_drop(struct nvme_worker *worker)
{
	struct nvme_request *request;

	while ((request = nvme_request_list_take(&worker->reserving))) {
		disown(request->ns->reservation, request);
		nvme_request_drop(request);
	}
}

/*
 * Report
 */
#define MAX_REPORTED (NVME_RESERVATION_HOSTS + PLACES)

struct entry {
	const struct nvme_reservation_host *host;
	uint16_t cntlid;
	bool holds;
};

static bool is_there(const struct nvme_reservation *reservation, unsigned place)
{
	uint64_t key = READ_ONCE(page_of(reservation)->places[place].key);

	return place == reservation->place ||
	       (key && reservation->share->is_alive(reservation->share, key));
}

/* Each controller of each host that is registered; a host without one is there all the same. */
static unsigned list(const struct nvme_reservation *reservation,
		     const struct nvme_reservation_state *state, struct entry *entries)
{
	const struct page *page = page_of(reservation);
	unsigned count = 0;

	for (unsigned n = 0; n < state->hosts; n++) {
		struct entry entry = { .host = &state->host[n],
				       .cntlid = NVME_CNTLID_NONE,
				       .holds = nvme_reservation_holds(state, n) };
		unsigned before = count;

		for (unsigned i = 0; i < PLACES && count < MAX_REPORTED; i++) {
			const struct place *place = &page->places[i];

			if (READ_ONCE(place->id_bytes) != entry.host->id_bytes ||
			    memcmp(place->host_id, entry.host->id, sizeof(place->host_id)) ||
			    !is_there(reservation, i))
				continue;
			entries[count] = entry;
			entries[count++].cntlid = READ_ONCE(place->cntlid);
		}
		if (count == before && count < MAX_REPORTED)
			entries[count++] = entry;
	}
	return count;
}

static void fill(uint8_t *at, const struct entry *entries, unsigned count, bool extended)
{
	for (unsigned i = 0; i < count; i++) {
		const struct nvme_reservation_host *host = entries[i].host;
		uint8_t status = entries[i].holds ? NVME_RESERVATION_HOLDS : 0;
		struct nvme_reservation_reported one = { entries[i].cntlid, status,
							 .key = host->key };
		struct nvme_reservation_reported_extended more = { entries[i].cntlid, status,
								   .key = host->key };

		memcpy(&one.host_id, host->id, sizeof(one.host_id));
		memcpy(more.host_id, host->id, sizeof(more.host_id));
		if (extended)
			memcpy(at + i * sizeof(more), &more, sizeof(more));
		else
			memcpy(at + i * sizeof(one), &one, sizeof(one));
	}
}

static nvme_result reply(struct nvme_request *request, const struct nvme_reservation_state *state)
{
	struct nvme_reservation_report report = { state->generation, state->type };
	bool extended = request->command.cdw11 & NVME_RESERVATION_EXTENDED;
	uint8_t page[64 + MAX_REPORTED * sizeof(struct nvme_reservation_reported_extended)] = { 0 };
	size_t bytes = ((uint64_t)request->command.cdw10 + 1) * 4;
	struct entry entries[MAX_REPORTED];
	uint16_t count;

	/* Ids of 128 bits do not fit into the short form, those of 64 do not belong into the long one. */
	if (state->hosts && (state->host[0].id_bytes == 16) != extended)
		return NVME_HOST_ID_INCONSISTENT | NVME_DNR;
	count = list(request->ns->reservation, state, entries);
	memcpy(report.controllers, &count, sizeof(count));
	memcpy(page, &report, sizeof(report));
	fill(page + (extended ? 64 : sizeof(report)), entries, count, extended);
	return nvme_data_pointer_reply(request, page, MIN(bytes, sizeof(page)));
}

static void tell(struct nvme_request *request)
{
	nvme_result result = NVME_INTERNAL_ERROR | NVME_DNR;
	struct copy copy;
	uint32_t change;

	if (load(request->ns->reservation, &copy, &change))
		result = reply(request, &copy.state);
	nvme_request_finish(request, result);
}

nvme_status nvme_reservation_parse(struct nvme_request *request)
{
	uint32_t cdw10 = request->command.cdw10;
	nvme_status status;

	if (!nvme_reservation_is_offered(request->worker->ctrl))
		return NVME_INVALID_OPCODE | NVME_DNR;
	status = nvme_io_hold_namespace(request);
	if (status)
		return status;
	if (!request->ns->reservation)
		return NVME_INVALID_OPCODE | NVME_DNR;
	request->mark = 0;
	switch (request->command.opcode) {
	case NVME_IO_RESERVATION_REPORT:
		request->execute = tell;
		return 0;
	case NVME_IO_RESERVATION_REGISTER:
		/* They end with the power; saying so is no change. */
		if (NVME_RESERVATION_CPTPL(cdw10) & ~NVME_CPTPL_CLEAR)
			return nvme_invalid_field(request, cdw10);
		break;
	default:
		if (cdw10 & NVME_RESERVATION_IEKEY)
			return nvme_invalid_field(request, cdw10);
	}
	request->execute = execute;
	return 0;
}
