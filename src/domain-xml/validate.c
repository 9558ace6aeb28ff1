// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain-xml/validate.h"

#include <errno.h>

#include "domain-xml/parse.h"
#include "domain-xml/rewrite.h"

/* Any: the domain may not have one yet, and what is judged here does not depend on it. */
#define SOME_UUID "00000000-0000-4000-8000-000000000000"

int domain_xml_validate(const char *xml, size_t len, const char *file, struct error **errp)
{
	const struct rewrite_options options = { .uuid = SOME_UUID };
	_cleanup_xml_doc_ xmlDoc *doc = NULL;
	int r = xml_parse_domain(xml, len, file, &doc, errp);

	return r < 0 ? r : rewrite_document(doc, &options, errp);
}
