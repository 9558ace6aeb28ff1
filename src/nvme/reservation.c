// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/reservation.h"

#include <errno.h>

#include "base/log.h"
#include "nvme/controller-private.h"
#include "nvme/io.h"
#include "nvme/reservation-durable.h"
#include "nvme/reservation-log.h"

#define PAGE_MAGIC   0x76736572656d766eULL /* "nvmeresv" */
#define PAGE_VERSION 3
#define PLACES	     64

/* How often a copy may have changed under the one who reads it. */
#define TRIES 1000

/* How long somebody else may take to begin the page. */
#define BEGIN_TRIES   10000
#define BEGIN_WAIT_NS 1000000

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
	uint64_t kept;		  /* number of the durable slot in force; 0: none */
	uint32_t kept_slot;	  /* which it is */
	uint32_t padding;
};

struct page {
	uint64_t magic;
	uint32_t version;
	uint32_t change;
	struct place places[PLACES];
	struct copy copies[2];
	uint64_t tried; /* the number of the durable slot that was last written, or was to be */
};
_Static_assert(sizeof(struct page) <= NVME_SHARE_FORMAT_AT, "layout");
_Static_assert(sizeof(struct copy) == 2856, "a change of the layout is a new PAGE_VERSION");

struct nvme_reservation_staging {
	struct nvme_reservation_durable slot;
	struct copy copy; /* in force when the slot is durable */
};

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

bool nvme_reservation_persists(const struct nvme_namespace *ns, bool *ret)
{
	struct copy copy;
	uint32_t change;

	if (!load(ns->reservation, &copy, &change))
		return false;
	*ret = copy.state.persists;
	return true;
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

/* After a loss of power the page is new, and nobody is there. What does not persist is forgotten. */
static int remember(struct nvme_share *share)
{
	struct nvme_reservation_durable slots[2];
	struct page *page = share->page;
	struct copy *copy = &page->copies[0];
	int slot;

	memset(copy, 0, sizeof(*copy));
	if (!share->durable)
		return 0;
	slot = share->recall(share, slots);
	if (slot == 0)
		slot = nvme_reservation_durable_find(slots);
	if (slot == -ENOENT)
		return 0;
	if (slot < 0)
		return slot;
	copy->kept = page->tried = slots[slot].number;
	copy->kept_slot = slot;
	if (slots[slot].state.persists)
		copy->state = slots[slot].state;
	return 0;
}

/* With the lock. Its magic comes last: a page that has it is whole. */
static int make_page(struct nvme_share *share)
{
	struct page *page = share->page;
	int ret;

	if (page->magic)
		return 0;
	ret = remember(share);
	if (ret < 0)
		return ret;
	page->version = PAGE_VERSION;
	page->change = 0;
	nvme_crash_point();
	STORE_RELEASE(page->magic, PAGE_MAGIC);
	return 0;
}

static int begin_page(struct nvme_share *share)
{
	const struct timespec moment = { .tv_nsec = BEGIN_WAIT_NS };
	const struct page *page = share->page;
	int ret;

	for (unsigned i = 0; !LOAD_ACQUIRE(page->magic); i++) {
		if (i == BEGIN_TRIES)
			return -EBUSY;
		if (!share->lock(share)) {
			nanosleep(&moment, NULL);
			continue;
		}
		ret = make_page(share);
		share->unlock(share);
		if (ret < 0)
			return ret;
	}
	return READ_ONCE(page->magic) == PAGE_MAGIC && READ_ONCE(page->version) == PAGE_VERSION
		       ? 0
		       : -EBADMSG;
}

static void reservation_free(struct nvme_reservation *reservation)
{
	free(reservation->staging);
	free(reservation);
}

static struct nvme_reservation *reservation_new(struct nvme_share *share)
{
	struct nvme_reservation *reservation = calloc(1, sizeof(*reservation));

	if (!reservation)
		return NULL;
	reservation->share = share;
	reservation->change = &((struct page *)share->page)->change;
	if (!share->durable)
		return reservation;
	reservation->staging = calloc(1, sizeof(*reservation->staging));
	if (reservation->staging)
		return reservation;
	reservation_free(reservation);
	return NULL;
}

int nvme_reservation_open(struct nvme_namespace *ns, struct nvme_share *share)
{
	struct nvme_reservation *reservation;
	int ret = begin_page(share);

	if (ret < 0)
		return ret;
	reservation = reservation_new(share);
	if (!reservation)
		return -ENOMEM;
	if (!take_place(share, &reservation->place)) {
		reservation_free(reservation);
		return -ENOSPC;
	}
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
	reservation_free(reservation);
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
	    nvme_namespace_share(request)->leaving || !request->sq->live)
		succeed(request);
	else
		wait_for_others(request);
}

