// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/config.h"

#include <errno.h>

#include "base/cpuset.h"
#include "base/i18n.h"
#include "base/log.h"

#define MAX_CONTROLLERS 32u
#define MAX_QUEUES	64u
#define MAX_NSID	1024u
#define MAX_IO_THREADS	16u

static int parse_number(struct json_object *json, const char *key, uint64_t fallback, uint64_t max,
			uint64_t *ret, struct error **errp)
{
	*ret = fallback;
	if (json_object_object_get_ex(json, key, NULL) && json_u64(json, key, ret, errp) < 0)
		return -EINVAL;
	if (*ret > max)
		return error_set(errp, EINVAL, _("\"%s\" is %llu, the most is %llu"), key,
				 (unsigned long long)*ret, (unsigned long long)max);
	return 0;
}

static int parse_path(struct json_object *json, const char *key, const char **ret,
		      struct error **errp)
{
	*ret = json_string(json, key, errp);
	if (!*ret)
		return -EINVAL;
	if (**ret != '/')
		return error_set(errp, EINVAL, _("\"%s\" is not an absolute path: %s"), key, *ret);
	return 0;
}

static int parse_owner(struct json_object *json, struct keeper_config *config, struct error **errp)
{
	struct json_object *owner = json_child(json, "owner", json_type_object);
	uint64_t uid, gid;

	/* (uid_t)-1 would tell chown() to change nothing. */
	if (parse_number(owner, "uid", geteuid(), UINT32_MAX - 1, &uid, errp) < 0 ||
	    parse_number(owner, "gid", getegid(), UINT32_MAX - 1, &gid, errp) < 0)
		return -EINVAL;
	config->uid = uid;
	config->gid = gid;
	return 0;
}

static bool wants_threads(struct json_object *controllers)
{
	size_t i, j;

	for (i = 0; i < json_object_array_length(controllers); i++) {
		struct json_object *list = json_child(json_object_array_get_idx(controllers, i),
						      "namespaces", json_type_array);

		for (j = 0; list && j < json_object_array_length(list); j++)
			if (string_equal(json_string_or(json_object_array_get_idx(list, j), "io",
							""),
					 "threads"))
				return true;
	}
	return false;
}

static int check_pins(struct json_object *list, struct error **errp)
{
	_cleanup_error_ struct error *why = NULL;
	size_t i;

	for (i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *pin = json_object_array_get_idx(list, i);
		const char *cpus = json_string(pin, "cpuset", errp);
		uint64_t thread;
		cpu_set_t set;

		if (!cpus || parse_number(pin, "iothread", 0, MAX_IO_THREADS, &thread, errp) < 0)
			return -EINVAL;
		if (!thread)
			return error_set(errp, EINVAL, _("I/O threads are numbered from 1"));
		if (cpuset_parse(cpus, &set, &why) < 0)
			return error_set(errp, EINVAL, "cpuset: %s", error_message(why));
	}
	return 0;
}

int keeper_config_parse(struct json_object *json, struct keeper_config *ret, struct error **errp)
{
	struct keeper_config config = { .json = json };
	uint64_t number;

	config.uuid = json_string(json, "uuid", errp);
	if (!config.uuid)
		return -EINVAL;
	config.name = json_string(json, "name", errp);
	if (!config.name)
		return -EINVAL;
	if (*config.name == '\0' || strchr(config.name, '/'))
		return error_set(errp, EINVAL, _("\"%s\" cannot be a domain's name"), config.name);
	if (parse_path(json, "runtime_dir", &config.runtime_dir, errp) < 0 ||
	    parse_path(json, "controller_program", &config.controller_program, errp) < 0 ||
	    parse_owner(json, &config, errp) < 0)
		return -EINVAL;
	config.log_dir = json_string_or(json, "log_dir", VIRTNVME_LOG_DIR);
	config.peer_pidfile = json_string_or(json, "peer_pidfile", NULL);
	config.failed_program =
		json_string_or(json, "failed_program", VIRTNVME_PROGRAM_DIR "/virtnvme-failed");
	config.controller_user = json_string_or(json, "controller_user", VIRTNVME_CONTROLLER_USER);
	if (parse_number(json, "io_threads", 1, MAX_IO_THREADS, &number, errp) < 0)
		return -EINVAL;
	config.io_threads = MAX(number, 1u);
	config.iothreadpin = json_child(json, "iothreadpin", json_type_array);
	if (check_pins(config.iothreadpin, errp) < 0)
		return -EINVAL;
	if (parse_number(json, "log_level", LOG_INFO, LOG_DEBUG, &number, errp) < 0)
		return -EINVAL;
	config.log_level = number;
	config.controllers = json_child(json, "controllers", json_type_array);
	if (!config.controllers)
		return error_set(errp, EINVAL, _("\"controllers\" is missing or not a list"));
	config.incoming = json_bool_or(json, "incoming", false);
	config.without_uring = wants_threads(config.controllers);
	*ret = config;
	return 0;
}

