/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DOMAIN_XML_XML_H
#define DOMAIN_XML_XML_H

#include <libxml/tree.h>

#include "base/error.h"

/*
 * libxml2, as the rest of this folder wants it. Inside the folder only.
 *
 * A namespace argument: NULL means no namespace, that is libvirt's own elements.
 */

static inline void cleanup_xml_doc(xmlDoc **doc)
{
	xmlFreeDoc(*doc);
}

#define _cleanup_xml_doc_ _cleanup_(cleanup_xml_doc)

/**
 * xml_parse() - text that nobody vouches for
 * @max: bytes; more is -E2BIG
 * @file: what sentences call it; they then name the line, too. NULL: neither. Must live as long as
 *	the document.
 *
 * No network, no DTD: a document type declaration is refused, and with it all entities but XML's
 * own five.
 *
 * @ret: the caller's, xmlFreeDoc()
 *
 * Return: 0, or -EINVAL, -E2BIG, -ENOMEM with a sentence.
 */
int xml_parse(const char *text, size_t len, size_t max, const char *file, xmlDoc **ret,
	      struct error **errp);

/** xml_parse_domain() - the same for a <domain> of at most METADATA_MAX_XML bytes */
int xml_parse_domain(const char *text, size_t len, const char *file, xmlDoc **ret,
		     struct error **errp);

/** xml_format() - the document as text, malloc()ed, with an XML declaration only if @original has
 * one. NULL when out of memory. */
char *xml_format(xmlDoc *doc, const char *original);

/**
 * xml_error() - a sentence about @node: "devices/controller[0]/serial: ...", with the file and line
 * in front where the document has a file
 *
 * Return: -@code.
 */
int xml_error(struct error **errp, const xmlNode *node, int code, const char *format, ...)
	__printf(4, 5);

/** xml_error_prefix() - put the same in front of a sentence that has no path yet */
void xml_error_prefix(struct error **errp, const xmlNode *node);

/** xml_path() - "domain/devices/disk[0]"; malloc()ed, NULL when out of memory */
char *xml_path(const xmlNode *node);

/** xml_is() - is it that element? */
bool xml_is(const xmlNode *node, const char *namespace, const char *name);

/** xml_child() - the first child element of that name, or NULL; @parent may be NULL */
xmlNode *xml_child(const xmlNode *parent, const char *namespace, const char *name);

/** xml_next() - the next sibling element of that name, or NULL */
xmlNode *xml_next(const xmlNode *node, const char *namespace, const char *name);

/** xml_find() - a path of child elements without a namespace, "os/type"; NULL when there is none */
xmlNode *xml_find(const xmlNode *root, const char *path);

#define xml_for_each(child, parent, namespace, name)                                               \
	for (child = xml_child(parent, namespace, name); child;                                    \
	     child = xml_next(child, namespace, name))

/**
 * xml_attribute() - a borrowed value: valid until the attribute is changed
 *
 * Return: NULL when there is none, or @node is NULL.
 */
const char *xml_attribute(const xmlNode *node, const char *name);

/** xml_attribute_is() - does it exist with that value? */
bool xml_attribute_is(const xmlNode *node, const char *name, const char *value);

/** xml_text() - content without white space around it; malloc()ed, NULL when out of memory; "" for
 * a NULL @node */
char *xml_text(const xmlNode *node);

/** xml_unsigned() - decimal digits only; 0 or -EINVAL, -ERANGE */
int xml_unsigned(const char *text, unsigned long max, unsigned long *ret);

/*
 * Changing the tree, with the indentation a person would use. NULL or false when out of
 * memory.
 */

/** xml_insert() - a new element of no namespace in @parent, in front of @before or as the last */
xmlNode *xml_insert(xmlNode *parent, xmlNode *before, xmlNs *namespace, const char *name);

/** xml_remove() - take an element and the white space in front of it away; @node is freed */
void xml_remove(xmlNode *node);

bool xml_set_attribute(xmlNode *node, const char *name, const char *value);

#endif
