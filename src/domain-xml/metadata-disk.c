// SPDX-License-Identifier: LGPL-2.1-or-later
#include <ctype.h>
#include <errno.h>

#include "base/i18n.h"
#include "domain-xml/parse.h"
#include "domain-xml/size.h"
#include "domain-xml/words.h"

/*
 * <disk>, from the tree to the struct.
 */

static int parse_driver(xmlNode *node, void *target, struct error **errp)
{
	struct metadata_disk *disk = target;
	unsigned cache = 0, io = 0, discard = 0, policy = 0;
	const char *type = xml_attribute(node, "type");
	const char *name = xml_attribute(node, "name");
	int r;

	r = parse_attributes(
		node, PARSE_ATTRIBUTES("name", "type", "cache", "io", "discard", "error_policy"),
		errp);
	if (r < 0)
		return r;
	if (name && strcmp(name, "virtnvme") != 0)
		return xml_error(errp, node, EINVAL,
				 _("name=\"%s\" is not supported: use virtnvme"), name);
	if (type && strcmp(type, "raw") != 0)
		return xml_error(errp, node, EINVAL,
				 _("type=\"%s\" is not supported: use raw (qemu-img convert)"),
				 type);
	if ((r = parse_word(node, "cache", words_cache, &cache, errp)) < 0 ||
	    (r = parse_word(node, "io", words_io, &io, errp)) < 0 ||
	    (r = parse_word(node, "discard", words_discard, &discard, errp)) < 0 ||
	    (r = parse_word(node, "error_policy", words_error_policy, &policy, errp)) < 0)
		return r;
	disk->cache = cache;
	disk->io = io;
	disk->discard = discard;
	disk->error_policy = policy;
	return parse_children(node, parse_no_children, NULL, errp);
}

static int parse_source(xmlNode *node, void *target, struct error **errp)
{
	struct metadata_disk *disk = target;
	const char *path = disk->type == METADATA_DISK_BLOCK ? "dev" : "file";
	int r;

	switch (disk->type) {
	case METADATA_DISK_FILE:
	case METADATA_DISK_BLOCK:
		r = parse_attributes(node, PARSE_ATTRIBUTES(path), errp);
		if (r < 0 || (r = parse_string(node, path, &disk->source_path, errp)) < 0)
			return r;
		if (disk->source_path[0] != '/')
			return xml_error(errp, node, EINVAL, _("%s=\"%s\" is not an absolute path"),
					 path, disk->source_path);
		break;
	case METADATA_DISK_VOLUME:
		r = parse_attributes(node, PARSE_ATTRIBUTES("pool", "volume"), errp);
		if (r < 0 || (r = parse_string(node, "pool", &disk->source_pool, errp)) < 0 ||
		    (r = parse_string(node, "volume", &disk->source_volume, errp)) < 0)
			return r;
		break;
	case METADATA_DISK_MEMORY:
		return xml_error(errp, node, EINVAL,
				 _("a disk of type memory has no source, only a <capacity>"));
	}
	return parse_children(node, parse_no_children, NULL, errp);
}

int metadata_parse_target(const char *target, unsigned *ret_index, unsigned *ret_nsid,
			  struct error **errp)
{
	unsigned long index, nsid;
	_cleanup_free_ char *controller = NULL;
	const char *end;

	if (!string_has_prefix(target, "nvme") || !isdigit((unsigned char)target[4]))
		return error_set(errp, EINVAL, _("dev=\"%s\" is not of the form nvmeXnY"), target);
	end = target + 4 + strspn(target + 4, "0123456789");
	if (*end != 'n' || !end[1])
		return error_set(errp, EINVAL,
				 _("dev=\"%s\" has no namespace number: the first is %.*sn1"),
				 target, (int)(end - target), target);
	/* nvme00n1 would be a second name of nvme0n1. */
	if (end[1 + strspn(end + 1, "0123456789")] || (target[4] == '0' && end != target + 5) ||
	    (end[1] == '0' && end[2]))
		return error_set(errp, EINVAL, _("dev=\"%s\" is not of the form nvmeXnY"), target);
	controller = strndup(target + 4, (size_t)(end - target - 4));
	if (!controller)
		return error_set_errno(errp, ENOMEM, "metadata");
	if (xml_unsigned(controller, METADATA_MAX_CONTROLLERS - 1, &index) < 0)
		return error_set(errp, EINVAL,
				 _("dev=\"%s\": controllers are numbered from 0 to %d"), target,
				 METADATA_MAX_CONTROLLERS - 1);
	if (xml_unsigned(end + 1, METADATA_MAX_DISKS, &nsid) < 0 || nsid < 1)
		return error_set(errp, EINVAL,
				 _("dev=\"%s\": namespaces are numbered from 1 to %d"), target,
				 METADATA_MAX_DISKS);
	*ret_index = (unsigned)index;
	*ret_nsid = (unsigned)nsid;
	return 0;
}

