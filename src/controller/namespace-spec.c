// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/namespace-spec.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#include "base/i18n.h"
#include "base/options.h"
#include "block/fault.h"

static const char *const type_names[] = {
	[NAMESPACE_FILE] = "file", [NAMESPACE_BLOCK] = "block", [NAMESPACE_MEMORY] = "memory",
	[NAMESPACE_NULL] = "null", [NAMESPACE_FAULT] = "fault",
};

static const char *const cache_names[] = {
	[BLOCK_CACHE_NONE] = "none",
	[BLOCK_CACHE_WRITEBACK] = "writeback",
	[BLOCK_CACHE_WRITETHROUGH] = "writethrough",
};

static const char *const policy_names[] = {
	[NVME_ERROR_REPORT] = "report",
	[NVME_ERROR_STOP] = "stop",
	[NVME_ERROR_ENOSPACE] = "enospace",
};

/* libvirt's, of <iotune>; with _max behind them: the burst. */
static const char *const limit_names[] = {
	[NVME_LIMIT_TOTAL_BYTES] = "total_bytes_sec",
	[NVME_LIMIT_READ_BYTES] = "read_bytes_sec",
	[NVME_LIMIT_WRITE_BYTES] = "write_bytes_sec",
	[NVME_LIMIT_TOTAL_COMMANDS] = "total_iops_sec",
	[NVME_LIMIT_READ_COMMANDS] = "read_iops_sec",
	[NVME_LIMIT_WRITE_COMMANDS] = "write_iops_sec",
};

static int find_name(const char *const *names, size_t count, const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
			return i;
	return -EINVAL;
}

bool namespace_spec_has_image(const struct namespace_spec *spec)
{
	return spec->type == NAMESPACE_FILE || spec->type == NAMESPACE_BLOCK ||
	       spec->type == NAMESPACE_FAULT;
}

static int parse_cache(struct namespace_spec *spec, const char *value, struct error **errp)
{
	int cache = find_name(cache_names, ARRAY_SIZE(cache_names), value, strlen(value));

	if (cache < 0)
		return error_set(errp, EINVAL, _("cache=%s: use none, writeback or writethrough"),
				 value);
	spec->file.cache = cache;
	return 0;
}

static int parse_block_size(struct namespace_spec *spec, const char *value, struct error **errp)
{
	if (string_equal(value, "512"))
		spec->nvme.block_size = 512;
	else if (string_equal(value, "4096"))
		spec->nvme.block_size = 4096;
	else
		return error_set(errp, EINVAL, _("block-size=%s: use 512 or 4096"), value);
	return 0;
}

static int parse_setting(struct namespace_spec *spec, const char *setting, struct error **errp)
{
	if (string_has_prefix(setting, "block-size="))
		return parse_block_size(spec, setting + strlen("block-size="), errp);
	if (string_equal(setting, "read-only")) {
		spec->nvme.read_only = spec->file.read_only = true;
		return 0;
	}
	if (namespace_spec_has_image(spec)) {
		if (string_has_prefix(setting, "cache="))
			return parse_cache(spec, setting + strlen("cache="), errp);
		if (string_equal(setting, "discard=unmap")) {
			spec->file.discard = true;
			return 0;
		}
		if (string_has_prefix(setting, "reservations=")) {
			strcpy(spec->reservations_path, setting + strlen("reservations="));
			spec->reservations = true;
			return 0;
		}
		if (string_has_prefix(setting, "persistence=")) {
			strcpy(spec->persistence_path, setting + strlen("persistence="));
			spec->persistence = true;
			return 0;
		}
		if (string_equal(setting, "shareable")) {
			spec->nvme.shareable = true;
			return 0;
		}
	}
	if (spec->type == NAMESPACE_FAULT) {
		if (string_has_prefix(setting, "control=")) {
			strcpy(spec->control, setting + strlen("control="));
			return 0;
		}
		if (string_has_prefix(setting, "stable=")) {
			strcpy(spec->stable, setting + strlen("stable="));
			return 0;
		}
	}
	return error_set(errp, EINVAL, _("a namespace of type %s knows no \"%s\""),
			 type_names[spec->type], setting);
}

