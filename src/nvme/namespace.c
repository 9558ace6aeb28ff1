// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/namespace.h"

#include <errno.h>
#include <stdio.h>
#include <uuid.h>

#include "base/i18n.h"
#include "nvme/ana.h"
#include "nvme/async-event.h"
#include "nvme/controller-private.h"
#include "nvme/format.h"
#include "nvme/fused.h"
#include "nvme/hold.h"
#include "nvme/reservation.h"

struct nvme_namespace *nvme_namespace_find(const struct nvme_controller *ctrl, uint32_t nsid)
{
	/* 0 wraps around to what is too large. */
	return nsid - 1 < NVME_MAX_NAMESPACES ? LOAD_ACQUIRE(ctrl->namespaces[nsid - 1]) : NULL;
}

static void report_when_idle(struct nvme_namespace_share *share)
{
	if (!share->leaving || share->in_flight)
		return;
	share->leaving = false;
	nvme_host_call(share->ns->ctrl->host, NVME_HOST_CONTROL, &share->call);
}

void nvme_namespace_put(struct nvme_namespace *ns, unsigned worker)
{
	ns->shares[worker].in_flight--;
	report_when_idle(&ns->shares[worker]);
}

static void changed(struct nvme_controller *ctrl, uint32_t nsid)
{
	__atomic_fetch_or(&ctrl->state->events.changed_namespaces, 1ULL << (nsid - 1),
			  __ATOMIC_RELEASE);
	nvme_async_event_raise(ctrl, NVME_EVENT_NAMESPACE);
}

/* An id that was not given is derived: the same for the same disk, different in each clone. */
static void derive(const struct nvme_controller *ctrl, const char *what, uint32_t nsid,
		   const uint8_t *given, uint8_t *ret)
{
	char name[40];
	int len;

	if (!uuid_is_null(given)) {
		memcpy(ret, given, sizeof(uuid_t));
		return;
	}
	len = snprintf(name, sizeof(name), "%s/%u", what, nsid);
	uuid_generate_sha1(ret, nvme_config_subsystem(&ctrl->config), name, len);
}

static int choose_block_size(const struct nvme_namespace_config *config,
			     const struct block_info *info, uint32_t *ret, struct error **errp)
{
	uint32_t size = config->block_size;

	if (!size)
		size = info->block_size > 512 ? 4096 : 512;
	if (size != 512 && size != 4096)
		return error_set(errp, EINVAL,
				 _("namespace %u: the logical block size is 512 or 4096, not %u"),
				 config->nsid, size);
	if (size < info->block_size)
		return error_set(errp, EINVAL,
				 _("namespace %u: the image needs a logical block size of %u"),
				 config->nsid, info->block_size);
	if (info->capacity < size)
		return error_set(errp, EINVAL, _("namespace %u: the image is empty"), config->nsid);
	*ret = size;
	return 0;
}

static struct nvme_namespace *namespace_new(struct nvme_controller *ctrl,
					    const struct nvme_namespace_config *config,
					    struct block *block, uint32_t block_size)
{
	const struct block_info *info = block_get_info(block);
	unsigned workers = ctrl->host->workers;
	size_t size = sizeof(struct nvme_namespace) + workers * sizeof(struct nvme_namespace_share);
	struct nvme_namespace *ns = aligned_alloc(64, ROUND_UP(size, 64));