/* Only the form: where it belongs was judged before the disk was made. */
static int parse_target(xmlNode *node, void *target, struct error **errp)
{
	const char *bus = xml_attribute(node, "bus");
	int r = parse_attributes(node, PARSE_ATTRIBUTES("dev", "bus"), errp);

	if (r < 0)
		return r;
	if (bus && strcmp(bus, "nvme") != 0)
		return xml_error(errp, node, EINVAL, _("bus=\"%s\" is not supported: use nvme"),
				 bus);
	return parse_children(node, parse_no_children, NULL, errp);
}

static int parse_blockio(xmlNode *node, void *target, struct error **errp)
{
	struct metadata_disk *disk = target;
	const char *size = xml_attribute(node, "logical_block_size");
	int r = parse_attributes(node, PARSE_ATTRIBUTES("logical_block_size"), errp);

	if (r < 0)
		return r;
	if (!size)
		return parse_missing(node, "logical_block_size", errp);
	if (!strcmp(size, "512"))
		disk->logical_block_size = 512;
	else if (!strcmp(size, "4096"))
		disk->logical_block_size = 4096;
	else
		return xml_error(errp, node, EINVAL,
				 _("logical_block_size=\"%s\" is not supported: use 512 or 4096"),
				 size);
	return parse_children(node, parse_no_children, NULL, errp);
}

static int parse_boot(xmlNode *node, void *target, struct error **errp)
{
	struct metadata_disk *disk = target;
	int r = parse_attributes(node, PARSE_ATTRIBUTES("order"), errp);

	if (r < 0 || (r = parse_number(node, "order", 1, 9999, &disk->boot_order, errp)) < 0)
		return r;
	if (!disk->boot_order)
		return parse_missing(node, "order", errp);
	return parse_children(node, parse_no_children, NULL, errp);
}

static int parse_bytes(xmlNode *node, uint64_t *ret, struct error **errp)
{
	_cleanup_free_ char *text = NULL;
	int r = parse_text(node, PARSE_ATTRIBUTES("unit"), &text, errp);

	if (r < 0)
		return r;
	r = size_parse(text, xml_attribute(node, "unit"), ret, errp);
	if (r < 0)
		xml_error_prefix(errp, node);
	return r;
}

static int parse_capacity(xmlNode *node, void *target, struct error **errp)
{
	struct metadata_disk *disk = target;

	if (disk->type == METADATA_DISK_BLOCK)
		return xml_error(errp, node, EINVAL,
				 _("a block device has its own size: leave <capacity> out"));
	return parse_bytes(node, &disk->capacity, errp);
}

static int parse_allocation(xmlNode *node, void *target, struct error **errp)
{
	struct metadata_disk *disk = target;

	disk->has_allocation = true;
	return parse_bytes(node, &disk->allocation, errp);
}

static int parse_readonly(xmlNode *node, void *target, struct error **errp)
{
	((struct metadata_disk *)target)->readonly = true;
	return parse_empty(node, errp);
}

static int parse_shareable(xmlNode *node, void *target, struct error **errp)
{
	((struct metadata_disk *)target)->shareable = true;
	return parse_empty(node, errp);
}

