// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain-xml/xml.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include <libxml/parser.h>
#include <libxml/xmlsave.h>

#include "base/i18n.h"
#include "domain-xml/metadata.h"

#define MAX_PATH_DEPTH 16

/*
 * Parsing
 */

#if LIBXML_VERSION >= 21200
#define ERROR_CONST const
#else
#define ERROR_CONST
#endif

/* What went wrong; hangs at the parser's _private. */
struct fault {
	bool doctype;
	int code, line; /* of the first error: later ones are often its consequences */
	char message[256];
};

/* Called when <!DOCTYPE is seen, before anything in it is read. */
static void refuse_doctype(void *opaque, const xmlChar *name, const xmlChar *external_id,
			   const xmlChar *system_id)
{
	xmlParserCtxt *ctxt = opaque;
	struct fault *fault = ctxt->_private;

	fault->doctype = true;
	xmlStopParser(ctxt);
}

static void note_error(void *opaque, ERROR_CONST xmlError *error)
{
	xmlParserCtxt *ctxt = opaque;
	struct fault *fault = ctxt->_private;
	const char *message = error->message ? error->message : "";

	if (error->level < XML_ERR_ERROR || fault->code)
		return;
	fault->code = error->code;
	fault->line = error->line;
	snprintf(fault->message, sizeof(fault->message), "%.*s", (int)strcspn(message, "\n"),
		 message);
}

static int parse_error(struct error **errp, const struct fault *fault, const char *file)
{
	const char *message = *fault->message ? fault->message : _("it is not well-formed");

	if (fault->code == XML_ERR_NO_MEMORY)
		return error_set_errno(errp, ENOMEM, "XML");
	if (fault->doctype)
		return error_set(errp, EINVAL,
				 _("%s%sXML: a document type declaration is not accepted"),
				 file ? file : "", file ? ": " : "");
	if (file)
		return error_set(errp, EINVAL, "%s:%d: XML: %s", file, fault->line, message);
	return error_set(errp, EINVAL, _("XML: line %d: %s"), fault->line, message);
}

int xml_parse(const char *text, size_t len, size_t max, const char *file, xmlDoc **ret,
	      struct error **errp)
{
	struct fault fault = { .doctype = false };
	xmlParserCtxt *ctxt;
	xmlDoc *doc;
	int r = 0;

	if (len > max)
		return error_set(errp, E2BIG,
				 _("XML: %zu bytes are too long, at most %zu are read"), len, max);
	ctxt = xmlNewParserCtxt();
	if (!ctxt)
		return error_set_errno(errp, ENOMEM, "XML");
	ctxt->_private = &fault;
	ctxt->sax->internalSubset = refuse_doctype;
	ctxt->sax->serror = note_error;
	doc = xmlCtxtReadMemory(ctxt, text, (int)len, NULL, NULL,
				XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
					XML_PARSE_BIG_LINES);
	if (doc && !fault.doctype && ctxt->wellFormed && xmlDocGetRootElement(doc)) {
		doc->_private = (void *)file;
		*ret = doc;
	} else {
		r = parse_error(errp, &fault, file);
		xmlFreeDoc(doc);
	}
	xmlFreeParserCtxt(ctxt);
	return r;
}

int xml_parse_domain(const char *text, size_t len, const char *file, xmlDoc **ret,
		     struct error **errp)
{
	xmlDoc *doc;
	int r = xml_parse(text, len, METADATA_MAX_XML, file, &doc, errp);

	if (r < 0)
		return r;
	if (!xml_is(xmlDocGetRootElement(doc), NULL, "domain")) {
		r = xml_error(errp, xmlDocGetRootElement(doc), EINVAL,
			      _("this is not the XML of a domain"));
		xmlFreeDoc(doc);
		return r;
	}
	*ret = doc;
	return 0;
}

char *xml_format(xmlDoc *doc, const char *original)
{
	xmlBuffer *buffer = xmlBufferCreate();
	xmlSaveCtxt *save;
	char *text = NULL;
	int options = 0;

	if (!buffer)
		return NULL;
	if (!string_has_prefix(original, "<?xml"))
		options |= XML_SAVE_NO_DECL;
	save = xmlSaveToBuffer(buffer, "UTF-8", options);
	if (save) {
		long saved = xmlSaveDoc(save, doc);

		if (xmlSaveClose(save) >= 0 && saved >= 0)
			text = strdup((const char *)xmlBufferContent(buffer));
	}
	xmlBufferFree(buffer);
	return text;
}

