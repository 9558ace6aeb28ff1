// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "base/i18n.h"
#include "daemon/definition.h"
#include "daemon/keeper.h"
#include "daemon/libvirt.h"
#include "daemon/reconcile.h"
#include "daemon/request.h"
#include "daemon/requests.h"
#include "domain-xml/identity.h"

int request_domain_open(struct request_domain *target, const char *name, struct error **errp)
{
	char uuid[VIR_UUID_STRING_BUFLEN];

	*target = (struct request_domain){ .conn = libvirt_connection_wait(errp) };
	if (!target->conn)
		return -ENOTCONN;
	target->dom = virDomainLookupByName(target->conn, name);
	if (!target->dom)
		target->dom = virDomainLookupByUUIDString(target->conn, name);
	if (!target->dom)
		return error_set(errp, ENOENT, _("there is no domain '%s'"), name);
	if (virDomainGetUUIDString(target->dom, uuid) < 0)
		return libvirt_error(errp, "%s", name);
	target->domain = domain_get(uuid);
	if (!target->domain)
		return error_set_errno(errp, ENOMEM, "%s", name);
	pthread_mutex_lock(&target->domain->work);
	target->active = virDomainIsActive(target->dom) == 1;
	target->persistent = virDomainIsPersistent(target->dom) == 1;
	return 0;
}

void request_domain_close(struct request_domain *target)
{
	if (target->domain) {
		pthread_mutex_unlock(&target->domain->work);
		domain_put(target->domain);
	}
	if (target->dom)
		virDomainFree(target->dom);
	if (target->conn)
		virConnectClose(target->conn);
}

int request_look(struct json_object *arguments, struct json_object **ret_result,
		 struct error **errp)
{
	const char *uuid = json_string_or(arguments, "domain", "");
	uint8_t id[16];

	if (identity_controller_uuid(uuid, 0, id) < 0 || !keeper_runs(uuid))
		return error_set(errp, ENOENT, _("there is no domain '%s'"), uuid);
	reconcile_request(uuid);
	return 0;
}

int request_flags(const struct request_domain *target, struct json_object *arguments,
		  bool *ret_live, bool *ret_config, struct error **errp)
{
	*ret_live = json_bool_or(arguments, "live", false);
	*ret_config = json_bool_or(arguments, "config", false);
	if (!*ret_live && !*ret_config) {
		*ret_live = target->active;
		*ret_config = !target->active;
	}
	if (*ret_live && !target->active)
		return error_set(errp, EINVAL, _("the domain does not run; give --config"));
	if (*ret_config && !target->persistent)
		return error_set(errp, EINVAL, _("the domain is transient; give --live"));
	return 0;
}

int request_define(struct json_object *arguments, struct json_object **ret_result,
		   struct error **errp)
{
	_cleanup_free_ char *name = NULL;
	int r;

	r = definition_create(json_string_or(arguments, "xml", ""), &name, errp);
	if (r < 0)
		return r;
	*ret_result = json_object_new_object();
	json_add_string(*ret_result, "domain", name);
	return 0;
}

static int unmanage_one(const char *name, struct json_object *done, struct error **errp)
{
	_cleanup_request_domain_ struct request_domain target = {};
	int r;

	r = request_domain_open(&target, name, errp);
	if (r < 0)
		return r;
	if (!target.persistent)
		return 0;
	r = definition_unmanage(target.domain, target.dom, errp);
	if (r > 0)
		json_object_array_add(done, json_object_new_string(virDomainGetName(target.dom)));
	return MIN(r, 0);
}

static int unmanage_all(struct json_object *done, struct error **errp)
{
	_cleanup_connection_ virConnectPtr conn = libvirt_connection_wait(errp);
	virDomainPtr *domains = NULL;
	int i, n, r = 0;

	if (!conn)
		return -ENOTCONN;
	n = virConnectListAllDomains(conn, &domains, VIR_CONNECT_LIST_DOMAINS_PERSISTENT);
	if (n < 0)
		return libvirt_error(errp, _("cannot list the domains"));
	for (i = 0; i < n; i++) {
		if (r == 0)
			r = unmanage_one(virDomainGetName(domains[i]), done, errp);
		virDomainFree(domains[i]);
	}
	free(domains);
	return r;
}

int request_unmanage(struct json_object *arguments, struct json_object **ret_result,
		     struct error **errp)
{
	struct json_object *done = json_object_new_array();
	const char *name = json_string_or(arguments, "domain", NULL);

	*ret_result = json_object_new_object();
	json_add(*ret_result, "domains", done);
	if (json_bool_or(arguments, "all", false))
		return unmanage_all(done, errp);
	if (!name)
		return error_set(errp, EINVAL, _("name a domain"));
	return unmanage_one(name, done, errp);
}
