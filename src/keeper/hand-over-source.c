// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/hand-over-internal.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/i18n.h"
#include "base/log.h"
#include "qmp/device.h"

/*
 * What a migration may use: pages are copied from memory that QEMU watches, until the guest is
 * stopped, and then our state is written. Not so with postcopy-ram (the guest runs there before
 * its memory has come), background-snapshot (our state before the memory), x-ignore-shared (no
 * memory at all), x-colo, and whatever is invented later.
 */
static const char *const allowed[] = {
	"auto-converge",
	"block-bitmap-mapping",
	"compress",
	"dirty-limit",
	"events",
	"late-block-activate",
	"mapped-ram",
	"multifd",
	"pause-before-switchover",
	"return-path",
	"switchover-ack",
	"validate-uuid",
	"xbzrle",
	"zero-blocks",
	"zero-copy-send",
};

/* An answer for one device of a job. */
struct part {
	struct hand_over_job *job;
	unsigned index;
};

static struct part *new_part(struct hand_over_job *job, unsigned index)
{
	struct part *part = malloc(sizeof(*part));

	if (!part)
		abort(); /* QEMU would wait for nothing */
	*part = (struct part){ job, index };
	job->open++;
	return part;
}

static void end_part(struct part *part, const struct error *err)
{
	hand_over_job_end_one(part->job, err);
	free(part);
}

int hand_over_judge_capabilities(struct json_object *answer, struct error **errp)
{
	size_t i, j,
		count = json_object_is_type(answer, json_type_array)
				? json_object_array_length(answer)
				: 0;

	if (count == 0)
		return error_set(errp, EPROTO, _("QEMU does not say how it migrates"));
	for (i = 0; i < count; i++) {
		struct json_object *item = json_object_array_get_idx(answer, i);
		const char *name = json_string_or(item, "capability", "?");

		if (!json_bool_or(item, "state", true))
			continue;
		for (j = 0; j < ARRAY_SIZE(allowed); j++)
			if (string_equal(name, allowed[j]))
				break;
		if (j == ARRAY_SIZE(allowed))
			return error_set(errp, EOPNOTSUPP,
					 _("the NVMe disks cannot be migrated or saved with "
					   "QEMU's \"%s\""),
					 name);
	}
	return 0;
}

static void on_capabilities(void *opaque, struct json_object *result, const struct error *err)
{
	_cleanup_error_ struct error *refused = NULL;

	if (!err && hand_over_judge_capabilities(result, &refused) < 0)
		err = refused;
	hand_over_finished(opaque, MIGRATION_ASK_QEMU, err);
}

void hand_over_ask_qemu(struct hand_over *hand_over)
{
	monitor_execute(hand_over->keeper->monitor, "query-migrate-capabilities", NULL, -1,
			on_capabilities, hand_over);
}

/*
 * QEMU's half, while QEMU answers
 */
static void on_table(void *opaque, struct json_object *result, const struct error *err)
{
	struct part *part = opaque;
	struct hand_over_half *known = &part->job->hand_over->halves[part->index];
	struct pci_half *half = &part->job->halves[part->index];
	_cleanup_error_ struct error *wrong = NULL;

	if (!err && pci_half_set_table(half, json_object_get_string(result), &wrong) < 0)
		err = wrong;
	if (!err) {
		known->half = *half;
		known->irq_changes = part->job->irq_changes[part->index];
	}
	end_part(part, err);
}

static void read_table(struct hand_over_job *job, const struct device *device)
{
	const struct pci_half *half = &job->halves[device->config.index];
	struct json_object *arguments;
	char command[64];

	job->irq_changes[device->config.index] = relay_irq_changes(device->relay);
	snprintf(command, sizeof(command), "xp /%uwx %#llx", half->vectors * PCI_VECTOR_SIZE / 4,
		 (unsigned long long)pci_half_table_address(half));
	arguments = json_object_new_object();
	json_add_string(arguments, "command-line", command);
	monitor_execute(job->hand_over->keeper->monitor, "human-monitor-command", arguments, -1,
			on_table, new_part(job, device->config.index));
}

static int set_config(struct pci_half *half, struct json_object *result, struct error **errp)
{
	return pci_half_set_config(half, json_string_or(result, "config", NULL), errp);
}

static void on_config(void *opaque, struct json_object *result, const struct error *err)
{
	struct part *part = opaque;
	struct hand_over *hand_over = part->job->hand_over;
	struct device *device = keeper_find_device(hand_over->keeper, part->index);
	struct pci_half *half = &part->job->halves[part->index];
	_cleanup_error_ struct error *wrong = NULL;

	if (!err && set_config(half, result, &wrong) < 0)
		err = wrong;
	if (!err && device) {
		if (pci_half_uses_msix(half) && pci_half_table_address(half))
			read_table(part->job, device);
		else
			hand_over->halves[part->index].half = *half;
	}
	end_part(part, err);
}

