// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/namespaces.h"

#include <errno.h>

#include "base/i18n.h"
#include "base/json.h"
#include "controller/generation-lock.h"
#include "controller/reservation-share.h"

/* The largest logical block: one is left. */
#define LIMIT_MIN 4096

struct namespace
{
	struct namespaces *all;
	struct namespace *next;
	struct block *block;
	uint32_t nsid;
	void (*done)(void *opaque); /* leaving: tell this */
	void *opaque;

	struct generation_lock lock;
	struct reservation_share *share; /* NULL: no reservations */
};

static void free_namespace(struct namespace *ns)
{
	block_close(ns->block);
	reservation_share_close(ns->share);
	generation_lock_destroy(&ns->lock);
	free(ns);
}

static void set_ready(void *opaque)
{
	struct namespace *ns = opaque;

	nvme_controller_set_ready(ns->all->ctrl, ns->nsid, true);
}

static void take_lock(struct namespace *ns)
{
	if (generation_lock_take(&ns->lock))
		set_ready(ns);
}

static void release_lock(struct namespace *ns)
{
	if (ns->lock.fd >= 0)
		nvme_controller_set_ready(ns->all->ctrl, ns->nsid, false);
	generation_lock_release(&ns->lock);
}

void namespaces_take_locks(struct namespaces *namespaces)
{
	struct namespace *ns;

	for (ns = namespaces->first; ns; ns = ns->next)
		take_lock(ns);
}

void namespaces_release_locks(struct namespaces *namespaces)
{
	struct namespace *ns;

	for (ns = namespaces->first; ns; ns = ns->next)
		release_lock(ns);
}

void namespaces_ask_predecessor(struct namespaces *namespaces)
{
	struct namespace *ns;

	for (ns = namespaces->first; ns; ns = ns->next)
		if (nvme_controller_is_haunted(namespaces->ctrl))
			take_lock(ns);
}

/* Before the controller knows of the namespace: from then on it is watched. */
static int open_reservations(struct namespace *ns, struct nvme_namespace_config *config,
			     struct reservation_fds fds, struct error **errp)
{
	ns->share = reservation_share_open(fds, &ns->lock, errp);
	if (!ns->share)
		return -EINVAL;
	config->share = reservation_share_nvme(ns->share);
	reservation_share_watch(ns->share, ns->all->event, ns->all->host->threads, ns->all->ctrl,
				ns->nsid);
	return 0;
}

int namespaces_attach(struct namespaces *namespaces, const struct nvme_namespace_config *config,
		      struct block *block, int lock_fd, struct reservation_fds reservations,
		      struct error **errp)
{
	struct nvme_namespace_config nvme = *config;
	struct namespace *ns = calloc(1, sizeof(*ns));
	int ret;

	if (!ns) {
		block_close(block);
		cleanup_close(&lock_fd);
		reservation_fds_close(&reservations);
		return error_set(errp, ENOMEM, _("out of memory"));
	}
	ns->all = namespaces;
	ns->block = block;
	ns->nsid = config->nsid;
	ns->lock = (struct generation_lock){
		.event = namespaces->event,
		.fd = lock_fd,
		.read_only = block_get_info(block)->read_only,
		.controller = namespaces->controller,
		.nsid = config->nsid,
		.acquired = set_ready,
		.opaque = ns,
	};
	generation_lock_init(&ns->lock, namespaces->uuid);
	nvme.not_ready = nvme_controller_is_frozen(namespaces->ctrl)
				 ? lock_fd >= 0
				 : !generation_lock_take(&ns->lock);
	ret = reservations.file < 0 ? 0 : open_reservations(ns, &nvme, reservations, errp);
	if (ret == 0)
		ret = nvme_controller_attach(namespaces->ctrl, &nvme, block, errp);
	if (ret < 0) {
		free_namespace(ns);
		return ret;
	}
	ns->next = namespaces->first;
	namespaces->first = ns;
	return 0;
}

static struct namespace *find(struct namespaces *namespaces, uint32_t nsid)
{
	struct namespace *ns;

