// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>

#include "base/i18n.h"
#include "base/options.h"
#include "daemon/definition.h"
#include "daemon/keeper-status.h"
#include "daemon/keeper.h"
#include "daemon/live.h"
#include "daemon/request.h"
#include "daemon/requests.h"
#include "daemon/volumes.h"

/* The words of the XML are its parser's; here they come as arguments. */
static int find_word(const char *what, const char *word, const char *(*name)(unsigned value),
		     unsigned count, unsigned *ret, struct error **errp)
{
	unsigned i;

	for (i = 0; i < count; i++)
		if (*name(i) && string_equal(name(i), word)) {
			*ret = i;
			return 0;
		}
	return error_set(errp, EINVAL, _("\"%s\" is not a %s"), word, what);
}

static const char *type_name(unsigned value)
{
	return metadata_disk_type_name(value);
}

static const char *cache_name(unsigned value)
{
	return metadata_cache_name(value);
}

static const char *io_name(unsigned value)
{
	return metadata_io_name(value);
}

static const char *discard_name(unsigned value)
{
	return metadata_discard_name(value);
}

static int read_words(struct json_object *arguments, struct metadata_disk *disk,
		      struct error **errp)
{
	unsigned type = METADATA_DISK_FILE, cache = 0, io = 0, discard = 0;
	const struct {
		const char *key, *what;
		const char *(*name)(unsigned value);
		unsigned count, *target;
	} words[] = {
		{ "type", _("disk type"), type_name, METADATA_DISK_MEMORY + 1, &type },
		{ "cache", _("cache mode"), cache_name, METADATA_CACHE_WRITETHROUGH + 1, &cache },
		{ "io", _("io mode"), io_name, METADATA_IO_THREADS + 1, &io },
		{ "discard", _("discard mode"), discard_name, METADATA_DISCARD_UNMAP + 1,
		  &discard },
	};
	size_t i;
	int r;

	for (i = 0; i < ARRAY_SIZE(words); i++) {
		const char *word = json_string_or(arguments, words[i].key, NULL);

		if (!word)
			continue;
		r = find_word(words[i].what, word, words[i].name, words[i].count, words[i].target,
			      errp);
		if (r < 0)
			return r;
	}
	disk->type = type;
	disk->cache = cache;
	disk->io = io;
	disk->discard = discard;
	return 0;
}

static int read_source(const char *source, struct metadata_disk *disk, struct error **errp)
{
	const char *slash = strchr(source, '/');

	switch (disk->type) {
	case METADATA_DISK_FILE:
	case METADATA_DISK_BLOCK:
		if (*source != '/')
			return error_set(errp, EINVAL, _("\"%s\" is not an absolute path"), source);
		disk->source_path = strdup(source);
		break;
	case METADATA_DISK_VOLUME:
		if (!slash || slash == source || !slash[1])
			return error_set(errp, EINVAL, _("\"%s\" is not POOL/VOLUME"), source);
		disk->source_pool = strndup(source, slash - source);
		disk->source_volume = strdup(slash + 1);
		break;
	case METADATA_DISK_MEMORY:
		break;
	}
	return 0;
}

/* What the user asks for, added to a domain's metadata. */
static int add_disk(struct json_object *arguments, struct metadata *metadata, unsigned index,
		    unsigned nsid, struct error **errp)
{
	struct metadata_controller *controller = metadata_controller(metadata, index);
	const char *serial = json_string_or(arguments, "serial", NULL);
	struct metadata_disk *disk;
	int r;

	if (!controller) {
		controller = metadata_add_controller(metadata, index, errp);
		if (controller && serial)
			controller->serial = strdup(serial);
	} else if (serial && !string_equal(serial, controller->serial)) {
		return error_set(errp, EINVAL,
				 _("controller %u is there already and keeps its serial"), index);
	}
	disk = controller ? metadata_add_disk(controller, nsid, errp) : NULL;
	if (!disk)
		return -EEXIST;
	r = read_words(arguments, disk, errp);
	if (r == 0)
		r = read_source(json_string_or(arguments, "source", ""), disk, errp);
	if (r < 0)
		return r;
	disk->capacity = json_u64_or(arguments, "capacity", 0);
	if (disk->type == METADATA_DISK_MEMORY && !disk->capacity)
		r = options_parse_size(json_string_or(arguments, "source", ""), &disk->capacity,
				       errp);
	disk->has_allocation = json_child(arguments, "allocation", json_type_int) != NULL;
	disk->allocation = json_u64_or(arguments, "allocation", 0);
	disk->logical_block_size = json_u64_or(arguments, "block_size", 0);
	disk->readonly = json_bool_or(arguments, "read_only", false);
	disk->shareable = json_bool_or(arguments, "shareable", false);
	return r;
}