/* Behind a bridge that the guest has not given a number, nothing has an address. */
static void set_address(struct pci_half *half, struct json_object *pci, unsigned index)
{
	struct qmp_pci_address address;
	char id[32];

	snprintf(id, sizeof(id), "virtnvme-nvme%u", index);
	half->reachable = qmp_pci_find(pci, id, &address) == 0 && (address.bus || !*address.bridge);
	if (!half->reachable)
		return;
	half->bus = address.bus;
	half->slot = address.slot;
	half->function = address.function;
}

static void on_pci(void *opaque, struct json_object *result, const struct error *err)
{
	struct hand_over_job *job = opaque;
	struct hand_over *hand_over = job->hand_over;
	const struct device *device;
	_cleanup_error_ struct error *wrong = NULL;

	if (!err && !json_object_is_type(result, json_type_array)) {
		error_set(&wrong, EPROTO, _("QEMU does not say what is on its PCI buses"));
		err = wrong;
	}
	for (device = hand_over->keeper->devices; !err && device; device = device->next) {
		set_address(&job->halves[device->config.index], result, device->config.index);
		hand_over_call(hand_over, "pci-config", hand_over_index(device), on_config,
			       new_part(job, device->config.index));
	}
	hand_over_job_end_one(job, err);
}

void hand_over_read_pci(struct hand_over *hand_over)
{
	monitor_execute(hand_over->keeper->monitor, "query-pci", NULL, -1, on_pci,
			hand_over_job_new(hand_over, MIGRATION_READ_PCI));
}

/*
 * The state, when QEMU stands still
 */
static int judge_half(struct hand_over_job *job, const struct device *device, struct error **errp)
{
	const unsigned index = device->config.index;
	struct hand_over_half *known = &job->hand_over->halves[index];
	struct pci_half *now = &job->halves[index];

	now->reachable = known->half.reachable;
	now->bus = known->half.bus;
	now->slot = known->half.slot;
	now->function = known->half.function;
	if (pci_half_asserts_intx(now))
		return error_set(errp, EAGAIN,
				 _("controller %u raises its interrupt line just now; try again"),
				 index);
	if (!pci_half_uses_msix(now))
		return 0;
	/* A change of a vector that is not masked is told to the relay. */
	if (!known->half.has_table || !now->reachable ||
	    pci_half_table_address(now) != pci_half_table_address(&known->half) ||
	    known->half.vectors != now->vectors ||
	    known->irq_changes != relay_irq_changes(device->relay))
		return error_set(errp, EAGAIN,
				 _("the guest has just changed the interrupts of controller %u; "
				   "try again"),
				 index);
	memcpy(now->table, known->half.table, sizeof(now->table));
	now->has_table = true;
	return 0;
}

static struct json_object *describe_namespace(const struct device_namespace *ns)
{
	struct json_object *json = json_object_new_object();

	json_add_u64(json, "nsid", ns->config.nsid);
	json_add_string(json, "uuid", json_string_or(ns->json, "uuid", ""));
	json_add_u64(json, "capacity", ns->capacity);
	json_add_u64(json, "block_size", ns->config.block_size);
	json_add_bool(json, "read_only", ns->config.read_only);
	return json;
}

static struct json_object *describe(const struct device *device, const struct pci_half *half)
{
	struct json_object *json = json_object_new_object(), *list = json_object_new_array();
	const struct device_namespace *ns;

	json_add_u64(json, "index", device->config.index);
	json_add_string(json, "serial", device->config.serial);
	json_add_string(json, "uuid", device->config.uuid ? device->config.uuid : "");
	json_add_string(json, "subsystem", device->config.subsystem);
	json_add_u64(json, "queues", device->config.queues);
	json_add_string(json, "doorbells", device->config.doorbells);
	for (ns = device->namespaces; ns; ns = ns->next)
		json_object_array_add(list, describe_namespace(ns));
	json_add(json, "namespaces", list);
	json_add(json, "pci", pci_half_to_json(half));
	return json;
}

size_t hand_over_description_bytes(const struct device *device)
{
	static const struct pci_half longest = {
		.reachable = true,
		.bus = 255,
		.slot = 31,
		.vectors = PCI_MAX_VECTORS,
		.has_table = true,
	};
	_cleanup_json_ struct json_object *json = describe(device, &longest);

	return strlen(json_text(json));
}

