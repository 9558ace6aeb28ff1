// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain-xml/commandline.h"

#include <errno.h>
#include <stdio.h>

#include "base/i18n.h"
#include "domain-xml/rewrite.h"
#include "domain-xml/xml.h"

/* "a,b=c,,d" has the first word "a" and b is "c,d". */
static char *keyval_property(const char *value, const char *key)
{
	size_t key_len = strlen(key);
	const char *p = value;
	bool first = true;

	while (*p) {
		const char *start = p;
		char *text, *to;

		while (*p && (*p != ',' || p[1] == ','))
			p += *p == ',' ? 2 : 1;
		if (*key ? strncmp(start, key, key_len) == 0 && start[key_len] == '=' : first) {
			start += *key ? key_len + 1 : 0;
			text = to = strndup(start, (size_t)(p - start));
			for (start = text; start && *start; start++) {
				start += *start == ',';
				*to++ = *start;
			}
			if (to)
				*to = '\0';
			return text;
		}
		first = false;
		if (*p)
			p++;
	}
	return NULL;
}

char *commandline_property(const char *value, const char *key)
{
	_cleanup_json_ struct json_object *object = NULL;
	struct json_object *member;

	if (*value != '{')
		return keyval_property(value, key);
	object = json_parse(value, strlen(value), NULL);
	if (!json_object_is_type(object, json_type_object) ||
	    !json_object_object_get_ex(object, key, &member) || !member)
		return NULL;
	return strdup(json_object_get_string(member));
}

static bool is_ours(const char *name, const char *value)
{
	static const char *const names[] = { "-object", "-chardev", "-mon", "-device" };
	_cleanup_free_ char *id = NULL;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(name, names[i]))
			break;
	if (i == ARRAY_SIZE(names))
		return false;
	id = commandline_property(value, "id");
	return id && string_has_prefix(id, REWRITE_ID_PREFIX);
}

int commandline_read(const xmlNode *domain, struct commandline *ret)
{
	xmlNode *argument;
	size_t count = 0;

	*ret = (struct commandline){
		.element = xml_child(domain, COMMANDLINE_NAMESPACE, "commandline"),
	};
	xml_for_each(argument, ret->element, COMMANDLINE_NAMESPACE, "arg") count++;
	ret->options = calloc(count ? count : 1, sizeof(*ret->options));
	if (!ret->options)
		return -ENOMEM;
	argument = xml_child(ret->element, COMMANDLINE_NAMESPACE, "arg");
	while (argument) {
		struct commandline_option *option = &ret->options[ret->count++];
		xmlNode *next = xml_next(argument, COMMANDLINE_NAMESPACE, "arg");
		const char *value = xml_attribute(next, "value");

		option->name = xml_attribute(argument, "value");
		option->name = option->name ? option->name : "";
		option->name_node = argument;
		option->value = "";
		/* QEMU takes "--x" for "-x", and no value of an option begins with a dash and a
		 * letter. */
		if (*option->name == '-' && value && *value != '-') {
			option->value = value;
			option->value_node = next;
			next = xml_next(next, COMMANDLINE_NAMESPACE, "arg");
		}
		option->ours = is_ours(option->name, option->value);
		argument = next;
	}
	return 0;
}

void commandline_clear(struct commandline *commandline)
{
	free(commandline->options);
	*commandline = (struct commandline){ 0 };
}

bool commandline_block_add(struct commandline_block *block, const char *name, char *value)
{
	char *copy = strdup(name);

	if (!copy || !value || block->count + 2 > ARRAY_SIZE(block->texts)) {
		free(copy);
		free(value);
		return false;
	}
	block->texts[block->count++] = copy;
	block->texts[block->count++] = value;
	return true;
}

void commandline_block_clear(struct commandline_block *block)
{
	while (block->count)
		free(block->texts[--block->count]);
}

static char *difference(const char *is, const char *wanted)
{
	char *text;

	return asprintf(&text, _("found %s where %s belongs"), is ? is : _("nothing"),
			wanted ? wanted : _("nothing")) < 0
		       ? NULL
		       : text;
}