/* The parser is the judge of what a disk may be: let it read what we would write. */
static int check_metadata(const struct metadata *metadata, struct error **errp)
{
	_cleanup_metadata_ struct metadata *parsed = NULL;
	_cleanup_free_ char *text = metadata_format(metadata, errp);

	return text ? metadata_parse(text, strlen(text), &parsed, errp) : -ENOMEM;
}

static int attach_live(struct request_domain *target, struct json_object *arguments, unsigned index,
		       unsigned nsid, struct error **errp)
{
	_cleanup_metadata_ struct metadata *wish = live_metadata(target->domain, target->dom, errp);
	int r;

	if (!wish)
		return -EIO;
	r = add_disk(arguments, wish, index, nsid, errp);
	if (r == 0)
		r = check_metadata(wish, errp);
	if (r < 0)
		return r;
	return live_attach(target->domain, target->dom, steal_pointer(wish), index, nsid, errp);
}

/* What the next start would refuse is refused now. A volume is made by looking for it. */
static int check_source(const struct metadata_disk *disk, struct error **errp)
{
	_cleanup_free_ char *path = NULL;
	bool block;

	if (disk->type == METADATA_DISK_VOLUME)
		return volumes_path(disk, &path, &block, errp);
	if (disk->type == METADATA_DISK_MEMORY || disk->capacity ||
	    access(disk->source_path, F_OK) == 0)
		return 0;
	if (disk->type == METADATA_DISK_FILE && errno == ENOENT)
		return error_set(errp, ENOENT,
				 _("%s does not exist; create it, or give --capacity to have it "
				   "created"),
				 disk->source_path);
	return error_set_errno(errp, errno, "%s", disk->source_path);
}

static int attach_config(struct request_domain *target, struct json_object *arguments,
			 unsigned index, unsigned nsid, struct error **errp)
{
	_cleanup_metadata_ struct metadata *metadata = definition_metadata(target->dom, errp);
	int r;

	if (!metadata)
		return -EIO;
	r = add_disk(arguments, metadata, index, nsid, errp);
	if (r == 0)
		r = check_metadata(metadata, errp);
	if (r == 0)
		r = check_source(metadata_disk(metadata, index, nsid), errp);
	if (r < 0)
		return r;
	return definition_set_metadata(target->domain, target->dom, metadata, errp);
}

int request_attach_disk(struct json_object *arguments, struct json_object **ret_result,
			struct error **errp)
{
	const char *name = json_string_or(arguments, "target", "");
	_cleanup_request_domain_ struct request_domain target = {};
	unsigned index, nsid;
	bool live, config;
	int r;

	r = metadata_parse_target(name, &index, &nsid, errp);
	if (r == 0)
		r = request_domain_open(&target, json_string_or(arguments, "domain", ""), errp);
	if (r == 0)
		r = request_flags(&target, arguments, &live, &config, errp);
	if (r == 0 && live)
		r = live_check_idle(target.domain, target.dom, errp);
	/* The running domain first: it can say no for more reasons. */
	if (r == 0 && live)
		r = attach_live(&target, arguments, index, nsid, errp);
	if (r == 0 && config)
		r = attach_config(&target, arguments, index, nsid, errp);
	if (r < 0)
		return r;
	*ret_result = json_object_new_object();
	json_add_string(*ret_result, "target", name);
	json_add_u64(*ret_result, "controller", index);
	json_add_u64(*ret_result, "nsid", nsid);
	return 0;
}

/* Take a disk out of @metadata; what it was goes to @ret_disk where that is wanted. */
static int take_disk(struct metadata *metadata, unsigned index, unsigned nsid,
		     struct metadata **ret_before, struct error **errp)
{
	struct metadata_controller *controller = metadata_controller(metadata, index);