/*
 * The next piece of a list with commas, in which two commas are one in a piece. Returns the rest; NULL
 * when this was the last piece. @piece has room for all of @text.
 */
static const char *next_piece(const char *text, char *piece)
{
	for (; *text; *piece++ = *text++) {
		if (*text == ',' && *++text != ',') {
			*piece = 0;
			return text;
		}
	}
	*piece = 0;
	return NULL;
}

int namespace_spec_parse(const char *text, struct namespace_spec *ret, struct error **errp)
{
	const char *colon = strchr(text, ':'), *rest;
	char piece[sizeof(ret->path)];
	int type, r;

	*ret = (struct namespace_spec){};
	type = colon ? find_name(type_names, ARRAY_SIZE(type_names), text, colon - text) : -EINVAL;
	if (type < 0)
		return error_set(errp, EINVAL,
				 _("namespace \"%s\": use file:PATH, block:PATH, memory:SIZE or "
				   "null:SIZE"),
				 text);
	ret->type = type;
	if (strlen(text) >= sizeof(piece))
		return error_set(errp, EINVAL, _("a namespace of more than %zu characters"),
				 sizeof(piece) - 1);
	rest = next_piece(colon + 1, piece);
	if (namespace_spec_has_image(ret)) {
		if (!piece[0])
			return error_set(errp, EINVAL, _("namespace \"%s\": the path is missing"),
					 text);
		memcpy(ret->path, piece, sizeof(piece));
	} else {
		r = options_parse_size(piece, &ret->bytes, errp);
		if (r < 0)
			return r;
	}
	while (rest) {
		rest = next_piece(rest, piece);
		r = parse_setting(ret, piece, errp);
		if (r < 0) {
			error_prefix(errp, _("namespace \"%s\""), text);
			return r;
		}
	}
	if (ret->type == NAMESPACE_FAULT && !ret->control[0])
		return error_set(errp, EINVAL, _("namespace \"%s\": control= is missing"), text);
	return 0;
}

/* Two hexadecimal digits a byte, dashes allowed; a missing one is all zero. */
static int parse_id(struct json_object *object, const char *key, uint8_t *id, unsigned bytes,
		    struct error **errp)
{
	const char *text = json_string_or(object, key, NULL), *c;
	unsigned digits = 0;

	memset(id, 0, bytes);
	for (c = text; c && *c; c++) {
		if (*c == '-')
			continue;
		if (!isxdigit((unsigned char)*c) || digits == 2 * bytes)
			break;
		id[digits / 2] = id[digits / 2] << 4 |
				 (isdigit((unsigned char)*c) ? *c - '0' : (*c | 0x20) - 'a' + 10);
		digits++;
	}
	if (text && (*c || digits != 2 * bytes))
		return error_set(errp, EINVAL, "\"%s\" is not %u hexadecimal digits: %s", key,
				 2 * bytes, text);
	return 0;
}

void namespace_spec_limits(struct json_object *iotune, struct nvme_limits *ret)
{
	char max[40];
	unsigned i;

	for (i = 0; i < NVME_LIMITS; i++) {
		snprintf(max, sizeof(max), "%s_max", limit_names[i]);
		ret->limit[i].rate = json_u64_or(iotune, limit_names[i], 0);
		ret->limit[i].max = json_u64_or(iotune, max, 0);
	}
}

int namespace_spec_from_json(struct json_object *object, struct namespace_spec *ret,
			     struct error **errp)
{
	const char *type = json_string(object, "type", errp);
	const char *cache = json_string_or(object, "cache", "none"), *policy;
	uint64_t nsid;
	int r;