/*
 * Sentences
 */

/* Which of its siblings of the same name; *ret_alone when there are no others. */
static unsigned sibling_index(const xmlNode *node, bool *ret_alone)
{
	const xmlNode *sibling;
	unsigned before = 0;

	for (sibling = node->prev; sibling; sibling = sibling->prev)
		if (sibling->type == XML_ELEMENT_NODE && xmlStrEqual(sibling->name, node->name))
			before++;
	for (sibling = node->next; sibling; sibling = sibling->next)
		if (sibling->type == XML_ELEMENT_NODE && xmlStrEqual(sibling->name, node->name))
			break;
	*ret_alone = !before && !sibling;
	return before;
}

/* The root of a path: the document's, or our <devices>. */
static bool starts_path(const xmlNode *node)
{
	return !node->parent || node->parent->type != XML_ELEMENT_NODE ||
	       xml_is(node, METADATA_NAMESPACE, "devices");
}

char *xml_path(const xmlNode *node)
{
	const xmlNode *nodes[MAX_PATH_DEPTH];
	size_t depth = 0, size;
	char *path = NULL;
	FILE *out;

	while (depth < MAX_PATH_DEPTH) {
		nodes[depth++] = node;
		if (starts_path(node))
			break;
		node = node->parent;
	}
	out = open_memstream(&path, &size);
	if (!out)
		return NULL;
	while (depth--) {
		const char *name = (const char *)nodes[depth]->name;
		bool alone;
		unsigned index = sibling_index(nodes[depth], &alone);

		fputs(name, out);
		/* These two are counted even when alone: one more may come. */
		if (!starts_path(nodes[depth]) &&
		    (!alone || !strcmp(name, "controller") || !strcmp(name, "disk")))
			fprintf(out, "[%u]", index);
		if (depth)
			fputc('/', out);
	}
	if (fclose(out) != 0) {
		free(path);
		return NULL;
	}
	return path;
}

void xml_error_prefix(struct error **errp, const xmlNode *node)
{
	_cleanup_free_ char *path = xml_path(node);
	const char *file = node->doc ? node->doc->_private : NULL;

	if (path)
		error_prefix(errp, "%s", path);
	if (file)
		/* Not error_prefix(): compilers and editors know FILE:LINE: by its form. */
		error_prefix(errp, "%s:%ld", file, xmlGetLineNo((xmlNode *)node));
}

int xml_error(struct error **errp, const xmlNode *node, int code, const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list args;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0) {
		text = NULL;
		return error_set_errno(errp, ENOMEM, "XML");
	}
	error_set(errp, code, "%s", text);
	xml_error_prefix(errp, node);
	return -code;
}

/*
 * Finding
 */

bool xml_is(const xmlNode *node, const char *namespace, const char *name)
{
	if (node->type != XML_ELEMENT_NODE || !xmlStrEqual(node->name, BAD_CAST name))
		return false;
	if (!namespace)
		return !node->ns;
	return node->ns && xmlStrEqual(node->ns->href, BAD_CAST namespace);
}

static xmlNode *first_from(xmlNode *node, const char *namespace, const char *name)
{
	for (; node; node = node->next)
		if (xml_is(node, namespace, name))
			return node;
	return NULL;
}

xmlNode *xml_child(const xmlNode *parent, const char *namespace, const char *name)
{
	return parent ? first_from(parent->children, namespace, name) : NULL;
}

xmlNode *xml_next(const xmlNode *node, const char *namespace, const char *name)
{
	return first_from(node->next, namespace, name);
}

xmlNode *xml_find(const xmlNode *root, const char *path)
{
	xmlNode *node = (xmlNode *)root;
	char name[64];

	while (node && *path) {
		size_t len = strcspn(path, "/");

		snprintf(name, sizeof(name), "%.*s", (int)len, path);
		node = xml_child(node, NULL, name);
		path += len + (path[len] == '/');
	}
	return node;
}

const char *xml_attribute(const xmlNode *node, const char *name)
{
	const xmlAttr *attribute = node ? xmlHasNsProp((xmlNode *)node, BAD_CAST name, NULL) : NULL;

	if (!attribute)
		return NULL;
	/* Without entities a value is one text node, or none when it is empty. */
	return attribute->children ? (const char *)attribute->children->content : "";
}