	for (ns = namespaces->first; ns; ns = ns->next)
		if (ns->nsid == nsid && !ns->done)
			return ns;
	return NULL;
}

static void close_next(struct namespaces *namespaces);

static void has_left(void *opaque)
{
	struct namespace *ns = opaque, **link;
	struct namespaces *namespaces = ns->all;
	void (*done)(void *opaque) = ns->done;
	void *done_opaque = ns->opaque;

	for (link = &namespaces->first; *link != ns;)
		link = &(*link)->next;
	*link = ns->next;
	free_namespace(ns);
	done(done_opaque);
	if (namespaces->closed)
		close_next(namespaces);
}

int namespaces_detach(struct namespaces *namespaces, uint32_t nsid, void (*done)(void *opaque),
		      void *opaque)
{
	struct namespace *ns = find(namespaces, nsid);

	if (!ns) /* a predecessor's, perhaps */
		return nvme_controller_detach(namespaces->ctrl, nsid, done, opaque);
	ns->done = done;
	ns->opaque = opaque;
	return nvme_controller_detach(namespaces->ctrl, nsid, has_left, ns);
}

static void nothing_more(void *opaque)
{
}

static void close_next(struct namespaces *namespaces)
{
	struct namespace *ns = namespaces->first;

	if (!ns)
		namespaces->closed(namespaces->opaque);
	else if (!ns->done)
		namespaces_detach(namespaces, ns->nsid, nothing_more, NULL);
	/* else: it is leaving already; has_left() comes back here */
}

void namespaces_close(struct namespaces *namespaces, void (*closed)(void *opaque), void *opaque)
{
	namespaces->closed = closed;
	namespaces->opaque = opaque;
	close_next(namespaces);
}

void namespaces_free(struct namespaces *namespaces)
{
	while (namespaces->first) {
		struct namespace *ns = namespaces->first;

		namespaces->first = ns->next;
		free_namespace(ns);
	}
}

int namespaces_resize(struct namespaces *namespaces, uint32_t nsid, uint64_t limit,
		      uint64_t *ret_capacity)
{
	struct namespace *ns = find(namespaces, nsid);
	int ret;

	if (!ns)
		return -ENOENT;
	if (limit && limit < LIMIT_MIN)
		return -EINVAL;
	if (limit && ns->lock.timer)
		return -EBUSY;
	host_pause(namespaces->host);
	ret = block_refresh(ns->block, limit);
	if (ret == 0)
		ret = nvme_controller_resized(namespaces->ctrl, nsid);
	host_resume(namespaces->host);
	*ret_capacity = block_get_info(ns->block)->capacity;
	return ret;
}

int namespaces_set_block_size(struct namespaces *namespaces, uint32_t nsid, uint32_t block_size)
{
	int ret;

	host_pause(namespaces->host);
	ret = nvme_controller_set_block_size(namespaces->ctrl, nsid, block_size);
	host_resume(namespaces->host);
	return ret;
}

int namespaces_set_limits(struct namespaces *namespaces, uint32_t nsid,
			  const struct nvme_limits *limits)
{
	int ret;

	host_pause(namespaces->host);
	ret = nvme_controller_set_limits(namespaces->ctrl, nsid, limits);
	host_resume(namespaces->host);
	return ret;
}

struct json_object *namespaces_describe(const struct namespaces *namespaces)
{
	struct json_object *list = json_object_new_array();
	const struct namespace *ns;

	for (ns = namespaces->first; ns; ns = ns->next) {
		struct nvme_namespace_counters counters = {};
		struct json_object *entry = json_object_new_object();

		nvme_controller_counters(namespaces->ctrl, ns->nsid, &counters);
		json_add_u64(entry, "nsid", ns->nsid);
		json_add_u64(entry, "read_commands", counters.read_commands);
		json_add_u64(entry, "read_bytes", counters.read_bytes);
		json_add_u64(entry, "write_commands", counters.write_commands);
		json_add_u64(entry, "write_bytes", counters.write_bytes);
		json_add_u64(entry, "flush_commands", counters.flush_commands);
		json_add_u64(entry, "errors", counters.errors);
		json_object_array_add(list, entry);
	}
	return list;
}
