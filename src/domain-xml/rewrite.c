// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain-xml/rewrite.h"

#include <errno.h>
#include <stdio.h>

#include <uuid/uuid.h>

#include "base/i18n.h"
#include "domain-xml/arrival.h"
#include "domain-xml/attach.h"
#include "domain-xml/boot.h"
#include "domain-xml/facts.h"
#include "domain-xml/layout.h"
#include "domain-xml/memory.h"
#include "domain-xml/parse.h"
#include "domain-xml/record.h"

/*
 * Theory of operation
 *
 * A domain's metadata says what it shall have; the rewrite makes the rest of the XML so that stock
 * libvirt starts a stock QEMU that has it:
 *  - memory that another process can map (memory.c);
 *  - one block of arguments in <qemu:commandline> (layout.c, objects.c, commandline.c);
 *  - room in the boot order (boot.c);
 *  - a record of what was changed outside the block (record.c).
 *
 * Each part compares before it changes, and says whether it did. libvirt writes its XML anew at
 * each define (order, quotes, indentation), so a comparison of texts would find a difference for
 * ever, and each define of ours raises the event that makes us look again. When nothing differs the
 * result is the input, byte for byte.
 *
 * The whole block is replaced or not at all. What is of use in the old one, the places on the PCI
 * bus, is read from it first: it is the only memory the rewrite has.
 */

static const struct rewrite_options no_options;

/* The tree while it is worked on. */
struct work {
	xmlDoc *doc;
	xmlNode *domain;
	xmlNode *devices; /* our element; NULL when there is none */
	struct metadata *metadata;
	const struct rewrite_options *options;
	char uuid[37];
	bool changed;
};

static void work_clear(struct work *work)
{
	xmlFreeDoc(work->doc);
	metadata_free(work->metadata);
}

static int work_open(struct work *work, const char *xml, size_t len,
		     const struct rewrite_options *options, struct error **errp)
{
	uuid_t uuid;
	int r;

	*work = (struct work){ .options = options ? options : &no_options };
	/* Also when the XML has one of its own: a slip is not to go unnoticed. */
	if (work->options->uuid && uuid_parse(work->options->uuid, uuid) < 0)
		return error_set(errp, EINVAL, _("\"%s\" is not a UUID"), work->options->uuid);
	r = xml_parse_domain(xml, len, NULL, &work->doc, errp);
	if (r < 0)
		return r;
	work->domain = xmlDocGetRootElement(work->doc);
	r = metadata_devices(work->domain, &work->devices, errp);
	return r < 0 ? r : metadata_parse_node(work->devices, &work->metadata, errp);
}

/* The result: the tree as text, or the input where nothing was changed. */
static int work_finish(struct work *work, const char *xml, size_t len, char **ret_xml,
		       bool *ret_changed, struct error **errp)
{
	char *text = work->changed ? xml_format(work->doc, xml) : strndup(xml, len);

	if (!text)
		return error_set_errno(errp, ENOMEM, "XML");
	*ret_xml = text;
	if (ret_changed)
		*ret_changed = work->changed;
	return 0;
}

/* The domain's UUID, which all paths are made of; given by the caller when the XML has none yet. */
static int need_uuid(struct work *work, struct error **errp)
{
	const char *given = work->options->uuid;
	xmlNode *node = xml_child(work->domain, NULL, "uuid");
	xmlNode *name = xml_child(work->domain, NULL, "name");
	uuid_t uuid;

	if (facts_uuid(work->domain, work->uuid))
		return 0;
	if (node)
		return xml_error(errp, node, EINVAL, _("this is not a UUID"));
	if (!given)
		return xml_error(errp, work->domain, EINVAL,
				 _("<uuid> is missing: add one (uuidgen), or define the domain "
				   "first"));
	uuid_parse(given, uuid);
	uuid_unparse_lower(uuid, work->uuid);
	node = xml_insert(work->domain, name ? xmlNextElementSibling(name) : NULL, NULL, "uuid");
	if (!node)
		return error_set_errno(errp, ENOMEM, "XML");
	xmlNodeSetContent(node, BAD_CAST work->uuid);
	work->changed = true;
	return 0;
}