	if (!ns)
		return NULL;
	memset(ns, 0, size);
	ns->ctrl = ctrl;
	ns->block = block;
	ns->blocks = info->capacity / block_size;
	ns->nsid = config->nsid;
	/* Of lengths as well: what the block layer would have to copy, it copies without a bound. */
	ns->memory_alignment = info->memory_alignment;
	if (ns->memory_alignment > 1)
		ns->memory_alignment = MAX(ns->memory_alignment, info->block_size);
	ns->block_shift = block_size == 4096 ? 12 : 9;
	ns->formattable = !config->shareable && info->block_size <= 512 && info->capacity >= 4096;
	ns->read_only = config->read_only || info->read_only;
	ns->shareable = config->shareable;
	ns->shared = config->shareable && nvme_ana_is_used(ctrl);
	ns->volatile_cache = info->volatile_cache;
	ns->error_policy = config->error_policy;
	nvme_throttle_set(&ns->throttle, &config->limits);
	derive(ctrl, "nguid", config->nsid, config->nguid, ns->nguid);
	derive(ctrl, "uuid", config->nsid, config->uuid, ns->uuid);
	memcpy(ns->eui64, config->eui64, sizeof(ns->eui64));
	nvme_format_init(ns, config->next_block_size);
	for (unsigned i = 0; i < workers; i++) {
		ns->shares[i].ns = ns;
		ns->shares[i].error_call.run = nvme_hold_report;
		ns->shares[i].close_call.run = nvme_fused_close;
		ns->shares[i].counters = &ctrl->state->counters[i][config->nsid - 1];
	}
	return ns;
}

void nvme_namespace_free(struct nvme_namespace *ns)
{
	if (!ns)
		return;
	nvme_reservation_close(ns);
	free(ns);
}

/* What a guest could notice; the same after a restart of this process is no change. */
static void record(struct nvme_namespace *ns)
{
	struct nvme_state_namespace *known = &ns->ctrl->state->namespaces[ns->nsid - 1];
	struct nvme_state_namespace now = {
		.blocks = ns->blocks,
		.block_size = 1u << ns->block_shift,
		.flags = ns->read_only ? NVME_STATE_NAMESPACE_READ_ONLY : 0,
	};

	memcpy(now.uuid, ns->uuid, sizeof(now.uuid));
	if (memcmp(known, &now, sizeof(now)) == 0)
		return;
	/* In this order: what was not told to the end is found to differ by a successor. */
	changed(ns->ctrl, ns->nsid);
	nvme_crash_point();
	*known = now;
	nvme_crash_point();
}

static uint64_t bit(uint32_t nsid)
{
	return 1ULL << (nsid - 1);
}

/* One thing less that the predecessor had. */
static void arrived(struct nvme_controller *ctrl, uint32_t nsid)
{
	__atomic_store_n(&ctrl->awaited, ctrl->awaited & ~bit(nsid), __ATOMIC_SEQ_CST);
	nvme_controller_wake(ctrl);
}

int nvme_controller_attach(struct nvme_controller *ctrl, const struct nvme_namespace_config *config,
			   struct block *block, struct error **errp)
{
	uint32_t nsid = config->nsid, block_size = 0;
	struct nvme_namespace *ns;
	int err;

	if (!nsid || nsid > NVME_MAX_NAMESPACES)
		return error_set(errp, EINVAL, _("a namespace id is 1 to %u, not %u"),
				 NVME_MAX_NAMESPACES, nsid);
	if (ctrl->namespaces[nsid - 1])
		return error_set(errp, EEXIST, _("namespace %u is attached already"), nsid);
	if (ctrl->namespaces_leaving & bit(nsid))
		return error_set(errp, EBUSY, _("namespace %u is still being detached"), nsid);
	err = choose_block_size(config, block_get_info(block), &block_size, errp);
	if (err < 0)
		return err;
	ns = namespace_new(ctrl, config, block, block_size);
	if (!ns)
		return error_set_errno(errp, ENOMEM, _("namespace %u"), nsid);
	if (config->share) {
		err = nvme_reservation_open(ns, config->share);
		if (err < 0) {
			nvme_namespace_free(ns);
			return error_set_errno(errp, -err, _("namespace %u: its reservations"),
					       nsid);
		}
		ns->share = config->share;
	}
	ns->ready = !config->not_ready;
	if (ctrl->half_done & bit(nsid))
		nvme_fused_close_new(ns);
	ctrl->half_done &= ~bit(nsid);
	nvme_format_adopt(ns, ctrl->awaited & bit(nsid));
	STORE_RELEASE(ctrl->namespaces[nsid - 1], ns);
	record(ns);
	if (ns->ready)
		ctrl->haunted &= ~bit(nsid);
	arrived(ctrl, nsid);
	return 0;
}

