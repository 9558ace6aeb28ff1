// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/reservation-state.h"

#define CONFLICT      (NVME_RESERVATION_CONFLICT | NVME_DNR)
#define INVALID_FIELD (NVME_INVALID_FIELD | NVME_DNR)

static bool is_of_all(unsigned type)
{
	return type == NVME_RESERVATION_WRITE_ALL || type == NVME_RESERVATION_ACCESS_ALL;
}

static bool type_is_valid(unsigned type)
{
	return type && type <= NVME_RESERVATION_ACCESS_ALL;
}

bool nvme_reservation_is_sane(const struct nvme_reservation_state *state)
{
	if (state->hosts > NVME_RESERVATION_HOSTS || state->holder > state->hosts ||
	    state->persists > 1)
		return false;
	if (!state->type)
		return !state->holder;
	return type_is_valid(state->type) && state->hosts &&
	       is_of_all(state->type) == !state->holder;
}

static bool is_same(const struct nvme_reservation_host *a, const struct nvme_reservation_host *b)
{
	return a->id_bytes == b->id_bytes && memcmp(a->id, b->id, sizeof(a->id)) == 0;
}

/* The index of a host that is registered, or -1. */
static int nvme_reservation_find(const struct nvme_reservation_state *state,
				 const struct nvme_reservation_host *host)
{
	for (unsigned i = 0; i < state->hosts; i++)
		if (is_same(&state->host[i], host))
			return i;
	return -1;
}

bool nvme_reservation_holds(const struct nvme_reservation_state *state, int index)
{
	if (!state->type || index < 0)
		return false;
	return is_of_all(state->type) || state->holder == index + 1u;
}

unsigned nvme_reservation_conflicts(const struct nvme_reservation_state *state,
				    const struct nvme_reservation_host *host)
{
	int index = nvme_reservation_find(state, host);

	if (!state->type || nvme_reservation_holds(state, index))
		return 0;
	switch (state->type) {
	case NVME_RESERVATION_WRITE:
		return NVME_RESERVATION_NO_WRITES;
	case NVME_RESERVATION_ACCESS:
		return NVME_RESERVATION_NO_READS | NVME_RESERVATION_NO_WRITES;
	case NVME_RESERVATION_WRITE_REGISTERED:
	case NVME_RESERVATION_WRITE_ALL:
		return index < 0 ? NVME_RESERVATION_NO_WRITES : 0;
	default:
		return index < 0 ? NVME_RESERVATION_NO_READS | NVME_RESERVATION_NO_WRITES : 0;
	}
}

unsigned nvme_reservation_notice(const struct nvme_reservation_state *before,
				 const struct nvme_reservation_state *after,
				 const struct nvme_reservation_host *by,
				 const struct nvme_reservation_host *host, bool cleared)
{
	if (is_same(host, by) || nvme_reservation_find(before, host) < 0)
		return 0;
	if (nvme_reservation_find(after, host) < 0)
		return cleared ? NVME_NOTICE_RESERVATION_PREEMPTED
			       : NVME_NOTICE_REGISTRATION_PREEMPTED;
	if (!before->type || before->type == after->type)
		return 0;
	/* With the exclusive types whoever is registered had no more than a stranger. */
	if (!after->type && before->type <= NVME_RESERVATION_ACCESS)
		return 0;
	return NVME_NOTICE_RESERVATION_RELEASED;
}

static void end_reservation(struct nvme_reservation_state *state)
{
	state->type = 0;
	state->holder = 0;
}

static void reserve(struct nvme_reservation_state *state, unsigned type, unsigned index)
{
	state->type = type;
	state->holder = is_of_all(type) ? 0 : index + 1;
}

/* What the holder reserves is free with it. */
static void unregister(struct nvme_reservation_state *state, unsigned index)
{
	unsigned last = state->hosts - 1;

	if (state->holder == index + 1)
		end_reservation(state);
	else if (state->holder == last + 1)
		state->holder = index + 1;
	state->host[index] = state->host[last];
	state->host[last] = (struct nvme_reservation_host){ 0 };
	state->hosts = last;
	if (!state->hosts)
		end_reservation(state);
}

