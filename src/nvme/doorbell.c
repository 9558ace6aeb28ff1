// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/doorbell.h"

#include "base/log.h"
#include "nvme/async-event.h"
#include "nvme/controller-private.h"
#include "nvme/interrupt.h"
#include "nvme/log-pages.h"
#include "nvme/worker.h"

static void kick(struct nvme_controller *ctrl, unsigned cqid)
{
	nvme_host_kick(ctrl->host, nvme_controller_worker_of(ctrl, cqid));
}

/* Is there such a queue, and is the value inside it? */
static bool judge(struct nvme_controller *ctrl, unsigned index, uint32_t value, uint32_t entries)
{
	if (value < entries)
		return true;
	log_guest(LOG_NOTICE, "guest wrote %u to the doorbell of %s queue %u, which has %u entries",
		  value, index & 1 ? "completion" : "submission", index / 2, entries);
	nvme_log_pages_add_doorbell(ctrl, entries);
	nvme_async_event_raise(ctrl,
			       entries ? NVME_EVENT_DOORBELL_VALUE : NVME_EVENT_DOORBELL_REGISTER);
	return false;
}

bool nvme_doorbell_has_config(const struct nvme_controller *ctrl)
{
	return ctrl->config.doorbells == NVME_DOORBELLS_AUTO;
}

static bool has_shadow(const struct nvme_controller *ctrl, unsigned id)
{
	return id && LOAD_ACQUIRE(ctrl->state->shadow.doorbells);
}

static void write_tail(struct nvme_controller *ctrl, unsigned id, uint32_t value)
{
	struct nvme_state_sq *sq = &ctrl->state->sqs[id];

	if (!judge(ctrl, id * 2, value, LOAD_ACQUIRE(sq->entries)))
		return;
	if (!has_shadow(ctrl, id))
		STORE_RELEASE(sq->tail, value);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	kick(ctrl, READ_ONCE(sq->cqid));
}

static void write_head(struct nvme_controller *ctrl, unsigned id, uint32_t value)
{
	struct nvme_state_cq *cq = &ctrl->state->cqs[id];

	if (!judge(ctrl, id * 2 + 1, value, LOAD_ACQUIRE(cq->entries)))
		return;
	if (!has_shadow(ctrl, id))
		STORE_RELEASE(cq->head, value);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	/* Mostly it is only told that there is room where there was enough. The admin queue has more
	 * that waits for room than completions. */
	if (!id || READ_ONCE(ctrl->cqs[id].starved) || (has_shadow(ctrl, id) && !ctrl->msix))
		kick(ctrl, id);
	if (!ctrl->msix)
		nvme_interrupt_update_intx(ctrl);
}

/* By a client that does not map the page, as another that does would leave it there. */
static void write_mapped(struct nvme_controller *ctrl, unsigned index, uint32_t value)
{
	STORE_RELEASE(ctrl->config.doorbell_page[index], value);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	kick(ctrl, index & 1 ? index / 2 : READ_ONCE(ctrl->state->sqs[index / 2].cqid));
}

void nvme_doorbell_write(struct nvme_controller *ctrl, unsigned index, uint32_t value)
{
	unsigned id = index / 2;

	if (ctrl->phase != NVME_RUNNING)
		return;
	if (id < NVME_MAX_QUEUES && ctrl->config.doorbell_page)
		write_mapped(ctrl, index, value);
	else if (id >= NVME_MAX_QUEUES)
		judge(ctrl, index, value, 0);
	else if (index & 1)
		write_head(ctrl, id, value);
	else
		write_tail(ctrl, id, value);
}

/*
 * Shadow doorbells
 */

static void forget(struct nvme_worker *worker)
{
	for (unsigned i = 0; i < worker->sq_count; i++)
		worker->sqs[i]->shadow = worker->sqs[i]->event = NVME_DOORBELL_UNKNOWN;
	for (unsigned i = 0; i < worker->cq_count; i++)
		worker->cqs[i]->shadow = worker->cqs[i]->event = NVME_DOORBELL_UNKNOWN;
}

/* The page at @base, which may be another one than the last time. */
static enum nvme_ring_access access_page(struct nvme_worker *worker, struct nvme_ring *page,
					 uint64_t base, unsigned direction)
{
	if (page->base != base || !page->host) {
		forget(worker);
		nvme_ring_init(page, worker->ctrl->host, base, NVME_PAGE_SIZE, direction);
	}
	return nvme_ring_access(page);
}

/* NULL: there are none, or their memory is away now, as a queue's may be. */
static const uint32_t *shadow_of(struct nvme_worker *worker)
{
	const struct nvme_controller *ctrl = worker->ctrl;
	uint64_t base = LOAD_ACQUIRE(ctrl->state->shadow.doorbells);

	if (!base || !READ_ONCE(ctrl->bus_master))
		return NULL;
	return access_page(worker, &worker->shadow, base, NVME_HOST_READ) == NVME_RING_DIRECT
		       ? worker->shadow.memory
		       : NULL;
}

