// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/throttle.h"

#include "base/clock.h"
#include "nvme/controller-private.h"
#include "nvme/fused.h"

#define SECOND 1000000000ULL

/* What a bucket holds when nothing else is said. */
#define DEPTH_NS (SECOND / 10)

/* Looks at who waits are at least so far apart. */
#define QUANTUM_NS 500000ULL

/* Of two workers that contend one may have taken so much more; a round's worth of commands is not cut
 * into pieces. */
#define SLACK_NS (QUANTUM_NS / 2)

/* So late may a worker come to look: what a busy host makes of a timer. */
#define GRACE_NS (20 * 1000000ULL)

/* So much may one that begins to contend have to catch up. */
#define CREDIT_NS DEPTH_NS

/* Some years, of one command: keeps sums of times far from their end. */
#define LONGEST_NS (1ULL << 57)
/* And of all that were not asked for, see nvme_throttle_spend(). */
#define NEVER_NS (1ULL << 62)

void nvme_throttle_set(struct nvme_throttle *throttle, const struct nvme_limits *limits)
{
	*throttle = (struct nvme_throttle){ .limits = *limits };
	for (unsigned i = 0; i < NVME_LIMITS; i++)
		throttle->on |= limits->limit[i].rate != 0;
	throttle->total = limits->limit[NVME_LIMIT_TOTAL_BYTES].rate ||
			  limits->limit[NVME_LIMIT_TOTAL_COMMANDS].rate;
}

static uint64_t time_for(uint64_t amount, uint64_t rate)
{
	unsigned __int128 time = (unsigned __int128)amount * SECOND / rate;

	return time < LONGEST_NS ? time : LONGEST_NS;
}

/* How long until it is not full. */
static uint64_t full_for(const uint64_t *empty_at, uint64_t depth, uint64_t now)
{
	uint64_t empty = READ_ONCE(*empty_at);

	return empty > now + depth ? empty - now - depth : 0;
}

static void pour(uint64_t *empty_at, uint64_t time, uint64_t now)
{
	uint64_t before = READ_ONCE(*empty_at);

	uint64_t after;

	do
		after = MIN(MAX(before, now) + time, NEVER_NS);
	while (!__atomic_compare_exchange_n(empty_at, &before, after, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED));
}

static bool applies(enum nvme_limit limit, bool write)
{
	switch (limit) {
	case NVME_LIMIT_READ_BYTES:
	case NVME_LIMIT_READ_COMMANDS:
		return !write;
	case NVME_LIMIT_WRITE_BYTES:
	case NVME_LIMIT_WRITE_COMMANDS:
		return write;
	case NVME_LIMIT_TOTAL_BYTES:
	case NVME_LIMIT_TOTAL_COMMANDS:
	case NVME_LIMITS:
		break;
	}
	return true;
}

static bool is_of_bytes(enum nvme_limit limit)
{
	return limit == NVME_LIMIT_TOTAL_BYTES || limit == NVME_LIMIT_READ_BYTES ||
	       limit == NVME_LIMIT_WRITE_BYTES;
}

static void spend(struct nvme_throttle *throttle, bool write, uint64_t bytes, unsigned commands,
		  uint64_t now)
{
	for (unsigned i = 0; i < NVME_LIMITS; i++) {
		struct nvme_bucket *bucket = &throttle->buckets[i];
		uint64_t rate = throttle->limits.limit[i].rate, max = throttle->limits.limit[i].max;
		uint64_t amount = is_of_bytes(i) ? bytes : commands;

		if (!rate || !applies(i, write))
			continue;
		pour(&bucket->empty_at, time_for(amount, rate), now);
		if (max)
			pour(&bucket->burst_empty_at, time_for(amount, max), now);
	}
}

uint64_t nvme_throttle_take(struct nvme_throttle *throttle, bool write, uint64_t bytes,
			    uint64_t now)
{
	uint64_t wait = 0;

	for (unsigned i = 0; i < NVME_LIMITS; i++) {
		const struct nvme_bucket *bucket = &throttle->buckets[i];
		uint64_t rate = throttle->limits.limit[i].rate, max = throttle->limits.limit[i].max;

		if (!rate || !applies(i, write))
			continue;
		wait = MAX(wait,
			   full_for(&bucket->empty_at, max ? time_for(max, rate) : DEPTH_NS, now));
		if (max)
			wait = MAX(wait, full_for(&bucket->burst_empty_at, DEPTH_NS, now));
	}
	if (!wait)
		spend(throttle, write, bytes, 1, now);
	return wait;
}

void nvme_throttle_spend(struct nvme_throttle *throttle, bool write, uint64_t bytes)
{
	if (throttle->on)
		spend(throttle, write, bytes, 0, clock_ns(CLOCK_MONOTONIC));
}

/* What a command moves between us and the storage, or would if the storage could not do it alone. */
static uint64_t bytes_of(const struct nvme_request *request)
{
	switch (request->command.opcode) {
	case NVME_IO_READ:
	case NVME_IO_WRITE:
	case NVME_IO_COMPARE:
	case NVME_IO_VERIFY:
	case NVME_IO_WRITE_ZEROES:
		return (uint64_t)((request->command.cdw12 & 0xffff) + 1)
		       << request->ns->block_shift;
	default:
		return 0;
	}
}

static bool is_write(const struct nvme_request *request)
{
	switch (request->command.opcode) {
	case NVME_IO_READ:
	case NVME_IO_COMPARE:
	case NVME_IO_VERIFY:
		return false;
	default:
		return true;
	}
}

