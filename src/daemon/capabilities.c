// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/capabilities.h"

#include <errno.h>
#include <grp.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <pwd.h>

#include "base/util.h"

static int parse_id(const char *text, unsigned *ret)
{
	char *end;

	text += *text == '+';
	errno = 0;
	*ret = strtoul(text, &end, 10);
	return errno || end == text || *end ? -EINVAL : 0;
}

int capabilities_dac_label(const char *label, uid_t *ret_uid, gid_t *ret_gid)
{
	_cleanup_free_ char *user = strdup(label);
	struct passwd passwd, *found_user = NULL;
	struct group group, *found_group = NULL;
	char buffer[4096];
	char *colon;

	colon = user ? strchr(user, ':') : NULL;
	if (!colon)
		return -EINVAL;
	*colon = '\0';
	if (parse_id(user, ret_uid) < 0) {
		if (getpwnam_r(user, &passwd, buffer, sizeof(buffer), &found_user) != 0 ||
		    !found_user)
			return -EINVAL;
		*ret_uid = found_user->pw_uid;
	}
	if (parse_id(colon + 1, ret_gid) < 0) {
		if (getgrnam_r(colon + 1, &group, buffer, sizeof(buffer), &found_group) != 0 ||
		    !found_group)
			return -EINVAL;
		*ret_gid = found_group->gr_gid;
	}
	return 0;
}

/* What an XPath says of a document as text; NULL when that is nothing. */
static char *evaluate(const char *xml, const char *path)
{
	xmlXPathContextPtr context = NULL;
	xmlXPathObjectPtr found = NULL;
	char *text = NULL;
	xmlDocPtr doc;

	doc = xmlReadMemory(xml, strlen(xml), NULL, NULL,
			    XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	if (doc)
		context = xmlXPathNewContext(doc);
	if (context)
		found = xmlXPathEvalExpression((const xmlChar *)path, context);
	if (found && found->stringval && *found->stringval)
		text = strdup((const char *)found->stringval);
	xmlXPathFreeObject(found);
	xmlXPathFreeContext(context);
	xmlFreeDoc(doc);
	return text;
}

int capabilities_dac_owner(const char *xml, uid_t *ret_uid, gid_t *ret_gid)
{
	_cleanup_free_ char *label =
		evaluate(xml, "string(/capabilities/host/secmodel[model='dac']/baselabel)");

	return label && capabilities_dac_label(label, ret_uid, ret_gid) == 0 ? 0 : -ENOENT;
}

char *capabilities_host_uuid(const char *xml)
{
	return evaluate(xml, "string(/capabilities/host/uuid)");
}