bool commandline_differs(const struct commandline *commandline,
			 const struct commandline_block *block, char **ret_detail)
{
	size_t at = 0, i;
	const char *wanted;

	for (i = 0; i < commandline->count; i++) {
		const struct commandline_option *option = &commandline->options[i];

		if (!option->ours)
			continue;
		wanted = at < block->count ? block->texts[at + 1] : NULL;
		if (!wanted || strcmp(option->name, block->texts[at]) != 0 ||
		    strcmp(option->value, wanted) != 0) {
			if (ret_detail)
				*ret_detail = difference(option->value, wanted);
			return true;
		}
		at += 2;
	}
	if (at == block->count)
		return false;
	if (ret_detail)
		*ret_detail = difference(NULL, block->texts[at + 1]);
	return true;
}

/* The namespace as it is declared in the document, else declared now. */
static xmlNs *find_namespace(xmlNode *domain)
{
	xmlNs *namespace = xmlSearchNsByHref(domain->doc, domain, BAD_CAST COMMANDLINE_NAMESPACE);

	if (!namespace)
	namespace = xmlNewNs(domain, BAD_CAST COMMANDLINE_NAMESPACE, BAD_CAST "qemu");
	/* Somebody has that prefix for something else. */
	if (!namespace)
	namespace = xmlNewNs(domain, BAD_CAST COMMANDLINE_NAMESPACE, BAD_CAST "virtnvme-qemu");
	return namespace;
}

static bool is_used(const xmlNode *node, const xmlNs *namespace)
{
	const xmlNode *child;
	const xmlAttr *attribute;

	if (node->type != XML_ELEMENT_NODE)
		return false;
	if (node->ns == namespace)
		return true;
	for (attribute = node->properties; attribute; attribute = attribute->next)
		if (attribute->ns == namespace)
			return true;
	for (child = node->children; child; child = child->next)
		if (is_used(child, namespace))
			return true;
	return false;
}

static void drop_unused_namespace(xmlNode *domain)
{
	xmlNs **link, *namespace;

	for (link = &domain->nsDef; *link; link = &(*link)->next)
		if (xmlStrEqual((*link)->href, BAD_CAST COMMANDLINE_NAMESPACE))
			break;
	namespace = *link;
	if (!namespace || is_used(domain, namespace))
		return;
	*link = namespace->next;
	xmlFreeNs(namespace);
}

static bool has_elements(const xmlNode *node)
{
	const xmlNode *child;

	for (child = node->children; child; child = child->next)
		if (child->type == XML_ELEMENT_NODE)
			return true;
	return false;
}

/* Remove our old block. Return: the element that was behind its beginning, or that is behind the
 * last argument: the new block goes in front of it; NULL: to the end. */
static xmlNode *remove_block(struct commandline *commandline)
{
	const xmlNode *last = NULL;
	xmlNode *before = NULL;
	bool found = false;
	size_t i;

	for (i = 0; i < commandline->count; i++) {
		struct commandline_option *option = &commandline->options[i];

		if (!option->ours) {
			last = option->value_node ? option->value_node : option->name_node;
			if (found && !before)
				before = option->name_node;
			continue;
		}
		found = true;
		xml_remove(option->name_node);
		xml_remove(option->value_node);
	}
	if (before)
		return before;
	/* <qemu:env> and what else there may be stay behind the arguments. */
	return last ? xmlNextElementSibling((xmlNode *)last)
		    : xmlFirstElementChild(commandline->element);
}

int commandline_replace(xmlNode *domain, const struct commandline_block *block)
{
	_cleanup_commandline_ struct commandline commandline = { 0 };
	xmlNode *before = NULL;
	xmlNs *namespace;
	size_t i;
	int r = commandline_read(domain, &commandline);

	if (r < 0)
		return r;
	if (commandline.element)
		before = remove_block(&commandline);
	if (!block->count) {
		if (commandline.element && !has_elements(commandline.element))
			xml_remove(commandline.element);
		drop_unused_namespace(domain);
		return 0;
	}
	namespace = commandline.element ? commandline.element->ns : find_namespace(domain);
	if (!namespace)
		return -ENOMEM;
	if (!commandline.element)
		commandline.element = xml_insert(domain, NULL, namespace, "commandline");
	for (i = 0; i < block->count && commandline.element; i++) {
		xmlNode *argument = xml_insert(commandline.element, before, namespace, "arg");

		if (!argument || !xml_set_attribute(argument, "value", block->texts[i]))
			return -ENOMEM;
	}
	return commandline.element ? 0 : -ENOMEM;
}