/* What our devices cannot live with. */
static int refuse(const struct work *work, struct error **errp)
{
	const xmlNode *type = xml_find(work->domain, "os/type");
	bool foreign_vmstate;

	if (facts_machine(work->domain) == DOMAIN_XML_OTHER)
		return xml_error(
			errp, type ? type : work->domain, EINVAL,
			_("a machine of this type has no place for NVMe controllers: use q35 "
			  "or pc on x86_64"));
	if (facts_foreign_vmstate(work->domain, &foreign_vmstate) < 0)
		return error_set_errno(errp, ENOMEM, "XML");
	if (foreign_vmstate)
		return xml_error(
			errp, xml_child(work->domain, COMMANDLINE_NAMESPACE, "commandline"), EINVAL,
			_("QEMU takes one dbus-vmstate object only, and virtnvme needs it: "
			  "remove yours"));
	if (work->options->has_slirp_helper && facts_user_interface(work->domain))
		return xml_error(
			errp, xml_child(work->domain, NULL, "devices"), EINVAL,
			_("<interface type=\"user\"> with slirp-helper takes the dbus-vmstate "
			  "object that virtnvme needs: give it <backend type=\"passt\"/>"));
	return 0;
}

/* <live> is the record of a running domain: in a configuration it comes from a copied XML. */
static int strip_live(struct work *work, struct error **errp)
{
	xmlNode *controller, *disk, *live, *next;

	for (controller = xml_child(work->devices, METADATA_NAMESPACE, "controller"); controller;
	     controller = next) {
		next = xml_next(controller, METADATA_NAMESPACE, "controller");
		live = xml_child(controller, METADATA_NAMESPACE, "live");
		if (xml_attribute_is(live, "parked", "yes")) {
			xml_remove(controller);
			work->changed = true;
			continue;
		}
		if (live) {
			xml_remove(live);
			work->changed = true;
		}
		xml_for_each(disk, controller, METADATA_NAMESPACE, "disk")
		{
			live = xml_child(disk, METADATA_NAMESPACE, "live");
			if (live) {
				xml_remove(live);
				work->changed = true;
			}
		}
	}
	if (!work->changed)
		return 0;
	metadata_free(steal_pointer(work->metadata));
	return metadata_parse_node(work->devices, &work->metadata, errp);
}

/* The block as it has to be in @mode. */
static int compute_block(const struct work *work, enum rewrite_mode mode,
			 const struct commandline *commandline, struct commandline_block *ret,
			 struct error **errp)
{
	struct layout old, layout;
	struct pci_map map;
	int r;

	layout_read(commandline, &old);
	if (mode == REWRITE_INCOMING) {
		layout_incoming(work->metadata, &old, &layout);
	} else {
		pci_map_read(work->domain, &map);
		r = layout_config(&map, facts_machine(work->domain), work->metadata, &old, &layout,
				  errp);
		if (r < 0)
			return r;
	}
	r = layout_format(&layout, work->uuid, work->options, ret);
	return r < 0 ? error_set_errno(errp, -r, "XML") : 0;
}

static bool has_block(const struct commandline *commandline)
{
	static const struct commandline_block nothing;

	return commandline_differs(commandline, &nothing, NULL);
}

static int rewrite_block(struct work *work, struct error **errp)
{
	_cleanup_commandline_block_ struct commandline_block block = { .count = 0 };
	_cleanup_commandline_ struct commandline commandline = { 0 };
	int r = commandline_read(work->domain, &commandline);

	if (r < 0)
		return error_set_errno(errp, -r, "XML");
	/* A guest that comes from elsewhere has what its block says, whatever the metadata says. */
	if (work->metadata->controller_count ||
	    (work->options->mode == REWRITE_INCOMING && has_block(&commandline))) {
		r = need_uuid(work, errp);
		if (r < 0)
			return r;
		r = compute_block(work, work->options->mode, &commandline, &block, errp);
		if (r < 0)
			return r;
	}
	if (!commandline_differs(&commandline, &block, NULL))
		return 0;
	work->changed = true;
	r = commandline_replace(work->domain, &block);
	return r < 0 ? error_set_errno(errp, -r, "XML") : 0;
}