/* Store @value as event index, unless it is what was stored last. */
static void set_event(struct nvme_worker *worker, unsigned index, uint32_t value, uint32_t *stored)
{
	struct nvme_host *host = worker->ctrl->host;
	struct nvme_ring *page = &worker->events;

	/* Without room: the kick when there is some makes us try again. */
	if (*stored == value || !nvme_host_write_room(host))
		return;
	*stored = value;
	nvme_host_write(host, worker->index, page->base + index * sizeof(value), &value,
			sizeof(value));
}

/* Awake: keep the event index out of the guest's way. Just behind its doorbell it passes it only after
 * a whole round, and twice a round it is put there again. */
static void put_behind(struct nvme_worker *worker, unsigned index, uint32_t value, uint32_t entries,
		       uint32_t *stored)
{
	if (access_page(worker, &worker->events, READ_ONCE(worker->ctrl->state->shadow.events),
			NVME_HOST_WRITE) == NVME_RING_DIRECT)
		set_event(worker, index, value ? value - 1 : entries - 1, stored);
}

static void keep_behind(struct nvme_worker *worker, unsigned index, uint32_t value,
			uint32_t entries, uint32_t *stored)
{
	uint32_t passed = value >= *stored ? value - *stored : value + entries - *stored;

	if (worker->ctrl->config.doorbell_page)
		return;
	if (*stored >= entries || passed >= entries / 2)
		put_behind(worker, index, value, entries, stored);
}

static void sample_tail(struct nvme_sq *sq, uint32_t value)
{
	uint32_t entries = sq->state->entries;

	if (value == sq->shadow)
		return;
	sq->shadow = value;
	if (!judge(sq->worker->ctrl, sq->id * 2, value, entries))
		return;
	STORE_RELEASE(sq->state->tail, value);
	keep_behind(sq->worker, sq->id * 2, value, entries, &sq->event);
}

static void sample_head(struct nvme_cq *cq, uint32_t value)
{
	uint32_t entries = cq->state->entries;

	if (value == cq->shadow)
		return;
	cq->shadow = value;
	if (!judge(cq->worker->ctrl, cq->id * 2 + 1, value, entries))
		return;
	STORE_RELEASE(cq->state->head, value);
	keep_behind(cq->worker, cq->id * 2 + 1, value, entries, &cq->event);
	if (!READ_ONCE(cq->worker->ctrl->msix))
		nvme_interrupt_level(cq->worker);
}

/*
 * The next command of an idle queue, together with the doorbell that will tell of it: when the guest has
 * stored both they come from its processor's cache at the same time, not one after the other.
 */
static void expect(const struct nvme_sq *sq)
{
	if (!sq->in_flight && sq->ring.access == NVME_RING_DIRECT)
		__builtin_prefetch((char *)sq->ring.memory + ((size_t)sq->head << NVME_SQE_SHIFT));
}

void nvme_doorbell_sample(struct nvme_worker *worker)
{
	const uint32_t *page = worker->ctrl->config.doorbell_page;
	const uint32_t *shadow = page ? page : shadow_of(worker);

	for (unsigned i = 0; shadow && i < worker->sq_count; i++) {
		struct nvme_sq *sq = worker->sqs[i];

		if (sq->id || page) {
			expect(sq);
			sample_tail(sq, LOAD_ACQUIRE(shadow[sq->id * 2]));
		}
	}
	for (unsigned i = 0; shadow && i < worker->cq_count; i++) {
		struct nvme_cq *cq = worker->cqs[i];

		if (cq->id || page)
			sample_head(cq, LOAD_ACQUIRE(shadow[cq->id * 2 + 1]));
	}
}

static void set_events(struct nvme_worker *worker)
{
	const struct nvme_controller *ctrl = worker->ctrl;
	bool level = !READ_ONCE(ctrl->msix);

	/* Its memory is away: the kick when it comes back makes us try again. */
	if (access_page(worker, &worker->events, READ_ONCE(ctrl->state->shadow.events),
			NVME_HOST_WRITE) == NVME_RING_UNMAPPED)
		return;
	nvme_doorbell_sample(worker);
	for (unsigned i = 0; i < worker->sq_count; i++) {
		struct nvme_sq *sq = worker->sqs[i];

		if (sq->id)
			set_event(worker, sq->id * 2, sq->shadow, &sq->event);
	}
	for (unsigned i = 0; i < worker->cq_count; i++) {
		struct nvme_cq *cq = worker->cqs[i];

		if (cq->id && (cq->starved || level))
			set_event(worker, cq->id * 2 + 1, cq->shadow, &cq->event);
	}
}

void nvme_doorbell_arm(struct nvme_worker *worker)
{
	bool rests = nvme_controller_rests(worker->ctrl);

	if (!rests && shadow_of(worker))
		set_events(worker);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!rests)
		nvme_doorbell_sample(worker);
}