static int parse_limit(xmlNode *node, struct metadata_iotune *iotune,
		       const struct words_limit *limit, struct error **errp)
{
	_cleanup_free_ char *text = NULL;
	unsigned long value;
	int r = parse_text(node, PARSE_NO_ATTRIBUTES, &text, errp);

	if (r < 0)
		return r;
	if (xml_unsigned(text, 1000000000000000UL, &value) < 0)
		return xml_error(errp, node, EINVAL, _("\"%s\" is not a number"), text);
	*words_limit(iotune, limit) = value;
	return 0;
}

static int check_iotune(const xmlNode *node, struct metadata_iotune *iotune, struct error **errp)
{
	const struct words_limit *limit, *burst;

	if ((iotune->total_bytes_sec && (iotune->read_bytes_sec || iotune->write_bytes_sec)) ||
	    (iotune->total_iops_sec && (iotune->read_iops_sec || iotune->write_iops_sec)))
		return xml_error(errp, node, EINVAL,
				 _("a total cannot be given beside read or write"));
	/* The second half of the table holds the bursts of the first, in the same order. */
	for (limit = words_iotune, burst = limit + 6; burst->name; limit++, burst++)
		if (*words_limit(iotune, burst) &&
		    (!*words_limit(iotune, limit) ||
		     *words_limit(iotune, burst) < *words_limit(iotune, limit)))
			return xml_error(errp, node, EINVAL, _("%s must not be below %s"),
					 burst->name, limit->name);
	return 0;
}

static int parse_iotune(xmlNode *node, void *target, struct error **errp)
{
	struct metadata_disk *disk = target;
	const struct words_limit *limit;
	xmlNode *child;
	int r = parse_attributes(node, PARSE_NO_ATTRIBUTES, errp);

	if (r < 0)
		return r;
	disk->has_iotune = true;
	for (child = node->children; child; child = child->next) {
		if (child->type != XML_ELEMENT_NODE)
			continue;
		for (limit = words_iotune; limit->name; limit++)
			if (xmlStrEqual(child->name, BAD_CAST limit->name))
				break;
		if (!limit->name || !parse_is_ours(child))
			return xml_error(errp, child, EINVAL, _("unknown element"));
		if (parse_seen_before(child))
			return xml_error(errp, child, EINVAL, _("given more than once"));
		r = parse_limit(child, &disk->iotune, limit, errp);
		if (r < 0)
			return r;
	}
	return check_iotune(node, &disk->iotune, errp);
}

/* Hexadecimal digits, with dashes anywhere between bytes; never all zero: that means "none" in
 * NVMe. */
static int parse_hex(xmlNode *node, uint8_t *ret, size_t bytes, struct error **errp)
{
	_cleanup_free_ char *text = NULL;
	size_t digits = 0;
	uint8_t any = 0;
	const char *p;
	int r = parse_text(node, PARSE_NO_ATTRIBUTES, &text, errp);

	if (r < 0)
		return r;
	for (p = text; *p; p++) {
		unsigned value;

		if (*p == '-' && bytes == 16 && digits % 2 == 0)
			continue;
		if (!isxdigit((unsigned char)*p) || digits == bytes * 2) {
			digits = 0;
			break;
		}
		value = isdigit((unsigned char)*p)
				? (unsigned)(*p - '0')
				: (unsigned)(tolower((unsigned char)*p) - 'a') + 10;
		ret[digits / 2] = (uint8_t)(ret[digits / 2] << 4 | value);
		any |= (uint8_t)value;
		digits++;
	}
	if (digits != bytes * 2 || !any)
		return xml_error(errp, node, EINVAL,
				 _("\"%s\" is not an id of %zu hexadecimal digits"), text,
				 bytes * 2);
	return 0;
}

static int parse_uuid(xmlNode *node, void *target, struct error **errp)
{
	struct metadata_disk *disk = target;

	disk->has_uuid = true;
	return parse_hex(node, disk->uuid, sizeof(disk->uuid), errp);
}

static int parse_nguid(xmlNode *node, void *target, struct error **errp)
{
	struct metadata_disk *disk = target;

	disk->has_nguid = true;
	return parse_hex(node, disk->nguid, sizeof(disk->nguid), errp);
}

