// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "base/i18n.h"
#include "daemon/keeper.h"
#include "daemon/libvirt.h"
#include "daemon/request.h"
#include "daemon/requests.h"

/* -ENOENT: it has no keeper, so there is nothing to do. */
static int upgrade_one(const char *name, struct json_object *list, struct error **errp)
{
	_cleanup_request_domain_ struct request_domain target = {};
	struct json_object *result = NULL;
	int r;

	r = request_domain_open(&target, name, errp);
	if (r < 0)
		return r;
	if (!target.active)
		return error_set(errp, EINVAL, _("domain '%s' does not run"), name);
	if (!keeper_runs(target.domain->uuid))
		return error_set(errp, ENOENT, _("domain '%s' runs without NVMe disks of ours"),
				 name);
	r = keeper_call(target.domain->uuid, "upgrade", NULL, &result, errp);
	if (r < 0)
		return r;
	json_add_string(result, "name", virDomainGetName(target.dom));
	json_object_array_add(list, result);
	return 0;
}

/* One that cannot be upgraded is no reason to leave the others. */
static int upgrade_all(struct json_object *list, struct error **errp)
{
	_cleanup_connection_ virConnectPtr conn = libvirt_connection_wait(errp);
	virDomainPtr *domains = NULL;
	int i, n;

	if (!conn)
		return -ENOTCONN;
	n = virConnectListAllDomains(conn, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
	if (n < 0)
		return libvirt_error(errp, _("cannot list the domains"));
	for (i = 0; i < n; i++) {
		_cleanup_error_ struct error *err = NULL;

		if (upgrade_one(virDomainGetName(domains[i]), list, &err) < 0 &&
		    err->code != ENOENT) {
			struct json_object *entry = json_object_new_object();

			json_add_string(entry, "name", virDomainGetName(domains[i]));
			json_add_string(entry, "problem", error_message(err));
			json_object_array_add(list, entry);
		}
		virDomainFree(domains[i]);
	}
	free(domains);
	return 0;
}

int request_upgrade(struct json_object *arguments, struct json_object **ret_result,
		    struct error **errp)
{
	struct json_object *list = json_object_new_array();
	const char *name = json_string_or(arguments, "domain", NULL);

	*ret_result = json_object_new_object();
	json_add(*ret_result, "domains", list);
	if (json_bool_or(arguments, "all", false))
		return upgrade_all(list, errp);
	if (!name)
		return error_set(errp, EINVAL, _("name a domain"));
	return upgrade_one(name, list, errp);
}
