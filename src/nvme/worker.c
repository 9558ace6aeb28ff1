// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/worker.h"

#include "nvme/admin.h"
#include "nvme/async-event.h"
#include "nvme/controller-private.h"
#include "nvme/doorbell.h"
#include "nvme/format.h"
#include "nvme/fused.h"
#include "nvme/hold.h"
#include "nvme/interrupt.h"
#include "nvme/io.h"
#include "nvme/keep-alive.h"
#include "nvme/recovery.h"
#include "nvme/reservation-log.h"
#include "nvme/reservation.h"
#include "nvme/smart.h"
#include "nvme/write-log.h"

/* A queue's worth: deeper than this only helps a backend that is far away. */
#define IO_REQUESTS    NVME_MAX_IO_ENTRIES
#define ADMIN_REQUESTS 32

/* How soon to look again whether other controllers know of a reservation. */
#define RESERVING_NS 2000000

/* Calls of the control thread's. */
static void stop(struct nvme_host_call *call);
static void freeze(struct nvme_host_call *call);
static void thaw(struct nvme_host_call *call);

/* Make the queues live that a predecessor's state has. */
static void adopt(struct nvme_worker *worker)
{
	struct nvme_controller *ctrl = worker->ctrl;

	if (ctrl->phase != NVME_RUNNING)
		return;
	for (unsigned id = 0; id < NVME_MAX_QUEUES; id++) {
		if (!ctrl->state->cqs[id].entries ||
		    nvme_controller_worker_of(ctrl, id) != worker->index)
			continue;
		nvme_cq_start(&ctrl->cqs[id], worker);
		ctrl->cqs[id].unsettled = NVME_RECOVERY_TO_LOOK;
	}
	for (unsigned id = 0; id < NVME_MAX_QUEUES; id++) {
		const struct nvme_state_sq *sq = &ctrl->state->sqs[id];

		if (sq->entries && nvme_controller_worker_of(ctrl, sq->cqid) == worker->index)
			nvme_sq_start(&ctrl->sqs[id], &ctrl->cqs[sq->cqid]);
	}
}

struct nvme_worker *nvme_worker_new(struct nvme_controller *ctrl, unsigned index,
				    struct block_ring *ring)
{
	struct nvme_worker *worker = calloc(1, sizeof(*worker));

	if (!worker)
		return NULL;
	worker->ctrl = ctrl;
	worker->index = index;
	worker->ring = ring;
	worker->hand = &ctrl->state->hands[index];
	if (ctrl->host->write_logs)
		worker->write_log = &ctrl->host->write_logs[index];
	worker->stop_call.run = stop;
	worker->freeze_call.run = freeze;
	worker->thaw_call.run = thaw;
	worker->frozen_call.run = nvme_controller_worker_frozen;
	worker->stopped_call.run = nvme_controller_stopped;
	worker->intx_call.run = nvme_interrupt_intx_call;
	worker->retry_call.run = nvme_hold_retry;
	nvme_request_list_init(&worker->bounce_waiters);
	nvme_request_list_init(&worker->delivery_waiters);
	nvme_request_list_init(&worker->held);
	nvme_request_list_init(&worker->reserving);
	nvme_request_list_init(&worker->gated);
	nvme_request_list_init(&worker->throttled);
	worker->throttle_round = 1;
	worker->throttle_due = UINT64_MAX;
	nvme_request_list_init(&worker->parked);
	nvme_request_list_init(&worker->recording);
	nvme_request_list_init(&worker->unacknowledged);
	if (nvme_request_pool_init(&worker->pool, IO_REQUESTS) < 0)
		goto no_pool;
	if (nvme_request_pool_init(&worker->admin_pool, index ? 0 : ADMIN_REQUESTS) < 0)
		goto no_admin_pool;
	if (nvme_bounce_pool_init(&worker->bounces) < 0)
		goto no_bounces;
	ctrl->workers[index] = worker;
	adopt(worker);
	return worker;

no_bounces:
	nvme_request_pool_destroy(&worker->admin_pool);
no_admin_pool:
	nvme_request_pool_destroy(&worker->pool);
no_pool:
	free(worker);
	return NULL;
}

void nvme_worker_free(struct nvme_worker *worker)
{
	if (!worker)
		return;
	worker->ctrl->workers[worker->index] = NULL;
	nvme_bounce_pool_destroy(&worker->bounces);
	nvme_request_pool_destroy(&worker->admin_pool);
	nvme_request_pool_destroy(&worker->pool);
	free(worker);
}

void nvme_worker_add_cq(struct nvme_worker *worker, struct nvme_cq *cq)
{
	worker->cqs[worker->cq_count++] = cq;
}

void nvme_worker_remove_cq(struct nvme_worker *worker, struct nvme_cq *cq)
{
	for (unsigned i = 0; i < worker->cq_count; i++)
		if (worker->cqs[i] == cq)
			worker->cqs[i] = worker->cqs[--worker->cq_count];
}

void nvme_worker_add_sq(struct nvme_worker *worker, struct nvme_sq *sq)
{
	worker->sqs[worker->sq_count++] = sq;
}

