// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain-xml/record.h"

#include <errno.h>
#include <stdio.h>

#include "domain-xml/rewrite.h"
#include "domain-xml/xml.h"

static xmlNode *find(const xmlNode *domain)
{
	return xml_child(xml_child(domain, NULL, "metadata"), REWRITE_RECORD_NAMESPACE, "rewrite");
}

/* One word of "a,b,c" to @ret; NULL at the end, or when a word is empty or too long. */
static const char *next_word(const char *list, char *ret, size_t size)
{
	size_t len = list ? strcspn(list, ",") : 0;

	if (!len || len >= size)
		return NULL;
	memcpy(ret, list, len);
	ret[len] = '\0';
	return list + len + (list[len] == ',');
}

static void read_memory(const xmlNode *memory, struct record *ret)
{
	const char *source = xml_attribute(memory, "source");
	const char *access = xml_attribute(memory, "access");
	const char *cells = xml_attribute(memory, "cells");
	unsigned long cell;
	char word[16];

	if (source && strlen(source) < sizeof(ret->source)) {
		ret->has_source = true;
		memcpy(ret->source, source, strlen(source) + 1);
	}
	if (access && strlen(access) < sizeof(ret->access)) {
		ret->has_access = true;
		memcpy(ret->access, access, strlen(access) + 1);
	}
	while ((cells = next_word(cells, word, sizeof(word))))
		if (xml_unsigned(word, RECORD_MAX_CELLS - 1, &cell) == 0)
			ret->cells[cell] = true;
}

static void read_boot(const xmlNode *boot, struct record *ret)
{
	const char *devs = xml_attribute(boot, "devs");
	const char *orders = xml_attribute(boot, "orders");
	unsigned long order;
	char word[16];

	while (ret->boot_count < RECORD_MAX_BOOT && (devs = next_word(devs, word, sizeof(word))))
		memcpy(ret->boot[ret->boot_count++], word, sizeof(word));
	while (ret->order_count < RECORD_MAX_BOOT &&
	       (orders = next_word(orders, word, sizeof(word))))
		if (xml_unsigned(word, 9999, &order) == 0)
			ret->orders[ret->order_count++] = (unsigned)order;
}

void record_read(const xmlNode *domain, struct record *ret)
{
	const xmlNode *element = find(domain);

	memset(ret, 0, sizeof(*ret));
	read_memory(xml_child(element, REWRITE_RECORD_NAMESPACE, "memory"), ret);
	read_boot(xml_child(element, REWRITE_RECORD_NAMESPACE, "boot"), ret);
}

bool record_equal(const struct record *a, const struct record *b)
{
	/* Both were zeroed before they were filled in. */
	return memcmp(a, b, sizeof(*a)) == 0;
}

static bool has_cells(const struct record *record)
{
	return memchr(record->cells, true, sizeof(record->cells));
}

static bool write_memory(xmlNode *element, const struct record *record)
{
	char list[RECORD_MAX_CELLS * 4 + 1] = "";
	xmlNode *memory;
	size_t i, len = 0;

	if (!record->has_source && !record->has_access && !has_cells(record))
		return true;
	memory = xml_insert(element, NULL, element->ns, "memory");
	for (i = 0; i < RECORD_MAX_CELLS; i++)
		if (record->cells[i])
			len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%zu",
						len ? "," : "", i);
	return memory &&
	       (!record->has_source || xml_set_attribute(memory, "source", record->source)) &&
	       (!record->has_access || xml_set_attribute(memory, "access", record->access)) &&
	       (!len || xml_set_attribute(memory, "cells", list));
}

static bool write_boot(xmlNode *element, const struct record *record)
{
	char devs[RECORD_MAX_BOOT * 16 + 1] = "", orders[RECORD_MAX_BOOT * 6 + 1] = "";
	xmlNode *boot;
	size_t i, len = 0;

	if (!record->boot_count)
		return true;
	for (i = 0; i < record->boot_count; i++)
		len += (size_t)snprintf(devs + len, sizeof(devs) - len, "%s%s", len ? "," : "",
					record->boot[i]);
	for (i = len = 0; i < record->order_count; i++)
		len += (size_t)snprintf(orders + len, sizeof(orders) - len, "%s%u", len ? "," : "",
					record->orders[i]);
	boot = xml_insert(element, NULL, element->ns, "boot");
	return boot && xml_set_attribute(boot, "devs", devs) &&
	       xml_set_attribute(boot, "orders", orders);
}

/* <metadata> without anything in it. */
static void drop_empty(xmlNode *metadata)
{
	if (!xmlFirstElementChild(metadata))
		xml_remove(metadata);
}

int record_write(xmlNode *domain, const struct record *record)
{
	static const struct record nothing;
	xmlNode *metadata = xml_child(domain, NULL, "metadata");
	xmlNode *element = find(domain);
	xmlNs *namespace;

	if (element)
		xml_remove(element);
	if (record_equal(record, &nothing)) {
		if (element)
			drop_empty(metadata);
		return 0;
	}
	if (!metadata)
		return -EINVAL;
	element = xml_insert(metadata, NULL, NULL, "rewrite");
	if (!element)
		return -ENOMEM;
	namespace = xmlNewNs(element, BAD_CAST REWRITE_RECORD_NAMESPACE, BAD_CAST "virtnvme");
	if (!namespace)
		return -ENOMEM;
	xmlSetNs(element, namespace);
	return write_memory(element, record) && write_boot(element, record) ? 0 : -ENOMEM;
}
