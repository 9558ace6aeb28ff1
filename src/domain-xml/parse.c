// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain-xml/parse.h"

#include <ctype.h>
#include <errno.h>

#include "base/i18n.h"
#include "domain-xml/words.h"

bool parse_is_ours(const xmlNode *node)
{
	if (!node->ns)
		return !xmlDocGetRootElement(node->doc)->ns &&
		       !xml_is(xmlDocGetRootElement(node->doc), NULL, "domain");
	return xmlStrEqual(node->ns->href, BAD_CAST METADATA_NAMESPACE);
}

static const struct parse_rule *find_rule(const struct parse_rule *rules, const xmlNode *node)
{
	for (; rules->name; rules++)
		if (xmlStrEqual(node->name, BAD_CAST rules->name))
			return rules;
	return NULL;
}

bool parse_seen_before(const xmlNode *node)
{
	const xmlNode *before;

	for (before = node->prev; before; before = before->prev)
		if (before->type == XML_ELEMENT_NODE && xmlStrEqual(before->name, node->name))
			return true;
	return false;
}

xmlNode *parse_child(const xmlNode *node, const char *name)
{
	xmlNode *child;

	for (child = node->children; child; child = child->next)
		if (child->type == XML_ELEMENT_NODE && parse_is_ours(child) &&
		    xmlStrEqual(child->name, BAD_CAST name))
			return child;
	return NULL;
}

int parse_missing(const xmlNode *node, const char *name, struct error **errp)
{
	return xml_error(errp, node, EINVAL, _("the attribute \"%s\" is missing or empty"), name);
}

int parse_children(xmlNode *node, const struct parse_rule *rules, void *target, struct error **errp)
{
	xmlNode *child;
	int r;

	for (child = node->children; child; child = child->next) {
		const struct parse_rule *rule;

		if (child->type == XML_COMMENT_NODE || child->type == XML_PI_NODE ||
		    (child->type == XML_TEXT_NODE && xmlIsBlankNode(child)))
			continue;
		if (child->type != XML_ELEMENT_NODE)
			return xml_error(errp, node, EINVAL, _("text is not expected here"));
		if (!parse_is_ours(child))
			return xml_error(errp, child, EINVAL,
					 _("the element is not in the namespace %s"),
					 METADATA_NAMESPACE);
		rule = find_rule(rules, child);
		if (!rule)
			return xml_error(errp, child, EINVAL, _("unknown element"));
		if (!rule->many && parse_seen_before(child))
			return xml_error(errp, child, EINVAL, _("given more than once"));
		r = rule->parse(child, target, errp);
		if (r < 0)
			return r;
	}
	return 0;
}

const struct parse_rule parse_no_children[] = { { NULL } };

int parse_attributes(const xmlNode *node, const char *const *names, struct error **errp)
{
	const xmlAttr *attribute;
	const char *value;
	size_t i;

	for (attribute = node->properties; attribute; attribute = attribute->next) {
		for (i = 0; names[i]; i++)
			if (!attribute->ns && xmlStrEqual(attribute->name, BAD_CAST names[i]))
				break;
		if (!names[i])
			return xml_error(errp, node, EINVAL, _("unknown attribute \"%s\""),
					 (const char *)attribute->name);
		value = xml_attribute(node, names[i]);
		if (strlen(value) > METADATA_MAX_STRING)
			return xml_error(errp, node, EINVAL, _("%s is longer than %d bytes"),
					 names[i], METADATA_MAX_STRING);
	}
	return 0;
}

int parse_number(const xmlNode *node, const char *name, unsigned min, unsigned max, unsigned *ret,
		 struct error **errp)
{
	const char *text = xml_attribute(node, name);
	unsigned long value;

	if (!text)
		return 0;
	if (xml_unsigned(text, max, &value) < 0 || value < min)
		return xml_error(errp, node, EINVAL, _("%s=\"%s\" is not a number from %u to %u"),
				 name, text, min, max);
	*ret = (unsigned)value;
	return 0;
}

int parse_word(const xmlNode *node, const char *name, const char *const *words, unsigned *ret,
	       struct error **errp)
{
	const char *text = xml_attribute(node, name);
	_cleanup_free_ char *list = NULL;
	int found;

	if (!text)
		return 0;
	found = words_find(words, text);
	if (found < 0) {
		list = words_list(words);
		return xml_error(errp, node, EINVAL, _("%s=\"%s\" is not supported: use %s"), name,
				 text, list ? list : "");
	}
	*ret = (unsigned)found;
	return 0;
}

int parse_string(const xmlNode *node, const char *name, char **ret, struct error **errp)
{
	const char *text = xml_attribute(node, name);
	const char *p;

	if (!text || !*text)
		return parse_missing(node, name, errp);
	for (p = text; *p; p++)
		if (iscntrl((unsigned char)*p))
			return xml_error(errp, node, EINVAL, _("%s has a control character"), name);
	free(*ret);
	*ret = strdup(text);
	return *ret ? 0 : error_set_errno(errp, ENOMEM, "metadata");
}

int parse_empty(xmlNode *node, struct error **errp)
{
	int r = parse_attributes(node, PARSE_NO_ATTRIBUTES, errp);

	return r < 0 ? r : parse_children(node, parse_no_children, NULL, errp);
}

int parse_text(const xmlNode *node, const char *const *attributes, char **ret, struct error **errp)
{
	const xmlNode *child;
	int r = parse_attributes(node, attributes, errp);

	if (r < 0)
		return r;
	for (child = node->children; child; child = child->next)
		if (child->type == XML_ELEMENT_NODE)
			return xml_error(errp, child, EINVAL, _("unknown element"));
	*ret = xml_text(node);
	return *ret ? 0 : error_set_errno(errp, ENOMEM, "metadata");
}