void nvme_worker_remove_sq(struct nvme_worker *worker, struct nvme_sq *sq)
{
	for (unsigned i = 0; i < worker->sq_count; i++)
		if (worker->sqs[i] == sq)
			worker->sqs[i] = worker->sqs[--worker->sq_count];
}

/* Each command tries again; one that still cannot goes to the end of the list. */
static void retry_bounces(struct nvme_worker *worker)
{
	struct nvme_request_list waiters = worker->bounce_waiters;
	struct nvme_request *request;

	nvme_request_list_init(&worker->bounce_waiters);
	while ((request = nvme_request_list_take(&waiters))) {
		/* A freeze may have given the image back meanwhile, or a pair have it for itself. */
		if (nvme_fused_admits(request))
			nvme_request_execute_now(request);
		else
			nvme_request_list_append(&worker->gated, request);
	}
}

static bool can_deliver(const struct nvme_worker *worker)
{
	return worker->delivery_waiters.first && READ_ONCE(worker->ctrl->bus_master) &&
	       nvme_host_write_room(worker->ctrl->host);
}

/* One that finds no room for all of its data goes to the end, and is then the last for now. */
static bool retry_deliveries(struct nvme_worker *worker)
{
	bool any = false;

	while (can_deliver(worker)) {
		struct nvme_request *request = nvme_request_list_take(&worker->delivery_waiters);

		nvme_request_take_in_hand(request);
		nvme_io_deliver(request);
		nvme_worker_put_down(worker);
		any = true;
	}
	return any;
}

static bool can_retry_bounces(const struct nvme_worker *worker)
{
	return worker->bounce_waiters.first && worker->bounces.free;
}

/* In order; another namespace's wait on. */
bool nvme_worker_retry_gated(struct nvme_worker *worker)
{
	struct nvme_request_list gated = worker->gated;
	struct nvme_request *request;
	bool any = false;

	if (!gated.first)
		return false;
	nvme_request_list_init(&worker->gated);
	while ((request = nvme_request_list_take(&gated))) {
		if (nvme_fused_admits(request)) {
			if (nvme_throttle_admit(request))
				nvme_request_execute_now(request);
			any = true;
		} else {
			nvme_request_list_append(&worker->gated, request);
		}
	}
	return any;
}

static bool has_ready(const struct nvme_worker *worker)
{
	const struct nvme_request *request;

	for (request = worker->gated.first; request; request = request->next)
		if (nvme_fused_admits(request))
			return true;
	return false;
}

static bool poll_queues(struct nvme_worker *worker)
{
	bool any;

	nvme_doorbell_sample(worker);
	any = nvme_worker_retry_gated(worker);
	any |= nvme_throttle_poll(worker);
	any |= retry_deliveries(worker);
	if (worker->reserving.first)
		any |= nvme_reservation_poll(worker);
	if (worker->recording.first)
		any |= nvme_format_poll(worker);
	if (can_retry_bounces(worker)) {
		retry_bounces(worker);
		any = true;
	}
	for (unsigned i = 0; i < worker->cq_count; i++) {
		any |= nvme_recovery_settle(worker->cqs[i]);
		any |= nvme_cq_flush(worker->cqs[i]);
	}
	if (!worker->index) {
		any |= nvme_reservation_log_poll(worker->ctrl);
		any |= nvme_async_event_flush(worker->ctrl);
	}
	for (unsigned i = 0, count = worker->sq_count; i < count; i++)
		any |= nvme_sq_fetch(worker->sqs[(worker->next_sq + i) % count]) > 0;
	worker->next_sq++;
	if (!worker->index)
		any |= nvme_keep_alive_poll(worker->ctrl);
	return any;
}

bool nvme_worker_poll(struct nvme_worker *worker)
{
	bool any = nvme_request_acknowledge(worker);

	if (nvme_controller_rests(worker->ctrl))
		return any;
	any |= poll_queues(worker);
	for (unsigned i = 0; i < worker->cq_count; i++)
		any |= nvme_interrupt_flush(worker->cqs[i]);
	nvme_write_log_poll(worker->write_log);
	return any;
}

static bool has_work(struct nvme_worker *worker)
{
	if (nvme_request_has_acknowledged(worker))
		return true;
	if (nvme_controller_rests(worker->ctrl))
		return false;
	if (can_retry_bounces(worker) || can_deliver(worker) || has_ready(worker) ||
	    nvme_format_has_work(worker) || !nvme_throttle_wait(worker))
		return true;
	if (!worker->index && (nvme_reservation_log_has_work(worker->ctrl) ||
			       nvme_async_event_has_work(worker->ctrl)))
		return true;
	for (unsigned i = 0; i < worker->cq_count; i++) {
		struct nvme_cq *cq = worker->cqs[i];

		if (nvme_interrupt_is_due(cq) || (cq->waiting.first && nvme_cq_can_post(cq)) ||
		    nvme_recovery_can_settle(cq))
			return true;
	}
	for (unsigned i = 0; i < worker->sq_count; i++)
		if (nvme_sq_has_work(worker->sqs[i]))
			return true;
	return false;
}