/* Durability and administration are not rationed, and a namespace that goes away is not kept. What
 * has gone once, and then had to wait for a pair or for the image, has been counted. */
static bool is_free(const struct nvme_request *request)
{
	return !request->ns->throttle.on || !request->sq->id || request->rationed ||
	       request->command.opcode == NVME_IO_FLUSH || nvme_namespace_share(request)->leaving;
}

/* Of the limit that it takes the most of. */
static uint64_t time_of(const struct nvme_throttle *throttle, bool write, uint64_t bytes)
{
	uint64_t longest = 0;

	for (unsigned i = 0; i < NVME_LIMITS; i++) {
		uint64_t rate = throttle->limits.limit[i].rate;

		if (rate && applies(i, write))
			longest = MAX(longest, time_for(is_of_bytes(i) ? bytes : 1, rate));
	}
	return longest;
}

static unsigned class_of(const struct nvme_request *request)
{
	return request->ns->throttle.total ? 0 : is_write(request);
}

/* Is it the turn of another worker, who contends and has taken less? */
static bool is_anothers_turn(const struct nvme_request *request, uint64_t now)
{
	const struct nvme_namespace_share *own = nvme_namespace_share(request), *share;
	unsigned class = class_of(request);
	unsigned count = request->worker->ctrl->host->workers;

	for (share = request->ns->shares; share < request->ns->shares + count; share++)
		if (share != own && READ_ONCE(share->contends_from[class]) <= now &&
		    READ_ONCE(share->contends_until[class]) > now &&
		    READ_ONCE(share->taken[class]) + SLACK_NS < own->taken[class])
			return true;
	return false;
}

/* It may go when it has waited for so long, if it is its turn, and will look then or a little later. */
static void contend(struct nvme_request *request, uint64_t wait, uint64_t now)
{
	struct nvme_namespace_share *own = nvme_namespace_share(request), *share;
	unsigned class = class_of(request);
	unsigned count = request->worker->ctrl->host->workers;
	uint64_t most = 0;

	if (own->contends_until[class] <= now) {
		for (share = request->ns->shares; share < request->ns->shares + count; share++)
			most = MAX(most, READ_ONCE(share->taken[class]));
		if (most > CREDIT_NS && own->taken[class] < most - CREDIT_NS)
			WRITE_ONCE(own->taken[class], most - CREDIT_NS);
	}
	WRITE_ONCE(own->contends_from[class], now + wait);
	WRITE_ONCE(own->contends_until[class], now + MAX(wait, QUANTUM_NS) + GRACE_NS);
}

/* Return: it goes. */
static bool try(struct nvme_request *request, uint64_t now)
{
	struct nvme_worker *worker = request->worker;
	struct nvme_namespace_share *share = nvme_namespace_share(request);
	uint64_t *blocked = &share->blocked[is_write(request)];
	bool write = is_write(request);
	uint64_t bytes = bytes_of(request), wait = 0;
	bool goes;

	if (is_free(request))
		return true;
	if (*blocked == worker->throttle_round)
		return false;
	goes = !is_anothers_turn(request, now);
	if (goes)
		wait = nvme_throttle_take(&request->ns->throttle, write, bytes, now);
	if (goes && !wait) {
		uint64_t *taken = &share->taken[class_of(request)];

		WRITE_ONCE(*taken, *taken + time_of(&request->ns->throttle, write, bytes));
		request->rationed = true;
		return true;
	}
	*blocked = worker->throttle_round;
	contend(request, wait, now);
	worker->throttle_due = MIN(worker->throttle_due, now + MAX(wait, QUANTUM_NS));
	return false;
}

static void begin_round(struct nvme_worker *worker)
{
	worker->throttle_round++;
	worker->throttle_due = UINT64_MAX;
}

bool nvme_throttle_admit(struct nvme_request *request)
{
	struct nvme_worker *worker = request->worker;

	if (!request->ns->throttle.on)
		return true;
	if (try(request, clock_ns(CLOCK_MONOTONIC)))
		return true;
	if (request->sq->deletion)
		nvme_request_complete(request, NVME_ABORTED_SQ_DELETION);
	else
		nvme_request_wait(request, &worker->throttled);
	return false;
}

bool nvme_throttle_poll(struct nvme_worker *worker)
{
	struct nvme_request_list waiting = worker->throttled;
	struct nvme_request *request;
	bool any = false;
	uint64_t now;

	if (!waiting.first)
		return false;
	now = clock_ns(CLOCK_MONOTONIC);
	if (now < worker->throttle_due)
		return false;
	begin_round(worker);
	nvme_request_list_init(&worker->throttled);
	while ((request = nvme_request_list_take(&waiting))) {
		if (!nvme_fused_admits(request)) {
			nvme_request_list_append(&worker->gated, request);
		} else if (try(request, now)) {
			nvme_request_execute_now(request);
			any = true;
		} else if (request->sq->deletion) {
			nvme_request_complete(request, NVME_ABORTED_SQ_DELETION);
			any = true;
		} else {
			nvme_request_list_append(&worker->throttled, request);
		}
	}
	return any;
}

void nvme_throttle_hurry(struct nvme_worker *worker)
{
	worker->throttle_due = 0;
}

int64_t nvme_throttle_wait(const struct nvme_worker *worker)
{
	uint64_t now;

	if (!worker->throttled.first)
		return -1;
	now = clock_ns(CLOCK_MONOTONIC);
	return worker->throttle_due > now ? MIN(worker->throttle_due - now, LONGEST_NS) : 0;
}
