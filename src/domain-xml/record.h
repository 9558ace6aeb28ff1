/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DOMAIN_XML_RECORD_H
#define DOMAIN_XML_RECORD_H

#include <libxml/tree.h>

#include "base/error.h"

/*
 * What the rewrite changed outside its own block, so that it can be taken back; inside the folder
 * only. In the XML, beside the user's element:
 *
 *   <virtnvme:rewrite xmlns:virtnvme="urn:virtnvme:rewrite:1">
 *     <virtnvme:memory source="" access="private" cells="0,2"/>
 *     <virtnvme:boot devs="hd,network" orders="2,3"/>
 *   </virtnvme:rewrite>
 *
 * source, access: what was there before; "" is: nothing was. Missing: not ours.
 */
#define RECORD_MAX_CELLS 128
#define RECORD_MAX_BOOT	 16

struct record {
	bool has_source, has_access;
	char source[16], access[16];
	bool cells[RECORD_MAX_CELLS]; /* by position: its memAccess was "private" */

	char boot[RECORD_MAX_BOOT][16]; /* the <os><boot dev> that were there */
	size_t boot_count;
	unsigned orders[RECORD_MAX_BOOT]; /* the <boot order> that were made of them */
	size_t order_count;
};

/** record_read() - what does not parse counts as not recorded */
void record_read(const xmlNode *domain, struct record *ret);

/** record_write() - an empty record is no element. 0 or -ENOMEM */
int record_write(xmlNode *domain, const struct record *record);

/** record_equal() */
bool record_equal(const struct record *a, const struct record *b);

#endif