/*
 * A queue whose commands are with the disk is armed while we sleep, and it is their completion that
 * wakes us: the guest will answer it with its next command.
 */
void nvme_doorbell_disarm(struct nvme_worker *worker)
{
	if (nvme_controller_rests(worker->ctrl) || !shadow_of(worker))
		return;
	for (unsigned i = 0; i < worker->sq_count; i++) {
		struct nvme_sq *sq = worker->sqs[i];

		if (sq->id && sq->in_flight && sq->event == sq->shadow &&
		    sq->shadow < sq->state->entries)
			put_behind(worker, sq->id * 2, sq->shadow, sq->state->entries, &sq->event);
	}
}

/*
 * Make an entry of a page say @value, which nearly always it does. By message it would be there only
 * after the workers have begun to look at it, so not by message: the driver may try again.
 */
static nvme_status set_entry(struct nvme_controller *ctrl, uint64_t page, unsigned index,
			     uint32_t value)
{
	uint64_t iova = page + index * sizeof(value);
	const uint32_t *entry = nvme_host_resolve(ctrl->host, iova, sizeof(value), NVME_HOST_READ);

	if (entry && READ_ONCE(*entry) == value)
		return 0;
	if (!nvme_host_resolve(ctrl->host, iova, sizeof(value), NVME_HOST_WRITE) ||
	    nvme_host_writes_pending(ctrl->host, 0))
		return NVME_INTERNAL_ERROR;
	nvme_host_write(ctrl->host, 0, iova, &value, sizeof(value));
	return 0;
}

nvme_status nvme_doorbell_clear(struct nvme_controller *ctrl, unsigned index)
{
	uint64_t doorbells = ctrl->state->shadow.doorbells;

	if (ctrl->config.doorbell_page)
		STORE_RELEASE(ctrl->config.doorbell_page[index], 0);
	return doorbells ? set_entry(ctrl, doorbells, index, 0) : 0;
}

void nvme_doorbell_start(struct nvme_controller *ctrl)
{
	for (unsigned index = 0; ctrl->config.doorbell_page && index < 2 * NVME_MAX_QUEUES; index++)
		STORE_RELEASE(ctrl->config.doorbell_page[index], 0);
}

void nvme_doorbell_adopt(struct nvme_controller *ctrl)
{
	uint32_t *page = ctrl->config.doorbell_page;

	for (unsigned id = 0; ctrl->config.doorbell_page_is_new && id < NVME_MAX_QUEUES; id++) {
		STORE_RELEASE(page[id * 2], ctrl->state->sqs[id].tail);
		STORE_RELEASE(page[id * 2 + 1], ctrl->state->cqs[id].head);
	}
}

static nvme_status judge_config(struct nvme_request *request)
{
	uint64_t doorbells = request->command.prp1, events = request->command.prp2;
	struct nvme_host *host = request->worker->ctrl->host;

	/* It is looked at in every poll, so it must be memory that can be. */
	if (!doorbells || doorbells % NVME_PAGE_SIZE ||
	    !nvme_host_contains(host, doorbells, NVME_PAGE_SIZE, NVME_HOST_WRITE) ||
	    !nvme_host_resolve(host, doorbells, NVME_PAGE_SIZE, NVME_HOST_READ))
		return nvme_invalid_field(request, prp1);
	if (!events || events % NVME_PAGE_SIZE || events == doorbells ||
	    !nvme_host_contains(host, events, NVME_PAGE_SIZE, NVME_HOST_WRITE))
		return nvme_invalid_field(request, prp2);
	return 0;
}

/* Queues that are there already go on where their registers are, and their next doorbell wakes. */
static nvme_status take_over_queues(struct nvme_request *request)
{
	struct nvme_controller *ctrl = request->worker->ctrl;
	nvme_status status = 0;

	for (unsigned index = 2; index < 2 * NVME_MAX_QUEUES && !status; index++) {
		const struct nvme_state_sq *sq = &ctrl->state->sqs[index / 2];
		const struct nvme_state_cq *cq = &ctrl->state->cqs[index / 2];
		uint32_t value = index & 1 ? LOAD_ACQUIRE(cq->head) : LOAD_ACQUIRE(sq->tail);

		if (!(index & 1 ? cq->entries : sq->entries))
			continue;
		status = set_entry(ctrl, request->command.prp1, index, value);
		if (!status)
			status = set_entry(ctrl, request->command.prp2, index, value);
	}
	return status;
}

void nvme_doorbell_config(struct nvme_request *request)
{
	struct nvme_state_shadow *shadow = &request->worker->ctrl->state->shadow;
	nvme_status status = NVME_INVALID_OPCODE | NVME_DNR;

	if (nvme_doorbell_has_config(request->worker->ctrl))
		status = judge_config(request);
	if (!status)
		status = take_over_queues(request);
	if (!status) {
		WRITE_ONCE(shadow->events, request->command.prp2);
		STORE_RELEASE(shadow->doorbells, request->command.prp1);
	}
	nvme_request_complete(request, status);
}
