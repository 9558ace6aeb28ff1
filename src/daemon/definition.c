// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/definition.h"

#include <errno.h>

#include "base/i18n.h"
#include "base/log.h"
#include "daemon/libvirt.h"
#include "daemon/probe.h"
#include "daemon/volumes.h"
#include "domain-xml/domain.h"

/*
 * Theory of operation
 *
 * libvirt tells every definition, ours included, to everybody, and has no compare-and-swap. So the
 * rewrite is a fixed point: what it made, it does not change again, and then nothing is defined and
 * no event comes. And the definition is read a second time right before it is replaced; if somebody
 * was faster, theirs stays and their event brings us back. A small window remains; virsh edit
 * notices a change that falls into it.
 */

/* SECURE: without it a definition would lose its passwords. */
#define READ_FLAGS (VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE)

static char *read_definition(void *dom, struct error **errp)
{
	char *xml = virDomainGetXMLDesc(dom, READ_FLAGS);

	if (!xml)
		libvirt_error(errp, _("cannot read the definition"));
	return xml;
}

static int define(void *dom, const char *xml, struct error **errp)
{
	virDomainPtr defined = virDomainDefineXML(virDomainGetConnect(dom), xml);

	if (!defined)
		return libvirt_error(errp, _("cannot define the rewritten domain"));
	virDomainFree(defined);
	return 0;
}

/* Define @new in place of @old, if @old is what is still there. */
static int replace_definition(const struct definition_access *access, const char *old,
			      const char *new, struct error **errp)
{
	_cleanup_free_ char *now = access->read(access->opaque, errp);

	if (!now)
		return -EIO;
	if (!string_equal(now, old))
		return error_set(errp, EAGAIN,
				 _("the definition was changed by somebody else; try again"));
	return access->define(access->opaque, new, errp);
}

int definition_settle(const struct definition_access *access, struct metadata **ret_metadata,
		      struct error **errp)
{
	struct rewrite_options options;
	_cleanup_free_ char *xml = NULL;
	_cleanup_free_ char *new = NULL;
	bool changed;
	int r;

	*ret_metadata = NULL;
	xml = access->read(access->opaque, errp);
	if (!xml)
		return -EIO;
	if (!domain_xml_is_ours(xml, strlen(xml)))
		return 0;
	r = probe_rewrite_options(xml, false, &options, errp);
	if (r == 0)
		r = domain_xml_rewrite(xml, strlen(xml), &options, &new, &changed, errp);
	if (r == 0 && changed)
		r = replace_definition(access, xml, new, errp);
	if (r == 0)
		r = metadata_parse_domain(new, strlen(new), ret_metadata, errp);
	return r < 0 ? r : changed;
}

int definition_rewrite(struct domain *domain, virDomainPtr dom, bool *ret_ours, struct error **errp)
{
	const struct definition_access access = { read_definition, define, dom };
	_cleanup_metadata_ struct metadata *metadata = NULL;
	int r;

	r = definition_settle(&access, &metadata, errp);
	if (ret_ours)
		*ret_ours = r < 0 || metadata;
	if (r < 0)
		return r;
	if (r > 0)
		log_info("%s: definition rewritten", virDomainGetName(dom));
	if (metadata)
		volumes_prepare(virDomainGetName(dom), metadata);
	return 0;
}

int definition_create(const char *xml, char **ret_name, struct error **errp)
{
	_cleanup_connection_ virConnectPtr conn = libvirt_connection_wait(errp);
	_cleanup_virdomain_ virDomainPtr dom = NULL;
	_cleanup_domain_ struct domain *domain = NULL;
	struct rewrite_options options;
	_cleanup_free_ char *new = NULL;
	char uuid[VIR_UUID_STRING_BUFLEN];
	int r;

	if (!conn)
		return -ENOTCONN;
	r = probe_rewrite_options(xml, false, &options, errp);
	if (r == 0)
		r = domain_xml_rewrite(xml, strlen(xml), &options, &new, NULL, errp);
	if (r < 0)
		return r;
	dom = virDomainDefineXMLFlags(conn, new, VIR_DOMAIN_DEFINE_VALIDATE);
	if (!dom || virDomainGetUUIDString(dom, uuid) < 0)
		return libvirt_error(errp, _("libvirt refuses the domain"));
	/* What libvirt filled in (UUID, emulator, addresses) is known only now. */
	domain = domain_get(uuid);
	if (!domain)
		return error_set_errno(errp, ENOMEM, "domain");
	pthread_mutex_lock(&domain->work);
	r = definition_rewrite(domain, dom, NULL, errp);
	pthread_mutex_unlock(&domain->work);
	if (r < 0)
		return r;
	domain_set_name(domain, virDomainGetName(dom), true);
	*ret_name = strdup(virDomainGetName(dom));
	return *ret_name ? 0 : error_set_errno(errp, ENOMEM, "domain");
}

int definition_unmanage(struct domain *domain, virDomainPtr dom, struct error **errp)
{
	const struct definition_access access = { read_definition, define, dom };
	_cleanup_free_ char *xml = read_definition(dom, errp);
	_cleanup_free_ char *new = NULL;
	bool changed;
	int r;

	if (!xml)
		return -EIO;
	if (!domain_xml_is_ours(xml, strlen(xml)))
		return 0;
	/* With the metadata left in, the next event would rewrite it again. */
	r = domain_xml_unmanage(xml, strlen(xml), false, &new, &changed, errp);
	if (r == 0 && changed)
		r = replace_definition(&access, xml, new, errp);
	return r < 0 ? r : changed;
}

struct metadata *definition_metadata(virDomainPtr dom, struct error **errp)
{
	_cleanup_free_ char *xml = read_definition(dom, errp);
	struct metadata *metadata = NULL;

	if (xml)
		metadata_parse_domain(xml, strlen(xml), &metadata, errp);
	return metadata;
}

int definition_set_metadata(struct domain *domain, virDomainPtr dom,
			    const struct metadata *metadata, struct error **errp)
{
	_cleanup_free_ char *text = NULL;

	if (metadata->controller_count) {
		text = metadata_format(metadata, errp);
		if (!text)
			return -ENOMEM;
	}
	if (virDomainSetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, text, METADATA_PREFIX,
				 METADATA_NAMESPACE, VIR_DOMAIN_AFFECT_CONFIG) < 0)
		return libvirt_error(errp, _("cannot change the definition"));
	return definition_rewrite(domain, dom, NULL, errp);
}