/* From its beginning; UINT64_MAX: the whole file. @sparse: without pages that are zero. */
static int append_file(struct blob *blob, int fd, uint64_t size, bool sparse, struct error **errp)
{
	struct stat st;
	void *map;
	int r;

	if (fstat(fd, &st) < 0)
		return error_set_errno(errp, errno, _("cannot read a controller's state"));
	size = MIN(size, (uint64_t)st.st_size);
	if (size == 0)
		return sparse ? error_set(errp, ENODATA, _("a controller has no state")) : 0;
	if (sparse) {
		r = blob_append_memory(blob, fd, size);
	} else {
		map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
		if (map == MAP_FAILED)
			return error_set_errno(errp, errno, _("cannot read a controller's state"));
		r = blob_append(blob, map, size);
		munmap(map, size);
	}
	return r < 0 ? error_set_errno(errp, -r, _("cannot read a controller's state")) : 0;
}

static int collect_device(struct hand_over_job *job, const struct device *device,
			  struct json_object *list, struct blob *data, struct error **errp)
{
	const unsigned index = device->config.index;
	const size_t begin = data->size;
	struct json_object *json;
	size_t middle;

	if (device_check_size(device, errp) < 0 || judge_half(job, device, errp) < 0 ||
	    append_file(data, device->state_fd, device->state_bytes, true, errp) < 0)
		return -EINVAL;
	middle = data->size;
	if (append_file(data, job->overlays[index], UINT64_MAX, false, errp) < 0)
		return -EINVAL;
	json = describe(device, &job->halves[index]);
	json_add_u64(json, "state", middle - begin);
	json_add_u64(json, "overlay", data->size - middle);
	json_object_array_add(list, json);
	return 0;
}

static void collect(struct hand_over_job *job)
{
	_cleanup_json_ struct json_object *description = json_object_new_object();
	_cleanup_blob_ struct blob whole = {}, data = {};
	struct keeper *keeper = job->hand_over->keeper;
	struct json_object *list = json_object_new_array();
	struct blob parts[BLOB_PARTS] = {};
	const unsigned certain = vmstate_certain(keeper->vmstate);
	const unsigned count = vmstate_listed(keeper->vmstate);
	const struct device *device;
	unsigned i;
	int r = 0;

	json_add_string(description, "program", "virtnvme " PACKAGE_VERSION);
	json_add(description, "controllers", list);
	for (device = keeper->devices; r == 0 && device; device = device->next)
		r = collect_device(job, device, list, &data, &job->err);
	if (r == 0 &&
	    (blob_begin(&whole, description) < 0 || blob_append(&whole, data.data, data.size) < 0))
		r = error_set_errno(&job->err, ENOMEM, "state");
	if (r == 0)
		r = blob_split(&whole, parts, certain, &job->err);
	for (i = certain; r == 0 && i < count; i++)
		r = blob_pad(&parts[0], i, &parts[i], &job->err);
	if (r == 0) {
		log_info("the disks' state has %zu bytes, in %u of %u parts", whole.size, certain,
			 BLOB_PARTS);
		migration_set_parts(keeper->migration, parts, count);
		return;
	}
	for (i = 0; i < BLOB_PARTS; i++)
		blob_free(&parts[i]);
}

static void on_last_config(void *opaque, struct json_object *result, const struct error *err)
{
	struct part *part = opaque;
	_cleanup_error_ struct error *wrong = NULL;

	if (!err && set_config(&part->job->halves[part->index], result, &wrong) < 0)
		err = wrong;
	end_part(part, err);
}

static void on_overlay(void *opaque, struct json_object *result, const struct error *err)
{
	end_part(opaque, err);
}

static void export_overlay(struct hand_over_job *job, const struct device *device)
{
	struct part *part = new_part(job, device->config.index);
	int fd = memfd_create("virtnvme-overlay", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct json_object *arguments;

	if (fd < 0) {
		_cleanup_error_ struct error *err = NULL;

		error_set_errno(&err, errno, "overlay");
		end_part(part, err);
		return;
	}
	job->overlays[device->config.index] = fd;
	arguments = hand_over_index(device);
	json_add_u64(arguments, "stopped", migration_stopped(job->hand_over->keeper->migration));
	json_add_u64(arguments, "limit",
		     blob_capacity(vmstate_certain(job->hand_over->keeper->vmstate)));
	hand_over_call_with(job->hand_over, "overlay-export", arguments, &fd, 1, on_overlay, part);
}

void hand_over_collect(struct hand_over *hand_over)
{
	struct hand_over_job *job = hand_over_job_new(hand_over, MIGRATION_COLLECT);
	const struct device *device;

	job->finish = collect;
	for (device = hand_over->keeper->devices; device; device = device->next) {
		hand_over_call(hand_over, "pci-config", hand_over_index(device), on_last_config,
			       new_part(job, device->config.index));
		export_overlay(job, device);
	}
	hand_over_job_end_one(job, NULL);
}
