/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DOMAIN_XML_COMMANDLINE_H
#define DOMAIN_XML_COMMANDLINE_H

#include <libxml/tree.h>

#include "base/json.h"

/*
 * <qemu:commandline>: the user's arguments and our block among them; inside the folder only.
 */
#define COMMANDLINE_NAMESPACE "http://libvirt.org/schemas/domain/qemu/1.0"

struct commandline_option {
	const char *name;		 /* "-device"; borrowed from the tree */
	const char *value;		 /* "" when it has none; borrowed */
	bool ours;			 /* its id begins with REWRITE_ID_PREFIX */
	xmlNode *name_node, *value_node; /* value_node: NULL when it has none */
};

struct commandline {
	xmlNode *element; /* NULL when there is none */
	struct commandline_option *options;
	size_t count;
};

/** commandline_read() - 0 or -ENOMEM; valid until the tree is changed */
int commandline_read(const xmlNode *domain, struct commandline *ret);
void commandline_clear(struct commandline *commandline);

#define _cleanup_commandline_ _cleanup_(commandline_clear)

/**
 * commandline_property() - one property of an option's value, JSON or "a,b=c"
 * @key: "" is the first word of "a,b=c"; in JSON use "driver" or "qom-type" for that
 *
 * Return: malloc()ed, NULL when there is none.
 */
char *commandline_property(const char *value, const char *key);

/* What our block is to be: option names and values by turns. */
struct commandline_block {
	char *texts[128];
	size_t count;
};

/** commandline_block_add() - takes @value over; false when out of memory (NULL @value) */
bool commandline_block_add(struct commandline_block *block, const char *name, char *value);
void commandline_block_clear(struct commandline_block *block);

#define _cleanup_commandline_block_ _cleanup_(commandline_block_clear)

/**
 * commandline_differs() - is our block in the tree another one than @block?
 * @ret_detail: the first difference; malloc()ed, may be NULL
 */
bool commandline_differs(const struct commandline *commandline,
			 const struct commandline_block *block, char **ret_detail);

/**
 * commandline_replace() - our block becomes @block, which may be empty
 *
 * It goes where the old one was, else behind the last argument. The element, and the declaration of
 * the namespace, are made when they are needed and removed when nothing is left.
 *
 * Return: 0 or -ENOMEM.
 */
int commandline_replace(xmlNode *domain, const struct commandline_block *block);

#endif