static void kick(void *opaque, unsigned unused)
{
	struct nvme_worker *worker = opaque;

	nvme_host_kick(worker->ctrl->host, worker->index);
}

bool nvme_worker_arm(struct nvme_worker *worker)
{
	nvme_smart_idle(worker);
	for (unsigned i = 0; i < worker->cq_count; i++)
		WRITE_ONCE(worker->cqs[i]->starved, worker->cqs[i]->waiting.first != NULL);
	nvme_doorbell_arm(worker);
	/* Nobody else tells us that the client has acknowledged what we wait for. */
	if (nvme_host_writes_pending(worker->ctrl->host, worker->index))
		nvme_host_after_writes(worker->ctrl->host, worker->index, kick, worker, 0);
	return !has_work(worker);
}

static int64_t sooner(int64_t one, int64_t other)
{
	if (one < 0 || other < 0)
		return MAX(one, other);
	return MIN(one, other);
}

/* At rest nothing is due: who ends it kicks. */
int64_t nvme_worker_wait(const struct nvme_worker *worker)
{
	int64_t shortest = nvme_throttle_wait(worker);

	if (nvme_controller_rests(worker->ctrl))
		return -1;
	if (worker->reserving.first)
		shortest = sooner(shortest, RESERVING_NS);
	if (!worker->index)
		shortest = sooner(shortest, nvme_keep_alive_wait(worker->ctrl));
	for (unsigned i = 0; i < worker->cq_count; i++)
		shortest = sooner(shortest, nvme_interrupt_wait(worker->cqs[i]));
	return shortest;
}

void nvme_worker_disarm(struct nvme_worker *worker)
{
	nvme_doorbell_disarm(worker);
}

bool nvme_worker_watches(const struct nvme_worker *worker)
{
	return worker->ctrl->config.doorbell_page ||
	       LOAD_ACQUIRE(worker->ctrl->state->shadow.doorbells);
}

bool nvme_worker_looks(const struct nvme_worker *worker)
{
	return worker->ctrl->config.doorbell_page && worker->sq_count &&
	       !nvme_controller_rests(worker->ctrl);
}

unsigned nvme_worker_in_flight(const struct nvme_worker *worker)
{
	return worker->in_flight;
}

static void report_when_drained(struct nvme_worker *worker)
{
	if (!worker->stopping || worker->in_flight)
		return;
	worker->stopping = false;
	nvme_host_call(worker->ctrl->host, NVME_HOST_CONTROL, &worker->stopped_call);
}

void nvme_worker_end(struct nvme_worker *worker)
{
	worker->in_flight--;
	report_when_drained(worker);
}

static void report_when_frozen(struct nvme_worker *worker)
{
	if (!worker->freezing || worker->executing)
		return;
	worker->freezing = false;
	nvme_host_call(worker->ctrl->host, NVME_HOST_CONTROL, &worker->frozen_call);
}

void nvme_worker_rest(struct nvme_worker *worker)
{
	worker->executing--;
	report_when_frozen(worker);
}

/* Report when nothing is executing. */
static void freeze(struct nvme_host_call *call)
{
	struct nvme_worker *worker = container_of(call, struct nvme_worker, freeze_call);

	/* A guest that travels leaves a mapped page behind. */
	nvme_doorbell_sample(worker);
	worker->freezing = true;
	report_when_frozen(worker);
}

/* What was raised while we were frozen, or just before a migration, may have been lost. */
static void thaw(struct nvme_host_call *call)
{
	struct nvme_worker *worker = container_of(call, struct nvme_worker, thaw_call);

	if (!worker->index)
		nvme_keep_alive_begin(worker->ctrl);
	for (unsigned i = 0; i < worker->cq_count; i++)
		nvme_interrupt_now(worker->cqs[i]);
}

static void drop_all(struct nvme_request_list *list)
{
	struct nvme_request *request;

	while ((request = nvme_request_list_take(list)))
		nvme_request_drop(request);
}

/* Drop all queues, and report when nothing is in flight. */
static void stop(struct nvme_host_call *call)
{
	struct nvme_worker *worker = container_of(call, struct nvme_worker, stop_call);

	worker->dropped_epoch = worker->ctrl->epoch;
	for (unsigned i = 0; i < worker->sq_count; i++) {
		struct nvme_sq *sq = worker->sqs[i];

		sq->live = false;
		if (sq->deletion)
			nvme_admin_sq_idle(sq);
	}
	worker->sq_count = 0;
	while (worker->cq_count)
		nvme_cq_stop(worker->cqs[0]);
	drop_all(&worker->bounce_waiters);
	drop_all(&worker->delivery_waiters);
	nvme_hold_drop(worker);
	nvme_reservation_drop(worker);
	drop_all(&worker->gated);
	drop_all(&worker->throttled);
	drop_all(&worker->parked);
	drop_all(&worker->recording);
	drop_all(&worker->unacknowledged);
	/* Only from here on: the drops above must not report before the last of them. */
	worker->stopping = true;
	report_when_drained(worker);
}
