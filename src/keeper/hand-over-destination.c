// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/hand-over-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/i18n.h"
#include "base/log.h"
#include "base/relay-frame.h"

void hand_over_forget_arrivals(struct hand_over *hand_over)
{
	blob_free(&hand_over->whole);
	json_object_put(hand_over->description);
	hand_over->description = NULL;
	hand_over->arrival_count = 0;
}

/*
 * Judging
 */
static int judge_text(const struct device *device, struct json_object *json, const char *key,
		      const char *here, struct error **errp)
{
	const char *there = json_string_or(json, key, "");

	if (string_equal(there, here ? here : ""))
		return 0;
	return error_set(errp, EINVAL,
			 _("controller %u: its %s is \"%s\" in the state and \"%s\" here"),
			 device->config.index, key, there, here ? here : "");
}

static struct device_namespace *find_namespace(struct device *device, uint64_t nsid)
{
	struct device_namespace *ns = device->namespaces;

	while (ns && ns->config.nsid != nsid)
		ns = ns->next;
	return ns;
}

/* The size that the image has now, not when it was opened. */
static int judge_capacity(const struct device_namespace *ns, uint64_t capacity, struct error **errp)
{
	_cleanup_close_ int fd = -1;
	off_t size;

	if (image_open(&ns->image, &ns->config, &fd, errp) < 0)
		return -EINVAL;
	size = lseek(fd, 0, SEEK_END);
	if (size < 0)
		return error_set_errno(errp, errno, "%s", ns->config.path);
	if ((uint64_t)size < capacity)
		return error_set(errp, EINVAL,
				 _("%s has %llu bytes here, the guest's disk %llu: is it the same "
				   "image?"),
				 ns->config.path, (unsigned long long)size,
				 (unsigned long long)capacity);
	return 0;
}

static int judge_namespace(struct device *device, struct json_object *json, struct error **errp)
{
	uint64_t nsid = json_u64_or(json, "nsid", 0);
	const struct device_namespace *ns = find_namespace(device, nsid);

	if (!ns)
		return error_set(errp, EINVAL, _("controller %u has no namespace %llu here"),
				 device->config.index, (unsigned long long)nsid);
	if (judge_text(device, json, "uuid", json_string_or(ns->json, "uuid", ""), errp) < 0)
		return -EINVAL;
	if (json_u64_or(json, "block_size", 0) != ns->config.block_size ||
	    json_bool_or(json, "read_only", false) != ns->config.read_only)
		return error_set(errp, EINVAL,
				 _("namespace %llu of controller %u is another one here: block "
				   "size or <readonly/> differ"),
				 (unsigned long long)nsid, device->config.index);
	if (ns->config.type == NAMESPACE_MEMORY)
		return error_set(errp, EINVAL,
				 _("namespace %llu of controller %u is a memory disk, which stays "
				   "where it is"),
				 (unsigned long long)nsid, device->config.index);
	return judge_capacity(ns, json_u64_or(json, "capacity", UINT64_MAX), errp);
}

/* Else one of those that are here would not be looked at. */
static int judge_unique(const struct device *device, struct json_object *list, size_t number,
			struct error **errp)
{
	uint64_t nsid = json_u64_or(json_object_array_get_idx(list, number), "nsid", 0);
	size_t i;

	for (i = 0; i < number; i++)
		if (json_u64_or(json_object_array_get_idx(list, i), "nsid", 0) == nsid)
			return error_set(errp, EINVAL,
					 _("the state has namespace %llu of controller %u twice"),
					 (unsigned long long)nsid, device->config.index);
	return 0;
}

static int judge_namespaces(struct device *device, struct json_object *list, struct error **errp)
{
	size_t i, count = list ? json_object_array_length(list) : 0, here = 0;
	const struct device_namespace *ns;

	for (ns = device->namespaces; ns; ns = ns->next)
		here++;
	if (count != here)
		return error_set(errp, EINVAL,
				 _("controller %u has %zu namespaces in the state and %zu here"),
				 device->config.index, count, here);
	for (i = 0; i < count; i++)
		if (judge_unique(device, list, i, errp) < 0 ||
		    judge_namespace(device, json_object_array_get_idx(list, i), errp) < 0)
			return -EINVAL;
	return 0;
}

