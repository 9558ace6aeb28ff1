// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/permit.h"

#include <errno.h>

#include "base/i18n.h"
#include "base/log.h"
#include "daemon/keeper.h"
#include "daemon/libvirt.h"
#include "daemon/migration-rules.h"
#include "daemon/pool.h"

/*
 * Theory of operation
 *
 * For QEMU a migration, a save, a dump and a snapshot with memory are one thing. To the disks they
 * are not: a snapshot would go back to old memory with a newer disk, a migration needs the image on
 * the other host. Only libvirt knows which it is. So the keeper gives no state away before we have
 * told it. An event that we did not hear (the daemon was not there) is made up for by reconcile.c;
 * what we do not see in time fails, with the guest going on.
 *
 * The event comes from libvirt's event thread, which must not wait for libvirt; a worker asks. Which
 * of several migrations the answer is for, the keeper tells by QEMU's time of the event, which it
 * hears on its own monitor too. Neither `work` of the domain is taken nor anything changed: whoever
 * holds it may be waiting for the job that we ask about.
 */

#define THREADS 4

struct permit {
	char uuid[37];
	long long seconds;
	unsigned micros;
};

static struct pool *pool;

int permit_init(void)
{
	pool = pool_new("permit", THREADS);
	return pool ? 0 : -ENOMEM;
}

int permit_judge_job(int operation, unsigned *ret, struct error **errp)
{
	switch (operation) {
	case VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT:
		*ret = MIGRATION_LIVE;
		return 0;
	case VIR_DOMAIN_JOB_OPERATION_SAVE:
		*ret = MIGRATION_SAVE;
		return 0;
	case VIR_DOMAIN_JOB_OPERATION_DUMP:
		*ret = MIGRATION_DUMP;
		return 0;
	case VIR_DOMAIN_JOB_OPERATION_SNAPSHOT:
	case VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT:
		return error_set(errp, EINVAL,
				 _("a snapshot with memory does not contain the NVMe disks: going "
				   "back to it would corrupt them"));
	default:
		return error_set(errp, EINVAL, _("libvirt has not begun this migration (job %d)"),
				 operation);
	}
}

static int ask_operation(virDomainPtr dom, unsigned *ret, struct error **errp)
{
	virTypedParameterPtr params = NULL;
	int count = 0, type, operation = VIR_DOMAIN_JOB_OPERATION_UNKNOWN;

	if (virDomainGetJobStats(dom, &type, &params, &count, 0) < 0)
		return libvirt_error(errp, _("libvirt does not say what QEMU is doing"));
	virTypedParamsGetInt(params, count, VIR_DOMAIN_JOB_OPERATION, &operation);
	virTypedParamsFree(params, count);
	return permit_judge_job(type == VIR_DOMAIN_JOB_NONE ? 0 : operation, ret, errp);
}

static void keep_first(void *opaque, const char *rule, const char *subject, const char *why)
{
	struct error **errp = opaque;

	if (why && !*errp)
		error_set(errp, EINVAL, "%s", why);
}

static int judge(virDomainPtr dom, unsigned operation, struct error **errp)
{
	_cleanup_domain_xml_info_ struct domain_xml_info *info = NULL;
	_cleanup_metadata_ struct metadata *metadata = NULL;
	_cleanup_free_ char *xml = virDomainGetXMLDesc(dom, 0);
	struct error *err = NULL;
	int r;

	if (!xml)
		return libvirt_error(errp, _("cannot read the running domain"));
	r = domain_xml_info(xml, strlen(xml), &info, errp);
	if (r == 0)
		r = metadata_parse_domain(xml, strlen(xml), &metadata, errp);
	if (r < 0)
		return r;
	migration_rules_judge(operation, info, metadata, keep_first, &err);
	return err ? error_propagate(errp, err) : 0;
}

static int find_out(const char *uuid, unsigned *ret, struct error **errp)
{
	_cleanup_connection_ virConnectPtr conn = libvirt_connection(errp);
	_cleanup_virdomain_ virDomainPtr dom = NULL;
	int r;

	if (!conn)
		return -ENOTCONN;
	dom = virDomainLookupByUUIDString(conn, uuid);
	if (!dom)
		return libvirt_error(errp, _("cannot find the domain"));
	r = ask_operation(dom, ret, errp);
	return r < 0 ? r : judge(dom, *ret, errp);
}

/* Did a guest arrive and stay paused? Its keeper waits for it to run, and it may leave before. */
static bool has_arrived(const char *uuid)
{
	_cleanup_connection_ virConnectPtr conn = libvirt_connection(NULL);
	_cleanup_virdomain_ virDomainPtr dom = NULL;
	int state, reason;

	dom = conn ? virDomainLookupByUUIDString(conn, uuid) : NULL;
	return dom && virDomainGetState(dom, &state, &reason, 0) == 0 &&
	       state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_USER;
}

/* The keeper of a guest that arrives has nothing to give away, and libvirt would have us wait for
 * half a minute until it has arrived. */
static bool is_source(const char *uuid)
{
	_cleanup_json_ struct json_object *status = NULL;

	if (keeper_call(uuid, "status", NULL, &status, NULL) < 0)
		return false;
	return !string_equal(json_string_or(status, "migration", ""), "incoming") ||
	       has_arrived(uuid);
}

static void run(void *opaque)
{
	struct permit *permit = opaque;
	_cleanup_error_ struct error *refusal = NULL;
	_cleanup_error_ struct error *err = NULL;
	struct json_object *arguments;
	unsigned operation = 0;
	int r;

	if (!is_source(permit->uuid)) {
		free(permit);
		return;
	}
	arguments = json_object_new_object();
	json_add_u64(arguments, "seconds", permit->seconds);
	json_add_u64(arguments, "micros", permit->micros);
	r = find_out(permit->uuid, &operation, &refusal);
	if (r < 0)
		json_add_string(arguments, "refused", error_message(refusal));
	else
		json_add_string(arguments, "operation", migration_operation_name(operation));
	log_info("%s: %s %s", permit->uuid, r < 0 ? "a migration is refused:" : "permitted: a",
		 r < 0 ? error_message(refusal) : migration_operation_name(operation));
	if (keeper_call(permit->uuid, "permit-migration", arguments, NULL, &err) < 0)
		log_warning("%s: %s", permit->uuid, error_message(err));
	free(permit);
}

void permit_event(const char *uuid, long long seconds, unsigned micros)
{
	struct permit *permit = calloc(1, sizeof(*permit));

	if (!permit)
		return; /* the keeper gives up in time */
	memcpy(permit->uuid, uuid, sizeof(permit->uuid));
	permit->seconds = seconds;
	permit->micros = micros;
	if (pool_submit(pool, run, permit) < 0)
		free(permit);
}