void nvme_controller_set_ready(struct nvme_controller *ctrl, uint32_t nsid, bool ready)
{
	struct nvme_namespace *ns = nvme_namespace_find(ctrl, nsid);

	if (!ns || ns->ready == ready)
		return;
	__atomic_store_n(&ns->ready, ready, __ATOMIC_SEQ_CST);
	if (!ready)
		return;
	ctrl->haunted &= ~bit(nsid);
	nvme_controller_wake(ctrl);
}

bool nvme_controller_is_haunted(const struct nvme_controller *ctrl)
{
	return ctrl->haunted;
}

void nvme_namespace_adopt(struct nvme_controller *ctrl)
{
	for (uint32_t nsid = 1; nsid <= NVME_MAX_NAMESPACES; nsid++)
		if (ctrl->state->namespaces[nsid - 1].blocks)
			ctrl->awaited |= bit(nsid);
	ctrl->haunted = ctrl->awaited;
}

/* All but that it was taken. */
static void forget(struct nvme_controller *ctrl, uint32_t nsid)
{
	struct nvme_state_namespace *known = &ctrl->state->namespaces[nsid - 1];

	known->block_size = 0;
	memset(known->uuid, 0, sizeof(known->uuid));
	NVME_STORE(known->flags, known->flags & NVME_STATE_NAMESPACE_TAKEN);
	NVME_STORE(known->blocks, 0);
}

/* What is not attached again is gone. */
static void forget_awaited(struct nvme_controller *ctrl, uint32_t nsid)
{
	forget(ctrl, nsid);
	changed(ctrl, nsid);
	ctrl->haunted &= ~bit(nsid);
	ctrl->half_done &= ~bit(nsid);
	arrived(ctrl, nsid);
}

void nvme_controller_await_no_more(struct nvme_controller *ctrl)
{
	for (uint32_t nsid = 1; nsid <= NVME_MAX_NAMESPACES; nsid++)
		if (ctrl->awaited & bit(nsid))
			forget_awaited(ctrl, nsid);
}

static void add(struct nvme_state_counters *sum, const struct nvme_state_counters *counters)
{
	sum->read_commands += READ_ONCE(counters->read_commands);
	sum->read_bytes += READ_ONCE(counters->read_bytes);
	sum->write_commands += READ_ONCE(counters->write_commands);
	sum->write_bytes += READ_ONCE(counters->write_bytes);
	sum->flush_commands += READ_ONCE(counters->flush_commands);
	sum->errors += READ_ONCE(counters->errors);
}

static void gone(struct nvme_namespace *ns)
{
	struct nvme_controller *ctrl = ns->ctrl;

	for (unsigned i = 0; i < NVME_MAX_WORKERS; i++) {
		struct nvme_state_counters *counters = &ctrl->state->counters[i][ns->nsid - 1];

		add(&ctrl->state->retired, counters);
		memset(counters, 0, sizeof(*counters));
	}
	nvme_reservation_leave(ns);
	/* Until now a successor had to know that requests may be under way. */
	forget(ctrl, ns->nsid);
	ctrl->namespaces_leaving &= ~bit(ns->nsid);
	if (ns->done)
		ns->done(ns->opaque);
	nvme_namespace_free(ns);
}

static void left(struct nvme_host_call *call)
{
	struct nvme_namespace *ns = container_of(call, struct nvme_namespace_share, call)->ns;

	if (--ns->workers_left == 0)
		gone(ns);
}

static void leave(struct nvme_host_call *call)
{
	struct nvme_namespace_share *share = container_of(call, struct nvme_namespace_share, call);
	struct nvme_namespace *ns = share->ns;
	unsigned worker = share - ns->shares;

	/* With the last request that ends here the control thread may free the namespace. */
	share->in_flight++;
	share->call.run = left;
	share->leaving = true;
	nvme_hold_give_up(ns->ctrl->workers[worker], ns);
	nvme_format_give_up(ns->ctrl->workers[worker], ns);
	nvme_throttle_hurry(ns->ctrl->workers[worker]);
	nvme_namespace_put(ns, worker);
}