/* @data, @size: what is left of the bytes; this one's are taken off. */
static int judge_bytes(struct hand_over_arrival *arrival, struct json_object *json,
		       const char **data, size_t *size, struct error **errp)
{
	uint64_t state = json_u64_or(json, "state", UINT64_MAX);
	uint64_t overlay = json_u64_or(json, "overlay", UINT64_MAX);
	int64_t memory;

	if (state > *size || overlay > *size - state)
		return error_set(errp, EINVAL, _("a controller's state is damaged"));
	arrival->state = *data;
	arrival->state_size = state;
	arrival->overlay = *data + state;
	arrival->overlay_size = overlay;
	memory = blob_memory_size(arrival->state, state, errp);
	if (memory < 0)
		return -EINVAL;
	if ((uint64_t)memory != arrival->device->state_bytes)
		return error_set(errp, EINVAL,
				 _("the state of controller %u is of another version of virtnvme: "
				   "it has %llu bytes and not %llu"),
				 arrival->device->config.index, (unsigned long long)memory,
				 (unsigned long long)arrival->device->state_bytes);
	*data += state + overlay;
	*size -= state + overlay;
	return 0;
}

static int judge_device(struct hand_over *hand_over, struct json_object *json, const char **data,
			size_t *size, struct error **errp)
{
	struct hand_over_arrival *arrival = &hand_over->arrivals[hand_over->arrival_count++];
	uint64_t index = json_u64_or(json, "index", UINT64_MAX);
	struct device *device = keeper_find_device(hand_over->keeper, index);
	unsigned i;

	*arrival = (struct hand_over_arrival){ .device = device };
	if (!device)
		return error_set(errp, EINVAL, _("there is no controller %llu here"),
				 (unsigned long long)index);
	for (i = 0; i + 1 < hand_over->arrival_count; i++)
		if (hand_over->arrivals[i].device == device)
			return error_set(errp, EINVAL, _("the state has controller %llu twice"),
					 (unsigned long long)index);
	if (json_u64_or(json, "queues", 0) != device->config.queues)
		return error_set(errp, EINVAL,
				 _("controller %llu has another number of queues here"),
				 (unsigned long long)index);
	if (!string_equal(json_string_or(json, "doorbells", "auto"), device->config.doorbells))
		return error_set(errp, EINVAL, _("controller %llu has other doorbells here"),
				 (unsigned long long)index);
	if (judge_text(device, json, "serial", device->config.serial, errp) < 0 ||
	    judge_text(device, json, "uuid", device->config.uuid, errp) < 0 ||
	    judge_text(device, json, "subsystem", device->config.subsystem, errp) < 0 ||
	    judge_namespaces(device, json_child(json, "namespaces", json_type_array), errp) < 0 ||
	    pci_half_from_json(json_child(json, "pci", json_type_object), &arrival->half, errp) < 0)
		return -EINVAL;
	return judge_bytes(arrival, json, data, size, errp);
}

static int judge_all(struct hand_over *hand_over, struct error **errp)
{
	const struct device *device;
	struct json_object *list;
	size_t i, count, here = 0, size;
	const char *data;

	if (blob_open(&hand_over->whole, &hand_over->description, &data, &size, errp) < 0)
		return -EINVAL;
	list = json_child(hand_over->description, "controllers", json_type_array);
	count = list ? json_object_array_length(list) : 0;
	for (device = hand_over->keeper->devices; device; device = device->next)
		here++;
	if (count != here || count > HAND_OVER_MAX_DEVICES)
		return error_set(errp, EINVAL,
				 _("the state is of %zu NVMe controllers, the domain has %zu here"),
				 count, here);
	for (i = 0; i < count; i++)
		if (judge_device(hand_over, json_object_array_get_idx(list, i), &data, &size,
				 errp) < 0)
			return -EINVAL;
	return 0;
}

int hand_over_judge(void *opaque, const struct blob *whole, struct error **errp)
{
	struct hand_over *hand_over = opaque;
	int r;

	hand_over_forget_arrivals(hand_over);
	if (blob_append(&hand_over->whole, whole->data, whole->size) < 0)
		return error_set_errno(errp, ENOMEM, "state");
	r = judge_all(hand_over, errp);
	if (r < 0)
		hand_over_forget_arrivals(hand_over);
	else
		log_info("the disks' state, of %s, has %zu bytes",
			 json_string_or(hand_over->description, "program", "?"), whole->size);
	return r;
}

/*
 * Adopting, one controller after the other
 */
static void adopt_next(struct hand_over *hand_over);

static struct hand_over_arrival *adopted(struct hand_over *hand_over)
{
	return &hand_over->arrivals[hand_over->adopting];
}

static void end_adoption(struct hand_over *hand_over, const struct error *err)
{
	hand_over_finished(hand_over, MIGRATION_ADOPT, err);
}