/* Of a guest that comes from elsewhere, as its block has it now. */
static int record_places(struct work *work, struct error **errp)
{
	_cleanup_commandline_ struct commandline commandline = { 0 };
	struct layout layout;
	int r = commandline_read(work->domain, &commandline);

	if (r == 0) {
		layout_read(&commandline, &layout);
		r = arrival_record(work->devices, &layout, &work->changed);
	}
	return r < 0 ? error_set_errno(errp, -r, "XML") : 0;
}

static int write_record(struct work *work, const struct record *before, const struct record *after,
			struct error **errp)
{
	int r;

	if (record_equal(before, after))
		return 0;
	work->changed = true;
	r = record_write(work->domain, after);
	return r < 0 ? error_set_errno(errp, -r, "XML") : 0;
}

/* Memory and boot order of a configuration. */
static int rewrite_config(struct work *work, struct error **errp)
{
	struct record before, after;
	int r;

	record_read(work->domain, &before);
	after = before;
	r = memory_share(work->domain, &after, &work->changed, errp);
	if (r < 0)
		return r;
	r = boot_arrange(work->domain, work->metadata, &after, &work->changed, errp);
	return r < 0 ? r : write_record(work, &before, &after, errp);
}

static int rewrite(struct work *work, struct error **errp)
{
	int r;

	if (work->options->mode == REWRITE_CONFIG && work->devices) {
		r = strip_live(work, errp);
		if (r < 0)
			return r;
	}
	if (work->metadata->controller_count) {
		r = refuse(work, errp);
		if (r == 0 && work->options->mode == REWRITE_CONFIG)
			r = rewrite_config(work, errp);
		if (r < 0)
			return r;
	}
	r = rewrite_block(work, errp);
	if (r == 0 && work->options->mode == REWRITE_INCOMING && work->devices)
		r = record_places(work, errp);
	return r;
}

int rewrite_document(xmlDoc *doc, const struct rewrite_options *options, struct error **errp)
{
	struct work work = { .doc = doc, .domain = xmlDocGetRootElement(doc), .options = options };
	int r = metadata_devices(work.domain, &work.devices, errp);

	if (r == 0)
		r = metadata_parse_node(work.devices, &work.metadata, errp);
	if (r == 0)
		r = rewrite(&work, errp);
	metadata_free(work.metadata);
	return r;
}

int domain_xml_rewrite(const char *xml, size_t len, const struct rewrite_options *options,
		       char **ret_xml, bool *ret_changed, struct error **errp)
{
	_cleanup_(work_clear) struct work work = { 0 };
	int r = work_open(&work, xml, len, options, errp);

	if (r < 0 || (r = rewrite(&work, errp)) < 0)
		return r;
	return work_finish(&work, xml, len, ret_xml, ret_changed, errp);
}

static void remove_metadata(xmlNode *domain, bool *changed)
{
	xmlNode *metadata = xml_child(domain, NULL, "metadata");
	xmlNode *child = metadata ? xmlFirstElementChild(metadata) : NULL;
	bool removed = false;

	while (child) {
		xmlNode *next = xmlNextElementSibling(child);

		if (child->ns && xmlStrEqual(child->ns->href, BAD_CAST METADATA_NAMESPACE)) {
			xml_remove(child);
			removed = true;
		}
		child = next;
	}
	if (removed && !xmlFirstElementChild(metadata))
		xml_remove(metadata);
	*changed |= removed;
}

int domain_xml_unmanage(const char *xml, size_t len, bool keep_metadata, char **ret_xml,
			bool *ret_changed, struct error **errp)
{
	static const struct record nothing;
	static const struct commandline_block no_block;
	_cleanup_(work_clear) struct work work = { .options = &no_options };
	_cleanup_commandline_ struct commandline commandline = { 0 };
	struct record before;
	int r;

	/* Not work_open(): metadata that does not parse must not be in the way out. */
	r = xml_parse_domain(xml, len, NULL, &work.doc, errp);
	if (r < 0)
		return r;
	work.domain = xmlDocGetRootElement(work.doc);
	r = commandline_read(work.domain, &commandline);
	if (r == 0 && has_block(&commandline)) {
		r = commandline_replace(work.domain, &no_block);
		work.changed = true;
	}
	record_read(work.domain, &before);
	if (r == 0)
		r = memory_restore(work.domain, &before, &work.changed);
	if (r == 0)
		r = boot_restore(work.domain, &before, &work.changed);
	if (r < 0)
		return error_set_errno(errp, -r, "XML");
	r = write_record(&work, &before, &nothing, errp);
	if (r < 0)
		return r;
	if (!keep_metadata)
		remove_metadata(work.domain, &work.changed);
	return work_finish(&work, xml, len, ret_xml, ret_changed, errp);
}