static nvme_status add(struct nvme_reservation_state *state,
		       const struct nvme_reservation_host *host, uint64_t key)
{
	if (state->hosts == NVME_RESERVATION_HOSTS)
		return NVME_INTERNAL_ERROR | NVME_DNR;
	/* Ids of both lengths cannot be told of in one report. */
	if (state->hosts && state->host[0].id_bytes != host->id_bytes)
		return NVME_HOST_ID_INCONSISTENT | NVME_DNR;
	state->host[state->hosts] = *host;
	state->host[state->hosts++].key = key;
	state->generation++;
	return 0;
}

nvme_status nvme_reservation_register(struct nvme_reservation_state *state,
				      const struct nvme_reservation_host *host, unsigned action,
				      bool any_key, uint64_t key, uint64_t new_key)
{
	int index = nvme_reservation_find(state, host);

	switch (action) {
	case NVME_REGISTER:
		if (index < 0)
			return add(state, host, new_key);
		if (state->host[index].key != new_key)
			return CONFLICT;
		state->generation++;
		return 0;
	case NVME_UNREGISTER:
		if (index < 0 || (!any_key && state->host[index].key != key))
			return CONFLICT;
		unregister(state, index);
		state->generation++;
		return 0;
	case NVME_REPLACE_KEY:
		if (index < 0)
			return any_key ? add(state, host, new_key) : CONFLICT;
		if (!any_key && state->host[index].key != key)
			return CONFLICT;
		state->host[index].key = new_key;
		state->generation++;
		return 0;
	default:
		return INVALID_FIELD;
	}
}

/* All but @keep, or with @key those alone that have it. Return: how many. */
static unsigned unregister_others(struct nvme_reservation_state *state,
				  const struct nvme_reservation_host *keep, const uint64_t *key)
{
	unsigned count = 0;

	for (unsigned i = state->hosts; i-- > 0;) {
		if ((keep && is_same(&state->host[i], keep)) || (key && state->host[i].key != *key))
			continue;
		unregister(state, i);
		count++;
	}
	return count;
}

/* The reservation goes from whoever has it to @host, who stays registered. */
static void take_over(struct nvme_reservation_state *state,
		      const struct nvme_reservation_host *host, unsigned type, const uint64_t *key)
{
	unregister_others(state, host, key);
	reserve(state, type, nvme_reservation_find(state, host));
	state->generation++;
}

static nvme_status preempt(struct nvme_reservation_state *state,
			   const struct nvme_reservation_host *host, unsigned type, uint64_t key)
{
	if (state->type && is_of_all(state->type)) {
		if (!key) {
			take_over(state, host, type, NULL);
			return 0;
		}
	} else if (state->type) {
		if (state->host[state->holder - 1].key == key) {
			take_over(state, host, type, &key);
			return 0;
		}
		if (!key)
			return INVALID_FIELD;
	}
	if (!unregister_others(state, NULL, &key))
		return CONFLICT;
	state->generation++;
	return 0;
}

nvme_status nvme_reservation_acquire(struct nvme_reservation_state *state,
				     const struct nvme_reservation_host *host, unsigned action,
				     unsigned type, uint64_t key, uint64_t preempt_key)
{
	int index = nvme_reservation_find(state, host);

	if (action > NVME_PREEMPT_AND_ABORT || !type_is_valid(type))
		return INVALID_FIELD;
	if (index < 0 || state->host[index].key != key)
		return CONFLICT;
	if (action != NVME_ACQUIRE)
		return preempt(state, host, type, preempt_key);
	if (!state->type) {
		reserve(state, type, index);
		return 0;
	}
	return state->type == type && nvme_reservation_holds(state, index) ? 0 : CONFLICT;
}

nvme_status nvme_reservation_release(struct nvme_reservation_state *state,
				     const struct nvme_reservation_host *host, unsigned action,
				     unsigned type, uint64_t key)
{
	int index = nvme_reservation_find(state, host);

	if (action > NVME_CLEAR_ALL)
		return INVALID_FIELD;
	if (index < 0 || state->host[index].key != key)
		return CONFLICT;
	if (action == NVME_CLEAR_ALL) {
		unregister_others(state, NULL, NULL);
		state->generation++;
		return 0;
	}
	if (!nvme_reservation_holds(state, index))
		return 0;
	if (state->type != type)
		return INVALID_FIELD;
	end_reservation(state);
	return 0;
}