static void fail_adoption(struct hand_over *hand_over, int code, const char *what)
{
	_cleanup_error_ struct error *err = NULL;

	error_set_errno(&err, code, _("controller %u: %s"),
			adopted(hand_over)->device->config.index, what);
	end_adoption(hand_over, err);
}

/* Another host has written it. */
static void drop_page_cache(const struct device *device)
{
	const struct device_namespace *ns;

	for (ns = device->namespaces; ns; ns = ns->next)
		if (ns->image.lock_fd >= 0)
			posix_fadvise(ns->image.lock_fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* What is behind the state that came is of this host, and begins anew with zeroes; so do the mapped
 * doorbells, of which the state knows what they were. */
static int write_state(const struct hand_over_arrival *arrival)
{
	const struct device *device = arrival->device;
	struct stat st;
	void *map;

	if (fstat(device->state_fd, &st) < 0 ||
	    fallocate(device->state_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, st.st_size) <
		    0)
		return -errno;
	if (device->doorbell_fd >= 0 &&
	    fallocate(device->doorbell_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		      RELAY_DOORBELLS_SIZE) < 0)
		return -errno;
	if ((uint64_t)st.st_size < device->state_bytes)
		return -EINVAL;
	map = mmap(NULL, device->state_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, device->state_fd,
		   0);
	if (map == MAP_FAILED)
		return -errno;
	blob_read_memory(arrival->state, map);
	munmap(map, device->state_bytes);
	return 0;
}

static void on_overlay_applied(void *opaque, struct json_object *result, const struct error *err)
{
	struct hand_over *hand_over = opaque;

	if (err) {
		end_adoption(hand_over, err);
		return;
	}
	hand_over->adopting++;
	adopt_next(hand_over);
}

static void on_started(void *opaque, struct json_object *result, const struct error *err)
{
	struct hand_over *hand_over = opaque;
	const struct hand_over_arrival *arrival = adopted(hand_over);
	_cleanup_close_ int fd = -1;

	if (err) {
		end_adoption(hand_over, err);
		return;
	}
	if (arrival->overlay_size == 0) {
		on_overlay_applied(hand_over, NULL, NULL);
		return;
	}
	fd = memfd_create("virtnvme-overlay", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || fd_write_full(fd, arrival->overlay, arrival->overlay_size) < 0) {
		fail_adoption(hand_over, errno, "overlay");
		return;
	}
	hand_over_call_with(hand_over, "overlay-apply", hand_over_index(arrival->device), &fd, 1,
			    on_overlay_applied, hand_over);
}

static void on_left(void *opaque, struct json_object *result, const struct error *err)
{
	struct hand_over *hand_over = opaque;
	const struct hand_over_arrival *arrival = adopted(hand_over);
	int r;

	if (err) {
		end_adoption(hand_over, err);
		return;
	}
	drop_page_cache(arrival->device);
	r = write_state(arrival);
	if (r < 0)
		fail_adoption(hand_over, -r, "state");
	else
		device_start(arrival->device, DEVICE_FROZEN, on_started, hand_over);
}

static void adopt_next(struct hand_over *hand_over)
{
	if (hand_over->adopting == hand_over->arrival_count)
		end_adoption(hand_over, NULL);
	else
		device_leave(adopted(hand_over)->device, on_left, hand_over);
}

static void on_controller_back(void *opaque, const struct error *err)
{
	if (err)
		end_adoption(opaque, err);
	else
		adopt_next(opaque);
}

/* One that has died while it waited has a successor in a moment. */
void hand_over_adopt(struct hand_over *hand_over)
{
	struct supervisor *supervisor = &hand_over->keeper->supervisor;

	hand_over->adopting = 0;
	if (!supervisor_restarting(supervisor) ||
	    !supervisor_wait(supervisor, on_controller_back, hand_over))
		adopt_next(hand_over);
}

/* Their images are closed: what is in them is another host's again. */
static void on_abandoned(void *opaque, struct json_object *result, const struct error *err)
{
	hand_over_job_end_one(opaque, err);
}

void hand_over_abandon(struct hand_over *hand_over)
{
	struct hand_over_job *job = hand_over_job_new(hand_over, MIGRATION_ABANDON);
	struct device *device;

	hand_over_end_replay(hand_over);
	for (device = hand_over->keeper->devices; device; device = device->next) {
		job->open++;
		device_leave(device, on_abandoned, job);
	}
	hand_over_job_end_one(job, NULL);
}