	*ret = (struct namespace_spec){};
	if (!type)
		return -EINVAL;
	r = find_name(type_names, ARRAY_SIZE(type_names), type, strlen(type));
	if (r < 0)
		return error_set(errp, EINVAL, "unknown type of namespace \"%s\"", type);
	ret->type = r;
	r = json_u64(object, "nsid", &nsid, errp);
	if (r < 0)
		return r;
	if (nsid > UINT32_MAX)
		return error_set(errp, EINVAL, "there is no nsid %llu", (unsigned long long)nsid);
	ret->nvme.nsid = nsid;
	r = parse_cache(ret, cache, errp);
	if (r < 0)
		return r;
	r = parse_id(object, "uuid", ret->nvme.uuid, sizeof(ret->nvme.uuid), errp);
	if (r == 0)
		r = parse_id(object, "nguid", ret->nvme.nguid, sizeof(ret->nvme.nguid), errp);
	if (r == 0)
		r = parse_id(object, "eui64", ret->nvme.eui64, sizeof(ret->nvme.eui64), errp);
	if (r < 0)
		return r;
	ret->bytes = json_u64_or(object, "bytes", 0);
	ret->limit = json_u64_or(object, "limit", 0);
	ret->nvme.block_size = MIN(json_u64_or(object, "block_size", 0), (uint64_t)UINT32_MAX);
	ret->nvme.next_block_size =
		MIN(json_u64_or(object, "next_block_size", 0), (uint64_t)UINT32_MAX);
	ret->nvme.read_only = ret->file.read_only = json_bool_or(object, "read_only", false);
	ret->file.discard = json_bool_or(object, "discard", false);
	ret->file.in_memory = json_bool_or(object, "in_memory", false);
	ret->nvme.shareable = json_bool_or(object, "shareable", false);
	ret->reservations = json_bool_or(object, "reservations", false);
	ret->persistence = json_bool_or(object, "persistence", false);
	policy = json_string_or(object, "error_policy", "report");
	r = find_name(policy_names, ARRAY_SIZE(policy_names), policy, strlen(policy));
	if (r < 0)
		return error_set(errp, EINVAL, "unknown error policy \"%s\"", policy);
	ret->nvme.error_policy = r;
	namespace_spec_limits(json_child(object, "iotune", json_type_object), &ret->nvme.limits);
	return 0;
}

static bool judge_fds(const struct namespace_spec *spec, size_t fd_count)
{
	if (spec->type == NAMESPACE_FAULT)
		return fd_count == 2 || fd_count == 3;
	return fd_count == namespace_spec_has_image(spec);
}

struct block *namespace_spec_open(const struct namespace_spec *spec, int *fds, size_t fd_count,
				  struct error **errp)
{
	struct block *block = NULL;

	if (!judge_fds(spec, fd_count)) {
		for (size_t i = 0; i < fd_count; i++)
			close(steal_fd(&fds[i]));
		error_set(errp, EINVAL, "a namespace of type %s comes with %zu descriptors",
			  type_names[spec->type], fd_count);
		return NULL;
	}
	switch (spec->type) {
	case NAMESPACE_FILE:
	case NAMESPACE_BLOCK:
		block = block_open_file(steal_fd(&fds[0]), &spec->file, errp);
		break;
	case NAMESPACE_FAULT:
		block = block_open_fault(steal_fd(&fds[0]), &spec->file, steal_fd(&fds[1]),
					 fd_count == 3 ? steal_fd(&fds[2]) : -1, errp);
		break;
	case NAMESPACE_MEMORY:
		block = block_open_memory(spec->bytes, errp);
		break;
	case NAMESPACE_NULL:
		block = block_open_null(spec->bytes);
		if (!block)
			error_set(errp, ENOMEM, _("out of memory"));
		break;
	}
	if (block && spec->limit) {
		int r = block_refresh(block, spec->limit);

		if (r < 0) {
			error_set_errno(errp, -r, _("cannot limit the image"));
			block_close(block);
			return NULL;
		}
	}
	return block;
}
