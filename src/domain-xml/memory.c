// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain-xml/memory.h"

#include <errno.h>
#include <stdio.h>

#include "base/i18n.h"
#include "domain-xml/xml.h"

enum domain_xml_memory_source memory_source(const xmlNode *domain)
{
	const char *type = xml_attribute(xml_find(domain, "memoryBacking/source"), "type");

	if (string_equal(type, "memfd"))
		return DOMAIN_XML_MEMORY_MEMFD;
	if (string_equal(type, "file"))
		return DOMAIN_XML_MEMORY_FILE;
	return DOMAIN_XML_MEMORY_ANONYMOUS;
}

/* The first <cell> or <memory> device that says memory is private, or NULL. */
static xmlNode *first_private(const xmlNode *parent, const char *name, const char *attribute)
{
	xmlNode *node;

	xml_for_each(node, parent, NULL,
		     name) if (xml_attribute_is(node, attribute, "private")) return node;
	return NULL;
}

static char *describe(const xmlNode *node, const char *attribute, const char *value)
{
	_cleanup_free_ char *path = xml_path(node);
	char *text;

	if (!path || asprintf(&text, "%s: %s=\"%s\"", path, attribute, value) < 0)
		return NULL;
	return text;
}

char *memory_private(const xmlNode *domain, bool *ret_shared)
{
	const xmlNode *access = xml_find(domain, "memoryBacking/access");
	const xmlNode *node;

	*ret_shared = false;
	node = first_private(xml_find(domain, "cpu/numa"), "cell", "memAccess");
	if (node)
		return describe(node, "memAccess", "private");
	node = first_private(xml_child(domain, NULL, "devices"), "memory", "access");
	if (node)
		return describe(node, "access", "private");
	if (!xml_attribute_is(access, "mode", "shared"))
		return strdup("domain/memoryBacking/access: mode=\"shared\" is missing");
	/* Without a source, hugepages come from a file in their file system: that can be mapped. */
	if (memory_source(domain) == DOMAIN_XML_MEMORY_ANONYMOUS &&
	    !xml_find(domain, "memoryBacking/hugepages"))
		return strdup("domain/memoryBacking/source: type=\"memfd\" is missing");
	*ret_shared = true;
	return NULL;
}

/* <memoryBacking>, made where libvirt puts it, too: behind the sizes. */
static xmlNode *need_backing(xmlNode *domain)
{
	static const char *const sizes[] = { "currentMemory", "memory", "maxMemory", "uuid",
					     "name" };
	xmlNode *backing = xml_child(domain, NULL, "memoryBacking");
	size_t i;

	for (i = 0; !backing && i < ARRAY_SIZE(sizes); i++) {
		xmlNode *size = xml_child(domain, NULL, sizes[i]);

		if (size)
			return xml_insert(domain, xmlNextElementSibling(size), NULL,
					  "memoryBacking");
	}
	return backing ? backing : xml_insert(domain, NULL, NULL, "memoryBacking");
}

/*
 * Set an attribute of a child of <memoryBacking>.
 * @before: 16 bytes for the old value
 */
static int set_backing(xmlNode *domain, const char *name, const char *attribute, const char *value,
		       char *before)
{
	xmlNode *backing = need_backing(domain);
	xmlNode *child = xml_child(backing, NULL, name);
	const char *old = xml_attribute(child, attribute);

	memset(before, 0, 16);
	snprintf(before, 16, "%s", old ? old : "");
	if (backing && !child)
		child = xml_insert(backing, NULL, NULL, name);
	return child && xml_set_attribute(child, attribute, value) ? 0 : -ENOMEM;
}

static int share_cells(xmlNode *domain, struct record *record, bool *changed)
{
	xmlNode *cell;
	size_t position = 0;

	xml_for_each(cell, xml_find(domain, "cpu/numa"), NULL, "cell")
	{
		if (xml_attribute_is(cell, "memAccess", "private")) {
			if (!xml_set_attribute(cell, "memAccess", "shared"))
				return -ENOMEM;
			if (position < RECORD_MAX_CELLS)
				record->cells[position] = true;
			*changed = true;
		}
		position++;
	}
	return 0;
}

int memory_share(xmlNode *domain, struct record *record, bool *changed, struct error **errp)
{
	const xmlNode *device;
	int r = 0;

	device = first_private(xml_child(domain, NULL, "devices"), "memory", "access");
	if (device)
		return xml_error(
			errp, device, EINVAL,
			_("access=\"private\" keeps the NVMe controllers out of this memory: "
			  "make it \"shared\""));
	if (memory_source(domain) == DOMAIN_XML_MEMORY_ANONYMOUS) {
		r = set_backing(domain, "source", "type", "memfd", record->source);
		record->has_source = true;
		*changed = true;
	}
	if (r == 0 &&
	    !xml_attribute_is(xml_find(domain, "memoryBacking/access"), "mode", "shared")) {
		r = set_backing(domain, "access", "mode", "shared", record->access);
		record->has_access = true;
		*changed = true;
	}
	if (r == 0)
		r = share_cells(domain, record, changed);
	return r < 0 ? error_set_errno(errp, -r, "XML") : 0;
}

/* The old value back; "" is: there was nothing. */
static int restore_backing(xmlNode *domain, const char *name, const char *attribute,
			   const char *ours, const char *before, bool *changed)
{
	xmlNode *child = xml_child(xml_child(domain, NULL, "memoryBacking"), NULL, name);

	if (!xml_attribute_is(child, attribute, ours))
		return 0;
	*changed = true;
	if (*before)
		return xml_set_attribute(child, attribute, before) ? 0 : -ENOMEM;
	xml_remove(child);
	return 0;
}

int memory_restore(xmlNode *domain, const struct record *record, bool *changed)
{
	xmlNode *backing = xml_child(domain, NULL, "memoryBacking");
	xmlNode *cell;
	size_t position = 0;
	int r = 0;

	if (record->has_source)
		r = restore_backing(domain, "source", "type", "memfd", record->source, changed);
	if (r == 0 && record->has_access)
		r = restore_backing(domain, "access", "mode", "shared", record->access, changed);
	if (r < 0)
		return r;
	if (backing && (record->has_source || record->has_access) && !backing->properties &&
	    !xmlFirstElementChild(backing))
		xml_remove(backing);
	xml_for_each(cell, xml_find(domain, "cpu/numa"), NULL, "cell")
	{
		if (position < RECORD_MAX_CELLS && record->cells[position] &&
		    xml_attribute_is(cell, "memAccess", "shared")) {
			if (!xml_set_attribute(cell, "memAccess", "private"))
				return -ENOMEM;
			*changed = true;
		}
		position++;
	}
	return 0;
}
