// SPDX-License-Identifier: LGPL-2.1-or-later
#include "qmp/device.h"

#include <errno.h>
#include <stdio.h>

#include "base/i18n.h"

#define VFIO_USER_DRIVER "vfio-user-pci"
#define PCI_MAX_BRIDGES                                                                            \
	16 /* nesting that is followed; QEMU's own limit on real machines is less                  \
	    */

/*
 * QEMU versions that unplug an MSI-X vfio-user-pci device without aborting, lowest of each series.
 * None has been found yet; an entry needs a run that shows it.
 */
static const struct qmp_version unplug_known_good[] = {
	{ 0, 0, 0 }, /* the end */
};

int qmp_query_version(const struct qmp_transport *qmp, struct qmp_version *ret, struct error **errp)
{
	_cleanup_json_ struct json_object *answer = NULL;
	struct json_object *numbers;
	int r;

	r = qmp_execute(qmp, "query-version", NULL, &answer, errp);
	if (r < 0)
		return r;
	numbers = json_child(answer, "qemu", json_type_object);
	if (!numbers)
		return error_set(errp, EPROTO, "query-version: no version in the answer");
	ret->major = json_u64_or(numbers, "major", 0);
	ret->minor = json_u64_or(numbers, "minor", 0);
	ret->micro = json_u64_or(numbers, "micro", 0);
	return 0;
}

/*
 * May an MSI-X vfio-user-pci device be unplugged from this QEMU? It aborts with the guest when such
 * a device is finalized (system/memory.c: "subregion->container == mr"), measured on 11.1.3. Only
 * versions that are known to be good are.
 */
static bool qmp_unplug_is_safe(const struct qmp_version *version)
{
	const struct qmp_version *good;

	for (good = unplug_known_good; good->major; good++)
		if (version->major == good->major &&
		    (version->minor > good->minor ||
		     (version->minor == good->minor && version->micro >= good->micro)))
			return true;
	return false;
}

int qmp_device_del_vfio_user(const struct qmp_transport *qmp, const char *id, struct error **errp)
{
	struct json_object *arguments;
	struct qmp_version version;
	int r;

	r = qmp_query_version(qmp, &version, errp);
	if (r < 0)
		return r;
	if (!qmp_unplug_is_safe(&version))
		return error_set(errp, EOPNOTSUPP,
				 _("QEMU %u.%u.%u may abort when %s is unplugged"), version.major,
				 version.minor, version.micro, id);
	arguments = json_object_new_object();
	json_add_string(arguments, "id", id);
	return qmp_execute(qmp, "device_del", arguments, NULL, errp);
}

int qmp_query_pci(const struct qmp_transport *qmp, struct json_object **ret, struct error **errp)
{
	_cleanup_json_ struct json_object *answer = NULL;
	int r;

	r = qmp_execute(qmp, "query-pci", NULL, &answer, errp);
	if (r < 0)
		return r;
	if (!json_object_is_type(answer, json_type_array))
		return error_set(errp, EPROTO, "query-pci: the answer is not a list");
	*ret = steal_pointer(answer);
	return 0;
}

/* Called for each device; stops the walk by returning true. */
typedef bool (*visit_fn)(struct json_object *device, const char *bridge, void *opaque);

static bool walk_devices(struct json_object *devices, const char *bridge, unsigned depth,
			 visit_fn visit, void *opaque)
{
	size_t i;

	if (!devices || depth > PCI_MAX_BRIDGES)
		return false;
	for (i = 0; i < json_object_array_length(devices); i++) {
		struct json_object *device = json_object_array_get_idx(devices, i);
		struct json_object *below = json_child(device, "pci_bridge", json_type_object);

		if (visit(device, bridge, opaque))
			return true;
		if (walk_devices(json_child(below, "devices", json_type_array),
				 json_string_or(device, "qdev_id", ""), depth + 1, visit, opaque))
			return true;
	}
	return false;
}

static bool walk_pci(struct json_object *pci, visit_fn visit, void *opaque)
{
	size_t i;

	for (i = 0; i < json_object_array_length(pci); i++) {
		struct json_object *bus = json_object_array_get_idx(pci, i);

		if (walk_devices(json_child(bus, "devices", json_type_array), "", 0, visit, opaque))
			return true;
	}
	return false;
}

struct find {
	const char *id;
	struct qmp_pci_address *ret;
};

static bool visit_find(struct json_object *device, const char *bridge, void *opaque)
{
	struct find *find = opaque;

	if (!string_equal(json_string_or(device, "qdev_id", ""), find->id))
		return false;
	find->ret->bus = json_u64_or(device, "bus", 0);
	find->ret->slot = json_u64_or(device, "slot", 0);
	find->ret->function = json_u64_or(device, "function", 0);
	snprintf(find->ret->bridge, sizeof(find->ret->bridge), "%s", bridge);
	return true;
}

int qmp_pci_find(struct json_object *pci, const char *id, struct qmp_pci_address *ret)
{
	struct find find = { id, ret };

	return walk_pci(pci, visit_find, &find) ? 0 : -ENOENT;
}
