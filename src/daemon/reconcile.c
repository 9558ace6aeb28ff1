// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/reconcile.h"

#include <errno.h>

#include "base/log.h"
#include "daemon/definition.h"
#include "daemon/keeper-status.h"
#include "daemon/keeper.h"
#include "daemon/libvirt.h"
#include "daemon/live.h"
#include "daemon/loop.h"
#include "daemon/permit.h"
#include "daemon/pool.h"

/*
 * Theory of operation
 *
 * An event, a scan and a request all lead here, and only say which domain. What is to be done is
 * found by comparing what libvirt says with what the keeper says; doing it again does nothing. So
 * events may be lost, doubled or late.
 *
 * While a guest comes or goes nothing is looked at: libvirt would have us wait for half a minute, and
 * there is nothing that may be changed. The keeper knows when that is over, so we ask it again; and
 * whether it still waits for a permit, whose event we have not heard then.
 *
 * A domain is looked at by one thread at a time; while it is, further marks are gathered into one
 * more look. Few threads: libvirtd serves five requests of a connection at a time.
 */

#define THREADS	   4
#define LATER_USEC 1000000

static struct pool *pool;

int reconcile_init(void)
{
	pool = pool_new("reconcile", THREADS);
	return pool ? 0 : -ENOMEM;
}

/* A start that began after libvirt was asked has made the keeper new again. */
static void stop_leftover(struct domain *domain, unsigned epoch)
{
	_cleanup_json_ struct json_object *status = NULL;
	_cleanup_error_ struct error *err = NULL;

	if (domain_epoch(domain) != epoch)
		return;
	if (keeper_call(domain->uuid, "status", NULL, &status, NULL) < 0) {
		domain_release(domain);
		return;
	}
	/* libvirt may have lost sight of a domain; its guest goes on. */
	if (json_bool_or(json_child(status, "qemu", json_type_object), "connected", false)) {
		log_warning("%s: libvirt does not run it, but a QEMU uses its disks", domain->uuid);
		return;
	}
	domain_release(domain);
	log_info("%s: its domain does not run; stopping the keeper", domain->uuid);
	if (keeper_stop(domain->uuid, &err) < 0)
		log_warning("%s: %s", domain->uuid, error_message(err));
}

static bool comes_or_goes(struct domain *domain)
{
	_cleanup_json_ struct json_object *status = NULL;
	struct json_object *awaits;

	if (keeper_call(domain->uuid, "status", NULL, &status, NULL) < 0 ||
	    !json_bool_or(json_child(status, "qemu", json_type_object), "connected", false) ||
	    !keeper_status_migrates(status))
		return false;
	awaits = json_child(status, "awaits_permit", json_type_object);
	if (awaits)
		permit_event(domain->uuid, json_u64_or(awaits, "seconds", 0),
			     json_u64_or(awaits, "micros", 0));
	return true;
}

static void look_at_definition(struct domain *domain, virDomainPtr dom, bool *ret_ours)
{
	_cleanup_error_ struct error *err = NULL;
	bool persistent = virDomainIsPersistent(dom) == 1;
	static struct log_limit limit;
	int r;

	domain_set_name(domain, virDomainGetName(dom), persistent);
	if (!persistent)
		return;
	r = definition_rewrite(domain, dom, ret_ours, &err);
	if (r < 0 && r != -EAGAIN && log_limit_pass(&limit, "definition"))
		log_warning("%s: %s", virDomainGetName(dom), error_message(err));
}

static void request_now(void *opaque)
{
	reconcile_request(opaque);
	free(opaque);
}

/* The same in a second: now something is in the way. */
static void request_later(const char *uuid)
{
	char *copy = strdup(uuid);

	if (copy)
		loop_post_later(LATER_USEC, request_now, copy);
}

static void look_at(struct domain *domain)
{
	_cleanup_error_ struct error *err = NULL;
	_cleanup_connection_ virConnectPtr conn = libvirt_connection(NULL);
	_cleanup_virdomain_ virDomainPtr dom = NULL;
	unsigned epoch = domain_epoch(domain);
	bool ours = false;

	if (!conn)
		return; /* the next connection's scan comes back to it */
	if (comes_or_goes(domain)) {
		request_later(domain->uuid);
		return;
	}
	dom = virDomainLookupByUUIDString(conn, domain->uuid);
	if (!dom) {
		if (libvirt_error(NULL, "lookup") == -ENOENT) {
			stop_leftover(domain, epoch);
			domain_forget(domain);
		}
		return;
	}
	look_at_definition(domain, dom, &ours);
	switch (virDomainIsActive(dom)) {
	case 0:
		stop_leftover(domain, epoch);
		if (!ours)
			domain_forget(domain);
		break;
	case 1:
		if (live_reconcile(domain, dom, &ours, &err) < 0)
			log_warning("%s: %s", virDomainGetName(dom), error_message(err));
		if (!ours)
			domain_forget(domain);
		break;
	}
}

static void run(void *opaque)
{
	struct domain *domain = opaque;

	domain_begin(domain);
	pthread_mutex_lock(&domain->work);
	look_at(domain);
	pthread_mutex_unlock(&domain->work);
	if (domain_end(domain) && pool_submit(pool, run, domain) == 0)
		return;
	domain_put(domain);
}

void reconcile_request(const char *uuid)
{
	struct domain *domain = domain_get(uuid);

	if (!domain)
		return;
	/* The reference goes with the queued work. */
	if (!domain_mark(domain) || pool_submit(pool, run, domain) < 0)
		domain_put(domain);
}

void reconcile_request_keepers(void)
{
	keeper_for_each(reconcile_request);
}