/* libvirt's word for what NVMe calls EUI64. */
static int parse_wwn(xmlNode *node, void *target, struct error **errp)
{
	struct metadata_disk *disk = target;

	disk->has_eui64 = true;
	return parse_hex(node, disk->eui64, sizeof(disk->eui64), errp);
}

static int parse_disk_live(xmlNode *node, void *target, struct error **errp)
{
	struct metadata_disk *disk = target;
	const char *reason = xml_attribute(node, "reason");
	unsigned state = METADATA_STATE_NONE;
	int r = parse_attributes(node, PARSE_ATTRIBUTES("state", "reason"), errp);

	if (r < 0 || (r = parse_word(node, "state", words_state, &state, errp)) < 0)
		return r;
	disk->state = state;
	if (reason && state == METADATA_STATE_FAILED) {
		disk->reason = strdup(reason);
		if (!disk->reason)
			return error_set_errno(errp, ENOMEM, "metadata");
	}
	return parse_children(node, parse_no_children, NULL, errp);
}

static int check_disk(const xmlNode *node, const struct metadata_disk *disk, struct error **errp)
{
	const xmlNode *capacity = parse_child(node, "capacity");
	unsigned block = disk->logical_block_size ? disk->logical_block_size : 512;

	if (capacity && (!disk->capacity || disk->capacity % block))
		return xml_error(errp, capacity, EINVAL,
				 _("%llu bytes is not a multiple of the block size %u"),
				 (unsigned long long)disk->capacity, block);
	if (disk->type == METADATA_DISK_MEMORY) {
		if (!capacity)
			return xml_error(errp, node, EINVAL,
					 _("a disk of type memory needs a <capacity>"));
	} else if (!disk->source_path && !disk->source_volume) {
		return xml_error(errp, node, EINVAL, _("<source> is missing"));
	}
	if (disk->has_allocation && !capacity)
		return xml_error(errp, node, EINVAL, _("<allocation> needs a <capacity>"));
	if (disk->has_allocation && disk->allocation > disk->capacity)
		return xml_error(errp, node, EINVAL, _("<allocation> is more than <capacity>"));
	return 0;
}

int parse_disk_body(xmlNode *node, struct metadata_disk *disk, struct error **errp)
{
	static const struct parse_rule rules[] = {
		{ "driver", false, parse_driver },
		{ "source", false, parse_source },
		{ "target", false, parse_target },
		{ "blockio", false, parse_blockio },
		{ "boot", false, parse_boot },
		{ "capacity", false, parse_capacity },
		{ "allocation", false, parse_allocation },
		{ "readonly", false, parse_readonly },
		{ "shareable", false, parse_shareable },
		{ "iotune", false, parse_iotune },
		{ "uuid", false, parse_uuid },
		{ "nguid", false, parse_nguid },
		{ "wwn", false, parse_wwn },
		{ "live", false, parse_disk_live },
		{ NULL },
	};
	const char *device = xml_attribute(node, "device");
	unsigned type = METADATA_DISK_FILE;
	int r = parse_attributes(node, PARSE_ATTRIBUTES("type", "device"), errp);

	if (r < 0)
		return r;
	if (!xml_attribute(node, "type"))
		return parse_missing(node, "type", errp);
	if (device && strcmp(device, "disk") != 0)
		return xml_error(errp, node, EINVAL, _("device=\"%s\" is not supported: use disk"),
				 device);
	if ((r = parse_word(node, "type", words_disk_type, &type, errp)) < 0)
		return r;
	disk->type = type;
	r = parse_children(node, rules, disk, errp);
	return r < 0 ? r : check_disk(node, disk, errp);
}

int parse_disk_target(const xmlNode *disk, unsigned *ret_index, unsigned *ret_nsid,
		      struct error **errp)
{
	const xmlNode *target = parse_child(disk, "target");
	const char *dev = xml_attribute(target, "dev");
	int r;

	if (!target)
		return xml_error(errp, disk, EINVAL, _("<target> is missing"));
	if (!dev)
		return parse_missing(target, "dev", errp);
	r = metadata_parse_target(dev, ret_index, ret_nsid, errp);
	if (r < 0)
		xml_error_prefix(errp, target);
	return r;
}