bool xml_attribute_is(const xmlNode *node, const char *name, const char *value)
{
	const char *is = xml_attribute(node, name);

	return is && !strcmp(is, value);
}

char *xml_text(const xmlNode *node)
{
	xmlChar *content = node ? xmlNodeGetContent(node) : NULL;
	const char *start = content ? (const char *)content : "";
	char *text;
	size_t len;

	while (isspace((unsigned char)*start))
		start++;
	len = strlen(start);
	while (len && isspace((unsigned char)start[len - 1]))
		len--;
	text = strndup(start, len);
	xmlFree(content);
	return text;
}

int xml_unsigned(const char *text, unsigned long max, unsigned long *ret)
{
	unsigned long value = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		if (!isdigit((unsigned char)*text))
			return -EINVAL;
		if (value > (ULONG_MAX - 9) / 10)
			return -ERANGE;
		value = value * 10 + (unsigned long)(*text - '0');
	}
	if (value > max)
		return -ERANGE;
	*ret = value;
	return 0;
}

/*
 * Changing
 */

static bool is_blank(const xmlNode *node)
{
	return node && node->type == XML_TEXT_NODE && xmlIsBlankNode(node);
}

/* The line break and white space in front of an element: "\n    ", without empty lines; else "". */
static const char *indentation_of(const xmlNode *node)
{
	const char *line = is_blank(node->prev) ? (const char *)node->prev->content : "";

	return strrchr(line, '\n') ? strrchr(line, '\n') : "";
}

/* How deep a line inside @parent is to be: as its first child element, else two more than itself.
 */
static char *child_indentation(const xmlNode *parent)
{
	const xmlNode *child;
	const char *own;
	char *text;

	for (child = parent->children; child; child = child->next)
		if (child->type == XML_ELEMENT_NODE)
			return strdup(indentation_of(child));
	own = parent->parent->type == XML_DOCUMENT_NODE ? "\n" : indentation_of(parent);
	/* A document without line breaks stays so. */
	if (!*own)
		return strdup("");
	return asprintf(&text, "%s  ", own) < 0 ? NULL : text;
}

static bool add_text(xmlNode *parent, xmlNode *before, const char *text)
{
	xmlNode *node;

	if (!*text)
		return true;
	node = xmlNewDocText(parent->doc, BAD_CAST text);
	if (!node)
		return false;
	/* libxml2 merges neighbouring text nodes and frees the new one: both is fine here. */
	return before ? xmlAddPrevSibling(before, node) : xmlAddChild(parent, node);
}

xmlNode *xml_insert(xmlNode *parent, xmlNode *before, xmlNs *namespace, const char *name)
{
	_cleanup_free_ char *indentation = child_indentation(parent);
	xmlNode *last = parent->last;
	xmlNode *node;

	if (!indentation)
		return NULL;
	node = xmlNewDocNode(parent->doc, namespace, BAD_CAST name, NULL);
	if (!node)
		return NULL;
	if (before) {
		/* The white space in front of @before is now in front of the new one. */
		if (!xmlAddPrevSibling(before, node) || !add_text(parent, before, indentation))
			return NULL;
		return node;
	}
	if (is_blank(last)) {
		/* Keep what indents the end tag behind the new one. */
		if (!xmlAddPrevSibling(last, node) || !add_text(parent, node, indentation))
			return NULL;
		return node;
	}
	if (!add_text(parent, NULL, indentation) || !xmlAddChild(parent, node))
		return NULL;
	if (*indentation) {
		const char *own = indentation_of(parent);

		if (!add_text(parent, NULL, *own ? own : "\n"))
			return NULL;
	}
	return node;
}

void xml_remove(xmlNode *node)
{
	xmlNode *parent = node->parent;
	xmlNode *before = node->prev;

	xmlUnlinkNode(node);
	xmlFreeNode(node);
	if (is_blank(before)) {
		xmlUnlinkNode(before);
		xmlFreeNode(before);
	}
	/* Nothing but white space left: <x/>, not <x> </x>. */
	if (parent && parent->children && parent->children == parent->last &&
	    is_blank(parent->children)) {
		xmlNode *rest = parent->children;

		xmlUnlinkNode(rest);
		xmlFreeNode(rest);
	}
}

bool xml_set_attribute(xmlNode *node, const char *name, const char *value)
{
	return xmlSetProp(node, BAD_CAST name, BAD_CAST value);
}
