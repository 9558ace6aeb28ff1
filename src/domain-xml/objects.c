// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain-xml/objects.h"

#include <stdio.h>

#include "domain-xml/pci.h"

/* QEMU connects again after this time when the keeper was not there; without it QEMU would not even
 * start. */
#define RECONNECT_MS 1000

static char *socket_path(const struct rewrite_options *options, const char *uuid, const char *name)
{
	const char *dir =
		options && options->runtime_dir ? options->runtime_dir : VIRTNVME_RUNTIME_DIR;
	char *path;

	return asprintf(&path, "%s/%s/%s", dir, uuid, name) < 0 ? NULL : path;
}

static char *attach_socket_path(const struct rewrite_options *options, const char *domain_uuid,
				unsigned index)
{
	char name[32];

	snprintf(name, sizeof(name), "nvme%u.sock", index);
	return socket_path(options, domain_uuid, name);
}

void attach_device_id(unsigned index, char ret[32])
{
	snprintf(ret, 32, REWRITE_ID_PREFIX "nvme%u", index);
}

struct json_object *objects_vmstate(const char *uuid, const struct rewrite_options *options)
{
	_cleanup_free_ char *path = socket_path(options, uuid, "bus.sock");
	_cleanup_json_ struct json_object *object = json_object_new_object();
	_cleanup_free_ char *address = NULL;
	char list[REWRITE_VMSTATE_IDS * 16] = "";
	size_t len = 0;
	unsigned i;

	if (!object || !path || asprintf(&address, "unix:path=%s", path) < 0)
		return NULL;
	for (i = 0; i < REWRITE_VMSTATE_IDS; i++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s" REWRITE_VMSTATE_ID,
					i ? "," : "", i);
	json_add_string(object, "qom-type", "dbus-vmstate");
	json_add_string(object, "id", REWRITE_VMSTATE_OBJECT);
	json_add_string(object, "addr", address);
	json_add_string(object, "id-list", list);
	return steal_pointer(object);
}

struct json_object *objects_chardev(const char *uuid, const struct rewrite_options *options)
{
	_cleanup_free_ char *path = socket_path(options, uuid, "qmp.sock");
	_cleanup_json_ struct json_object *object = json_object_new_object();
	struct json_object *backend = json_object_new_object();
	struct json_object *data = json_object_new_object();
	struct json_object *address = json_object_new_object();
	struct json_object *address_data = json_object_new_object();

	json_add_string(address_data, "path", path);
	json_add_string(address, "type", "unix");
	json_add(address, "data", address_data);
	json_add(data, "addr", address);
	json_add_bool(data, "server", false);
	json_add_u64(data, "reconnect-ms", RECONNECT_MS);
	json_add_string(backend, "type", "socket");
	json_add(backend, "data", data);
	json_add_string(object, "id", REWRITE_MONITOR_CHARDEV);
	json_add(object, "backend", backend);
	return path ? steal_pointer(object) : NULL;
}

char *objects_chardev_argument(const char *uuid, const struct rewrite_options *options)
{
	_cleanup_free_ char *path = socket_path(options, uuid, "qmp.sock");
	char *text;

	if (!path ||
	    asprintf(&text, "socket,id=" REWRITE_MONITOR_CHARDEV ",path=%s,reconnect-ms=%d", path,
		     RECONNECT_MS) < 0)
		return NULL;
	return text;
}

struct json_object *objects_monitor(void)
{
	struct json_object *object = json_object_new_object();

	json_add_string(object, "qom-type", "monitor-qmp");
	json_add_string(object, "id", REWRITE_MONITOR_OBJECT);
	json_add_string(object, "chardev", REWRITE_MONITOR_CHARDEV);
	return object;
}

struct json_object *objects_port(unsigned number, const struct metadata_placement *place,
				 unsigned chassis)
{
	struct json_object *object = json_object_new_object();
	char id[32], address[16];

	snprintf(id, sizeof(id), REWRITE_PORT, number);
	pci_format_address(place, address);
	json_add_string(object, "driver", "pcie-root-port");
	json_add_string(object, "id", id);
	json_add_string(object, "bus", place->bus);
	json_add_string(object, "addr", address);
	if (!place->function)
		json_add_bool(object, "multifunction", true);
	json_add_u64(object, "chassis", chassis);
	json_add_u64(object, "slot", number + 1);
	/* NVMe has no I/O ports, and all root ports share 64 KiB of them, 4 KiB each. */
	json_add_u64(object, "io-reserve", 0);
	return object;
}

struct json_object *attach_device(const char *domain_uuid, unsigned index,
				  const struct metadata_placement *placement, unsigned boot_index,
				  const struct rewrite_options *options)
{
	_cleanup_free_ char *path = attach_socket_path(options, domain_uuid, index);
	_cleanup_json_ struct json_object *object = json_object_new_object();
	struct json_object *socket = json_object_new_object();
	unsigned timeout = options ? options->message_timeout_ms : 0;
	char id[32], address[16];

	attach_device_id(index, id);
	pci_format_address(placement, address);
	json_add_string(object, "driver", "vfio-user-pci");
	json_add_string(object, "id", id);
	json_add_string(object, "bus", placement->bus);
	json_add_string(object, "addr", address);
	json_add_string(socket, "type", "unix");
	json_add_string(socket, "path", path);
	json_add(object, "socket", socket);
	json_add_u64(object, "x-msg-timeout", timeout ? timeout : REWRITE_MESSAGE_TIMEOUT_MS);
	if (boot_index)
		json_add_u64(object, "bootindex", boot_index);
	return path ? steal_pointer(object) : NULL;
}