/*
 * The check
 */

/* A UUID in the text that is not @uuid. */
static bool names_another(const char *text, const char *uuid)
{
	size_t len = strlen(text), i;
	char candidate[37];
	uuid_t parsed;

	for (i = 0; i + 36 <= len; i++) {
		memcpy(candidate, text + i, 36);
		candidate[36] = '\0';
		if (uuid_parse(candidate, parsed) < 0)
			continue;
		if (strcasecmp(candidate, uuid) != 0)
			return true;
		i += 35;
	}
	return false;
}

static int judge_block(const struct work *work, struct domain_xml_check *ret, struct error **errp)
{
	_cleanup_commandline_block_ struct commandline_block config = { .count = 0 };
	_cleanup_commandline_block_ struct commandline_block incoming = { .count = 0 };
	_cleanup_commandline_ struct commandline commandline = { 0 };
	size_t i;
	int r = commandline_read(work->domain, &commandline);

	if (r < 0)
		return error_set_errno(errp, -r, "XML");
	if (!has_block(&commandline)) {
		ret->block = work->metadata->controller_count ? DOMAIN_XML_BLOCK_ABSENT
							      : DOMAIN_XML_BLOCK_NONE;
		return 0;
	}
	for (i = 0; i < commandline.count; i++) {
		if (!commandline.options[i].ours ||
		    !names_another(commandline.options[i].value, work->uuid))
			continue;
		ret->block = DOMAIN_XML_BLOCK_FOREIGN;
		ret->detail = strdup(commandline.options[i].value);
		return 0;
	}
	ret->block = DOMAIN_XML_BLOCK_STALE;
	if (!work->metadata->controller_count) {
		ret->detail = strdup(_("the metadata has no controllers"));
		return 0;
	}
	/* What comes from another host has a live record, a configuration has none. */
	if (metadata_has_live(work->metadata)) {
		r = compute_block(work, REWRITE_INCOMING, &commandline, &incoming, errp);
		if (r < 0)
			return r;
		if (!commandline_differs(&commandline, &incoming, NULL)) {
			ret->block = DOMAIN_XML_BLOCK_OK;
			return 0;
		}
	}
	r = compute_block(work, REWRITE_CONFIG, &commandline, &config, errp);
	if (r < 0)
		return r;
	if (!commandline_differs(&commandline, &config, &ret->detail))
		ret->block = DOMAIN_XML_BLOCK_OK;
	return 0;
}

/* The same judge as when the domain runs: what it would refuse then is known now. */
static bool can_attach(const char *xml, size_t len, const struct rewrite_options *options,
		       char **ret_detail)
{
	_cleanup_attach_plan_ struct attach_plan *plan = NULL;
	_cleanup_error_ struct error *err = NULL;

	if (attach_plan(xml, len, options, &plan, &err) == 0)
		return true;
	*ret_detail = strdup(error_message(err));
	return false;
}

int domain_xml_check_block(const char *xml, size_t len, const struct rewrite_options *options,
			   struct domain_xml_check *ret, struct error **errp)
{
	_cleanup_(work_clear) struct work work = { 0 };
	int r = work_open(&work, xml, len, options, errp);

	if (r < 0)
		return r;
	memset(ret, 0, sizeof(*ret));
	if (work.metadata->controller_count) {
		if ((r = refuse(&work, errp)) < 0 || (r = need_uuid(&work, errp)) < 0)
			return r;
	} else {
		facts_uuid(work.domain, work.uuid);
	}
	free(memory_private(work.domain, &ret->memory_shared));
	ret->boots_from_ours = boot_from_ours(work.domain, work.metadata);
	r = judge_block(&work, ret, errp);
	if (r == 0 && ret->block == DOMAIN_XML_BLOCK_ABSENT)
		ret->can_attach = can_attach(xml, len, options, &ret->detail);
	return r;
}

void domain_xml_check_clear(struct domain_xml_check *check)
{
	free(check->detail);
	*check = (struct domain_xml_check){ .block = DOMAIN_XML_BLOCK_NONE };
}
