/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_DEFINITION_H
#define DAEMON_DEFINITION_H

#include <libvirt/libvirt.h>

#include "daemon/domain.h"

/*
 * The persistent definition of a domain. See definition.c.
 */

/* How a definition is read and replaced: libvirt's, or a test's. */
struct definition_access {
	char *(*read)(void *opaque, struct error **errp); /* malloc()ed */
	int (*define)(void *opaque, const char *xml, struct error **errp);
	void *opaque;
};

/**
 * definition_settle() - make a definition what its metadata asks for
 * @ret_metadata: of the outcome, the caller's; NULL when the domain is not ours
 *
 * Return: 1 when it was replaced, 0 when there was nothing to change, -EAGAIN when somebody else
 * changed it meanwhile, else -errno with a sentence.
 */
int definition_settle(const struct definition_access *access, struct metadata **ret_metadata,
		      struct error **errp);

/**
 * definition_rewrite() - have the persistent definition carry what its metadata asks for
 * @domain: its `work` is held
 * @ret_ours: the definition has metadata or a block of ours; may be NULL
 *
 * Defines only when that changes something. Volumes are resolved and created.
 *
 * Return: 0, -EAGAIN when somebody changed the definition meanwhile (there will be an event), else
 * -errno with a sentence.
 */
int definition_rewrite(struct domain *domain, virDomainPtr dom, bool *ret_ours,
		       struct error **errp);

/** definition_create() - define a domain from XML, rewritten; @ret_name: malloc()ed */
int definition_create(const char *xml, char **ret_name, struct error **errp);

/** definition_unmanage() - take it all back. 1 when something was, 0 when there was nothing, or
 * -errno with a sentence */
int definition_unmanage(struct domain *domain, virDomainPtr dom, struct error **errp);

/** definition_metadata() - our element of the persistent definition; without controllers when there
 * is none. NULL with a sentence. */
struct metadata *definition_metadata(virDomainPtr dom, struct error **errp);

/** definition_set_metadata() - change it, and rewrite; an @metadata without controllers removes it */
int definition_set_metadata(struct domain *domain, virDomainPtr dom,
			    const struct metadata *metadata, struct error **errp);

#endif