int controller_config_parse(struct json_object *json, struct controller_config *ret,
			    struct error **errp)
{
	struct controller_config config = {};
	uint64_t number;

	if (json_u64(json, "index", &number, errp) < 0)
		return -EINVAL;
	if (number >= MAX_CONTROLLERS)
		return error_set(errp, EINVAL, _("controller index %llu is too high"),
				 (unsigned long long)number);
	config.index = number;
	config.serial = json_string(json, "serial", errp);
	if (!config.serial)
		return -EINVAL;
	config.uuid = json_string_or(json, "uuid", NULL);
	config.subsystem = json_string_or(json, "subsystem", NULL);
	if (parse_number(json, "queues", 1, MAX_QUEUES, &number, errp) < 0)
		return -EINVAL;
	config.queues = MAX(number, 1u);
	config.doorbells = json_string_or(json, "doorbells", "auto");
	if (!string_equal(config.doorbells, "auto") && !string_equal(config.doorbells, "trapped") &&
	    !string_equal(config.doorbells, "mapped"))
		return error_set(errp, EINVAL, _("doorbells can be auto, trapped or mapped"));
	config.namespaces = json_child(json, "namespaces", json_type_array);
	*ret = config;
	return 0;
}

static int parse_source(struct json_object *json, struct namespace_config *config,
			struct error **errp)
{
	static const char *const types[] = { "file", "block", "memory" };
	size_t i;

	config->type_name = json_string(json, "type", errp);
	if (!config->type_name)
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(types); i++)
		if (string_equal(config->type_name, types[i]))
			break;
	if (i == ARRAY_SIZE(types))
		return error_set(errp, EINVAL, _("\"%s\" is not a disk type"), config->type_name);
	config->type = i;
	if (config->type != NAMESPACE_MEMORY)
		return parse_path(json, "path", &config->path, errp);
	if (json_u64_or(json, "bytes", 0) == 0)
		return error_set(errp, EINVAL,
				 _("a memory disk needs a size: give its <capacity>"));
	return json_u64(json, "bytes", &config->bytes, errp);
}

static int parse_cache(struct json_object *json, struct namespace_config *config,
		       struct error **errp)
{
	static const char *const modes[] = {
		[BLOCK_CACHE_NONE] = "none",
		[BLOCK_CACHE_WRITEBACK] = "writeback",
		[BLOCK_CACHE_WRITETHROUGH] = "writethrough",
	};
	const char *name = json_string_or(json, "cache", "none");
	size_t i;

	for (i = 0; i < ARRAY_SIZE(modes); i++)
		if (string_equal(name, modes[i])) {
			config->cache = i;
			return 0;
		}
	return error_set(errp, EINVAL, _("\"%s\" is not a cache mode"), name);
}

int namespace_config_parse(struct json_object *json, struct namespace_config *ret,
			   struct error **errp)
{
	struct namespace_config config = {};
	uint64_t number;

	if (json_u64(json, "nsid", &number, errp) < 0)
		return -EINVAL;
	if (number == 0 || number > MAX_NSID)
		return error_set(errp, EINVAL, _("%llu cannot be a namespace's number"),
				 (unsigned long long)number);
	config.nsid = number;
	config.target = json_string_or(json, "target", "");
	if (parse_source(json, &config, errp) < 0 || parse_cache(json, &config, errp) < 0 ||
	    parse_number(json, "capacity", 0, INT64_MAX, &config.capacity, errp) < 0 ||
	    parse_number(json, "block_size", 0, 4096, &config.block_size, errp) < 0 ||
	    parse_number(json, "allocation", 0, INT64_MAX, &config.allocation, errp) < 0)
		return -EINVAL;
	config.read_only = json_bool_or(json, "read_only", false);
	config.shareable = json_bool_or(json, "shareable", false);
	config.reservations = json_string_or(json, "reservations", NULL);
	config.persistence = json_string_or(json, "persistence", NULL);
	*ret = config;
	return 0;
}

struct json_object *namespace_config_for_controller(struct json_object *json)
{
	struct json_object *copy = json_object_new_object();

	json_object_object_foreach(json, key, value)
	{
		if (!string_equal(key, "path") && !string_equal(key, "reservations") &&
		    !string_equal(key, "persistence"))
			json_add(copy, key, json_object_get(value));
	}
	/* Its memory is the keeper's, so that it outlives the controller: a file without a name. */
	if (string_equal(json_string_or(json, "type", ""), "memory")) {
		json_add_string(copy, "type", "file");
		json_add_string(copy, "cache", "writeback");
		json_add_bool(copy, "in_memory", true);
	}
	return copy;
}