int nvme_controller_detach(struct nvme_controller *ctrl, uint32_t nsid, void (*done)(void *opaque),
			   void *opaque)
{
	struct nvme_namespace *ns = nvme_namespace_find(ctrl, nsid);

	if (!ns && nsid && nsid <= NVME_MAX_NAMESPACES && ctrl->awaited & bit(nsid)) {
		forget_awaited(ctrl, nsid);
		done(opaque);
		return 0;
	}
	if (!ns)
		return -ENOENT;
	if (ns->shared)
		nvme_ana_take(ctrl, nsid);
	STORE_RELEASE(ctrl->namespaces[nsid - 1], NULL);
	ctrl->namespaces_leaving |= bit(nsid);
	changed(ctrl, nsid);
	ns->done = done;
	ns->opaque = opaque;
	ns->workers_left = ctrl->host->workers;
	for (unsigned i = 0, workers = ctrl->host->workers; i < workers; i++) {
		ns->shares[i].call.run = leave;
		nvme_host_call(ctrl->host, i, &ns->shares[i].call);
	}
	return 0;
}

int nvme_controller_resized(struct nvme_controller *ctrl, uint32_t nsid)
{
	struct nvme_namespace *ns = nvme_namespace_find(ctrl, nsid);
	uint64_t blocks;

	if (!ns)
		return -ENOENT;
	blocks = block_get_info(ns->block)->capacity >> ns->block_shift;
	if (!blocks)
		return -EINVAL; /* that is none; what is read or written is refused below */
	WRITE_ONCE(ns->blocks, blocks);
	record(ns);
	return 0;
}

int nvme_controller_set_block_size(struct nvme_controller *ctrl, uint32_t nsid, uint32_t block_size)
{
	struct nvme_namespace *ns = nvme_namespace_find(ctrl, nsid);

	if (!ns)
		return -ENOENT;
	if (block_size && block_size != 512 && block_size != 4096)
		return -EINVAL;
	if (block_size)
		nvme_format_recorded(ns, block_size == 4096 ? 12 : 9);
	else
		nvme_format_recorded(ns, ns->block_shift);
	record(ns);
	nvme_controller_wake(ctrl);
	return 0;
}

int nvme_controller_set_limits(struct nvme_controller *ctrl, uint32_t nsid,
			       const struct nvme_limits *limits)
{
	struct nvme_namespace *ns = nvme_namespace_find(ctrl, nsid);

	if (!ns)
		return -ENOENT;
	nvme_throttle_set(&ns->throttle, limits);
	for (unsigned i = 0; i < ctrl->host->workers; i++) {
		memset(ns->shares[i].taken, 0, sizeof(ns->shares[i].taken));
		memset(ns->shares[i].contends_until, 0, sizeof(ns->shares[i].contends_until));
		nvme_throttle_hurry(ctrl->workers[i]);
	}
	nvme_controller_wake(ctrl);
	return 0;
}

int nvme_controller_counters(const struct nvme_controller *ctrl, uint32_t nsid,
			     struct nvme_namespace_counters *ret)
{
	struct nvme_state_counters sum = { 0 };

	if (nsid - 1 >= NVME_MAX_NAMESPACES || !LOAD_ACQUIRE(ctrl->namespaces[nsid - 1]))
		return -ENOENT;
	for (unsigned i = 0; i < NVME_MAX_WORKERS; i++)
		add(&sum, &ctrl->state->counters[i][nsid - 1]);
	*ret = (struct nvme_namespace_counters){
		.read_commands = sum.read_commands,
		.read_bytes = sum.read_bytes,
		.write_commands = sum.write_commands,
		.write_bytes = sum.write_bytes,
		.flush_commands = sum.flush_commands,
		.errors = sum.errors,
	};
	return 0;
}

void nvme_namespace_total(const struct nvme_controller *ctrl, struct nvme_state_counters *ret)
{
	*ret = ctrl->state->retired;
	/* A predecessor may have had more workers. */
	for (unsigned i = 0; i < NVME_MAX_WORKERS; i++)
		for (unsigned n = 0; n < NVME_MAX_NAMESPACES; n++)
			add(ret, &ctrl->state->counters[i][n]);
}