	if (!metadata_disk(metadata, index, nsid))
		return error_set(errp, ENOENT, _("the domain has no disk nvme%un%u"), index, nsid);
	if (!*ret_before)
		*ret_before = metadata_copy(metadata);
	metadata_remove_disk(controller, nsid);
	return 0;
}

static int detach_live(struct request_domain *target, unsigned index, unsigned nsid,
		       struct metadata **ret_before, struct error **errp)
{
	_cleanup_metadata_ struct metadata *wish = live_metadata(target->domain, target->dom, errp);
	_cleanup_json_ struct json_object *status = NULL;
	int r;

	if (!wish)
		return -EIO;
	r = take_disk(wish, index, nsid, ret_before, errp);
	if (r == 0)
		r = live_change(target->domain, target->dom, steal_pointer(wish), errp);
	if (r < 0)
		return r;
	if (keeper_call(target->domain->uuid, "status", NULL, &status, NULL) == 0 &&
	    keeper_status_namespace(keeper_status_controller(status, index), nsid))
		return error_set(errp, EBUSY, _("nvme%un%u could not be removed; see the log"),
				 index, nsid);
	return 0;
}

static int detach_config(struct request_domain *target, unsigned index, unsigned nsid,
			 struct metadata **ret_before, struct error **errp)
{
	_cleanup_metadata_ struct metadata *metadata = definition_metadata(target->dom, errp);
	int r;

	if (!metadata)
		return -EIO;
	r = take_disk(metadata, index, nsid, ret_before, errp);
	if (r < 0)
		return r;
	if (!metadata_controller(metadata, index)->disk_count)
		metadata_remove_controller(metadata, index);
	return definition_set_metadata(target->domain, target->dom, metadata, errp);
}

/* Not of another domain, nor of this one: --config leaves the guest its disk. */
static int check_unused(const struct metadata_disk *disk, struct error **errp)
{
	_cleanup_free_ char *path = NULL;
	struct source_list sources = {};
	bool block;
	int r;

	r = volumes_path(disk, &path, &block, errp);
	if (r < 0)
		return r;
	if (source_list_add(&sources, path, true, false) < 0)
		return error_set_errno(errp, ENOMEM, "%s", path);
	if (domain_check_source(NULL, &sources.items[0], NULL) < 0)
		r = error_set(errp, EBUSY,
			      _("%s is in use by a running domain; detach it there first"), path);
	source_list_clear(&sources);
	return r;
}

static int remove_storage(const struct metadata_disk *disk, struct error **errp)
{
	int r;

	if (disk->type == METADATA_DISK_MEMORY)
		return 0;
	if (disk->type == METADATA_DISK_BLOCK)
		return error_set(errp, EINVAL, _("%s is a device and cannot be deleted"),
				 disk->source_path);
	r = check_unused(disk, errp);
	if (r < 0)
		return r;
	if (disk->type == METADATA_DISK_VOLUME)
		return volumes_delete(disk->source_pool, disk->source_volume, errp);
	if (unlink(disk->source_path) < 0)
		return error_set_errno(errp, errno, "%s", disk->source_path);
	return 0;
}

int request_detach_disk(struct json_object *arguments, struct json_object **ret_result,
			struct error **errp)
{
	_cleanup_request_domain_ struct request_domain target = {};
	_cleanup_metadata_ struct metadata *before = NULL;
	const struct metadata_disk *disk;
	unsigned index, nsid;
	bool live, config;
	int r;

	r = metadata_parse_target(json_string_or(arguments, "target", ""), &index, &nsid, errp);
	if (r == 0)
		r = request_domain_open(&target, json_string_or(arguments, "domain", ""), errp);
	if (r == 0)
		r = request_flags(&target, arguments, &live, &config, errp);
	if (r == 0 && live)
		r = live_check_idle(target.domain, target.dom, errp);
	if (r == 0 && live)
		r = detach_live(&target, index, nsid, &before, errp);
	if (r == 0 && config)
		r = detach_config(&target, index, nsid, &before, errp);
	disk = before ? metadata_disk(before, index, nsid) : NULL;
	if (r == 0 && disk && json_bool_or(arguments, "remove_storage", false)) {
		r = remove_storage(disk, errp);
		if (r < 0)
			error_prefix(errp, _("the disk is detached, but not deleted"));
	}
	return r;
}