static nvme_status do_register(uint32_t cdw10, struct nvme_reservation_state *state,
			       const struct nvme_reservation_host *host, const uint64_t keys[2])
{
	nvme_status status =
		nvme_reservation_register(state, host, NVME_RESERVATION_ACTION(cdw10),
					  cdw10 & NVME_RESERVATION_IEKEY, keys[0], keys[1]);

	if (!status && NVME_RESERVATION_CPTPL(cdw10))
		state->persists = NVME_RESERVATION_CPTPL(cdw10) == NVME_CPTPL_PERSIST;
	return status;
}

static bool is_admin(const struct nvme_request *request)
{
	return !request->sq->id; /* then it is Set Features */
}

static nvme_status change(const struct nvme_request *request, struct nvme_reservation_state *state,
			  const uint64_t keys[2])
{
	uint32_t cdw10 = request->command.cdw10;
	struct nvme_reservation_host host = host_of(request->worker->ctrl);
	unsigned action = NVME_RESERVATION_ACTION(cdw10), type = NVME_RESERVATION_TYPE(cdw10);

	if (is_admin(request)) {
		state->persists = request->command.cdw11 & NVME_PERSISTENCE_PTPL;
		return 0;
	}
	if (!has_id(&host))
		return NVME_HOST_ID_INCONSISTENT | NVME_DNR;
	switch (request->command.opcode) {
	case NVME_IO_RESERVATION_REGISTER:
		return do_register(cdw10, state, &host, keys);
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

/*
 * The change is made by the last of these stores. Set Features may do the same once more, for each of its
 * namespaces: the journal need not tell. A reset has emptied the journal.
 */
static void publish(struct nvme_request *request, struct copy *copy)
{
	struct nvme_reservation *reservation = request->ns->reservation;
	struct page *page = page_of(reservation);
	uint32_t number = request->mark;

	if (!is_admin(request) && request->sq->live)
		nvme_journal_set(&request->sq->journal, request->slot,
				 NVME_JOURNAL_WORD(NVME_JOURNAL_STARTED, 0, number));
	copy->last[reservation->place] = number;
	memcpy(&page->copies[number & 1], copy, sizeof(*copy));
	nvme_crash_point();
	__atomic_store_n(&page->change, number, __ATOMIC_SEQ_CST);
	nvme_crash_point();
}

/* Set Features may be about all that can. */
static struct nvme_namespace *next_that_can_persist(struct nvme_controller *ctrl, uint32_t nsid)
{
	for (; nsid <= NVME_MAX_NAMESPACES; nsid++) {
		struct nvme_namespace *ns = nvme_namespace_find(ctrl, nsid);

		if (ns && ns->reservation && ns->share->durable)
			return ns;
	}
	return NULL;
}

static void go_on_with_next(struct nvme_request *request)
{
	struct nvme_worker *worker = request->worker;
	struct nvme_namespace *ns = NULL;

	if (request->command.nsid == NVME_NSID_ALL && request->sq->live)
		ns = next_that_can_persist(worker->ctrl, request->ns->nsid + 1);
	if (!ns) {
		succeed(request);
		return;
	}
	disown(request->ns->reservation, request);
	nvme_request_set_executing(request, false);
	nvme_namespace_put(request->ns, worker->index);
	nvme_namespace_get(ns, worker->index);
	request->ns = ns;
	request->mark = 0;
	nvme_request_wait(request, &worker->reserving);
}

static void give_up(struct nvme_request *request, nvme_result result)
{
	struct nvme_share *share = request->ns->share;

	share->unlock(share);
	fail(request, result);
}

/* The change is made, now or by a predecessor, who may have died before he told anybody. */
static void conclude(struct nvme_request *request)
{
	struct nvme_share *share = request->ns->share;

	share->unlock(share);
	share->changed(share);
	if (is_admin(request))
		go_on_with_next(request);
	else if (request->command.opcode == NVME_IO_RESERVATION_ACQUIRE)
		go_on(request);
	else
		succeed(request); /* it takes nothing from anybody else */
}

/*
 * What persists
 */
static void kept(struct block_request *block, int result)
{
	struct nvme_request *request = container_of(block, struct nvme_request, block);
	struct nvme_worker *worker = request->worker;

	nvme_request_take_in_hand(request);
	nvme_crash_point();
	if (result < 0) {
		log_guest(LOG_ERR, "namespace %u: its reservations cannot be kept: %s",
			  request->ns->nsid, strerror(-result));
		give_up(request, NVME_INTERNAL_ERROR | NVME_DNR);
	} else {
		publish(request, &request->ns->reservation->staging->copy);
		conclude(request);
	}
	nvme_worker_put_down(worker);
}

/* The slot that is not in force, which may have been tried before. */
static void keep(struct nvme_request *request, const struct copy *copy)
{
	struct nvme_reservation *reservation = request->ns->reservation;
	struct nvme_reservation_staging *staging = reservation->staging;
	struct page *page = page_of(reservation);
	uint64_t number = copy->kept + 1;

	staging->copy = *copy;
	staging->copy.kept = number;
	staging->copy.kept_slot = copy->kept ? !copy->kept_slot : 0;
	nvme_reservation_durable_fill(&staging->slot, &copy->state, number);
	WRITE_ONCE(page->tried, number);
	nvme_crash_point();
	request->iov[0] = (struct iovec){ &staging->slot, sizeof(staging->slot) };
	request->block = (struct block_request){
		.op = BLOCK_WRITE,
		.flags = BLOCK_FUA,
		.offset = staging->copy.kept_slot * sizeof(staging->slot),
		.bytes = sizeof(staging->slot),
		.iov = request->iov,
		.iovcnt = 1,
		.done = kept,
	};
	block_submit(reservation->share->durable, request->worker->ring, &request->block);
}

/* Does the file say something that is not so, or will not be? */
static bool has_to_be_kept(const struct nvme_reservation *reservation, const struct copy *copy,
			   const struct nvme_reservation_state *before)
{
	return before->persists || copy->state.persists ||
	       copy->kept != READ_ONCE(page_of(reservation)->tried);
}

/* With the lock. */
static void make_change(struct nvme_request *request, const uint64_t keys[2])
{
	struct nvme_reservation *reservation = request->ns->reservation;
	uint64_t word = nvme_journal_word(&request->sq->journal, request->slot);
	struct nvme_reservation_state before;
	nvme_status status;
	struct copy copy;
	uint32_t number;

	if (!load(reservation, &copy, &number)) {
		give_up(request, NVME_INTERNAL_ERROR | NVME_DNR);
		return;
	}
	request->mark = EXECUTED | number;
	if (!is_admin(request) && nvme_request_was_judged(request) &&
	    copy.last[reservation->place] == nvme_journal_result(word)) {
		conclude(request); /* a predecessor has done it */
		return;
	}
	before = copy.state;
	status = change(request, &copy.state, keys);
	if (status) {
		give_up(request, status);
		return;
	}
	if (memcmp(&before, &copy.state, sizeof(before)) == 0) {
		conclude(request);
		return;
	}
	tell_others(request, &copy, &before);
	request->mark = EXECUTED | (uint32_t)(number + 1);
	if (!has_to_be_kept(reservation, &copy, &before)) {
		publish(request, &copy);
		conclude(request);
	} else if (reservation->staging) {
		keep(request, &copy);
	} else {
		give_up(request, NVME_INTERNAL_ERROR | NVME_DNR); /* others of the image can */
	}
}

static size_t data_bytes(const struct nvme_request *request)
{
	return request->command.opcode == NVME_IO_RESERVATION_RELEASE ? 8 : 16;
}

static void execute(struct nvme_request *request)
{
	struct nvme_reservation *reservation = request->ns->reservation;
	uint64_t keys[2] = { 0 };
	nvme_result result = 0;

	if (!is_admin(request))
		result = nvme_data_pointer_fetch(request, keys, data_bytes(request));
	if (result) {
		fail(request, result);
		return;
	}
	if (!own(reservation, request) || !reservation->share->lock(reservation->share)) {
		wait_for_others(request);
		return;
	}
	make_change(request, keys);
}

nvme_status nvme_reservation_judge_persistence(struct nvme_request *request)
{
	struct nvme_controller *ctrl = request->worker->ctrl;
	uint32_t nsid = request->command.nsid;
	struct nvme_namespace *ns;

	if (!nvme_reservation_is_offered(ctrl))
		return nvme_invalid_field(request, cdw10);
	if (nsid == NVME_NSID_ALL) {
		ns = next_that_can_persist(ctrl, 1);
	} else {
		ns = nvme_namespace_find(ctrl, nsid);
		if (!ns && (!nsid || nsid > NVME_MAX_NAMESPACES))
			return NVME_INVALID_NAMESPACE | NVME_DNR;
		if (!ns || !ns->reservation)
			return nvme_invalid_field(request, nsid);
		if (!ns->share->durable)
			ns = NULL;
	}
	if (!ns)
		return request->command.cdw11 & NVME_PERSISTENCE_PTPL
			       ? nvme_invalid_field(request, cdw11)
			       : 0;
	nvme_namespace_get(ns, request->worker->index);
	request->ns = ns;
	request->mark = 0;
	request->execute = execute;
	return 0;
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
	struct nvme_reservation_report report = { .generation = state->generation,
						  .type = state->type,
						  .ptpls = state->persists };
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
		if (NVME_RESERVATION_CPTPL(cdw10) & ~NVME_CPTPL_CLEAR &&
		    !(NVME_RESERVATION_CPTPL(cdw10) == NVME_CPTPL_PERSIST &&
		      request->ns->share->durable))
			return nvme_invalid_field(request, cdw10);
		break;
	default:
		if (cdw10 & NVME_RESERVATION_IEKEY)
			return nvme_invalid_field(request, cdw10);
	}
	request->execute = execute;
	return 0;
}
