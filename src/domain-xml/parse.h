/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DOMAIN_XML_PARSE_H
#define DOMAIN_XML_PARSE_H

#include "domain-xml/metadata.h"
#include "domain-xml/xml.h"

/*
 * Reading the elements of our namespace; inside the folder only. What is not known is refused: a
 * <readonly/> that was misspelt must not be a writable disk. All return 0 or -errno with a sentence
 * that begins with the element's path.
 */

struct parse_rule {
	const char *name;
	bool many; /* may be there more than once */
	int (*parse)(xmlNode *node, void *target, struct error **errp);
};

/** parse_is_ours() - elements have the namespace of the root: ours, or none in what libvirt hands
 * out alone */
bool parse_is_ours(const xmlNode *node);

/** parse_seen_before() - is there a sibling of that name in front? */
bool parse_seen_before(const xmlNode *node);

/** parse_child() - the first child of ours with that name, or NULL */
xmlNode *parse_child(const xmlNode *node, const char *name);

/** parse_children() - each child by its rule; @rules ended by a NULL name */
int parse_children(xmlNode *node, const struct parse_rule *rules, void *target,
		   struct error **errp);

extern const struct parse_rule parse_no_children[];

/** parse_attributes() - no others than @names, ended by NULL; none too long */
int parse_attributes(const xmlNode *node, const char *const *names, struct error **errp);

#define PARSE_ATTRIBUTES(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define PARSE_NO_ATTRIBUTES   ((const char *const[]){ NULL })

/** parse_number() - an optional number; @ret is left alone when it is missing */
int parse_number(const xmlNode *node, const char *name, unsigned min, unsigned max, unsigned *ret,
		 struct error **errp);

/** parse_word() - an optional word of a list of words.h; @ret is left alone when it is missing */
int parse_word(const xmlNode *node, const char *name, const char *const *words, unsigned *ret,
	       struct error **errp);

/** parse_string() - a required string without control characters; replaces *ret */
int parse_string(const xmlNode *node, const char *name, char **ret, struct error **errp);

/** parse_missing() - the sentence for an attribute that must be there */
int parse_missing(const xmlNode *node, const char *name, struct error **errp);

/** parse_empty() - no attributes, no children */
int parse_empty(xmlNode *node, struct error **errp);

/** parse_text() - the text of an element without children; malloc()ed */
int parse_text(const xmlNode *node, const char *const *attributes, char **ret, struct error **errp);

/*
 * metadata-disk.c
 */

/** parse_disk_target() - where a <disk> belongs, from its <target> */
int parse_disk_target(const xmlNode *disk, unsigned *ret_index, unsigned *ret_nsid,
		      struct error **errp);

/** parse_disk_body() - all of a <disk> but where it belongs */
int parse_disk_body(xmlNode *node, struct metadata_disk *disk, struct error **errp);

/*
 * metadata-parse.c
 */

/** metadata_parse_node() - from <devices>; NULL: without controllers */
int metadata_parse_node(xmlNode *devices, struct metadata **ret, struct error **errp);

/** metadata_devices() - our element in a <domain>'s <metadata>; NULL in *ret when there is none */
int metadata_devices(const xmlNode *domain, xmlNode **ret, struct error **errp);

/*
 * rewrite.c
 */
struct rewrite_options;

/** rewrite_document() - domain_xml_rewrite() on a tree: its sentences then name file and line */
int rewrite_document(xmlDoc *doc, const struct rewrite_options *options, struct error **errp);

#endif
