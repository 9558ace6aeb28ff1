// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/libvirt.h"

#include <errno.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "base/i18n.h"
#include "base/log.h"
#include "daemon/capabilities.h"
#include "daemon/domain.h"
#include "daemon/permit.h"
#include "daemon/reconcile.h"
#include "domain-xml/metadata.h"

/*
 * Theory of operation
 *
 * libvirt's default event loop runs in a thread of its own, from before the first connection is
 * opened. Its callbacks do nothing but note which domain wants looking at: a libvirt call from
 * there would starve all other events for as long as a domain's job takes.
 *
 * A second thread keeps the connection: open, register the callbacks, and only then look at all
 * domains, so that nothing can happen between. When the connection is lost (libvirtd was restarted)
 * events were lost with it; the next connection's scan finds out what they would
 * have said. Everybody else works level-triggered. A request that comes while there is none cuts the
 * back-off short and waits for some seconds: a user who has just started libvirt is not sent away.
 *
 * We send no keepalive: libvirt is on this host, its end closes the socket, and a libvirtd that hangs
 * would not answer a new connection either. What wakes us when nothing happens is libvirtd's own
 * (keepalive_interval in libvirtd.conf).
 */

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS	 5000
#define WAIT_SECONDS	 5 /* of a request, for the connection to come back */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t lost;   /* signalled by the close callback */
	pthread_cond_t wanted; /* a request waits: the end of the back-off is too late */
	pthread_cond_t found;  /* the connection is there */
	unsigned waiting;
	char *uri;
	virConnectPtr conn, storage;
	bool closed;
	bool owner_known;
	uid_t uid;
	gid_t gid;
} state = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.lost = PTHREAD_COND_INITIALIZER,
};

int libvirt_error(struct error **errp, const char *format, ...)
{
	virErrorPtr last = virGetLastError();
	_cleanup_free_ char *what = NULL;
	int code = EIO;
	va_list args;

	if (last &&
	    (last->code == VIR_ERR_NO_DOMAIN || last->code == VIR_ERR_NO_STORAGE_POOL ||
	     last->code == VIR_ERR_NO_STORAGE_VOL || last->code == VIR_ERR_NO_DOMAIN_METADATA))
		code = ENOENT;
	va_start(args, format);
	if (vasprintf(&what, format, args) < 0)
		what = NULL;
	va_end(args);
	return error_set(errp, code, "%s: %s", what ? what : "libvirt",
			 last && last->message ? last->message : _("unknown error"));
}

/* libvirt would print every error to stderr. */
static void ignore_error(void *opaque, virErrorPtr err)
{
}

static void *event_thread(void *opaque)
{
	pthread_setname_np(pthread_self(), "libvirt-events");
	for (;;)
		if (virEventRunDefaultImpl() < 0)
			log_error("libvirt's event loop: %s", virGetLastErrorMessage());
	return NULL;
}

static void want_reconcile(virDomainPtr dom)
{
	char uuid[VIR_UUID_STRING_BUFLEN];

	if (virDomainGetUUIDString(dom, uuid) == 0)
		reconcile_request(uuid);
}

/* A hook of a start right behind the definition wants to know before anybody can ask libvirt. */
static void note_definition(virDomainPtr dom, bool persistent)
{
	_cleanup_domain_ struct domain *domain = NULL;
	char uuid[VIR_UUID_STRING_BUFLEN];

	if (virDomainGetUUIDString(dom, uuid) < 0)
		return;
	domain = domain_get(uuid);
	if (domain)
		domain_set_name(domain, virDomainGetName(dom), persistent);
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr dom, int event, int detail, void *opaque)
{
	log_debug("%s: lifecycle event %d, detail %d", virDomainGetName(dom), event, detail);
	switch (event) {
	case VIR_DOMAIN_EVENT_DEFINED:
	case VIR_DOMAIN_EVENT_UNDEFINED:
		note_definition(dom, event == VIR_DOMAIN_EVENT_DEFINED);
		want_reconcile(dom);
		break;
	case VIR_DOMAIN_EVENT_STARTED:
	case VIR_DOMAIN_EVENT_STOPPED:
	case VIR_DOMAIN_EVENT_CRASHED:
		want_reconcile(dom);
		break;
	}
	return 0;
}

static void on_metadata(virConnectPtr conn, virDomainPtr dom, int type, const char *uri,
			void *opaque)
{
	if (type == VIR_DOMAIN_METADATA_ELEMENT && string_equal(uri, METADATA_NAMESPACE))
		want_reconcile(dom);
}

/* Of both ends; "setup" is the beginning, before anything is copied. */
static void on_migration(virConnectPtr conn, virDomainPtr dom, const char *event, long long seconds,
			 unsigned int micros, const char *details, void *opaque)
{
	_cleanup_json_ struct json_object *data =
		details ? json_parse(details, strlen(details), NULL) : NULL;
	char uuid[VIR_UUID_STRING_BUFLEN];

	if (virDomainGetUUIDString(dom, uuid) == 0 &&
	    string_equal(json_string_or(data, "status", ""), "setup"))
		permit_event(uuid, seconds, micros);
}

static void on_device_deleted(virConnectPtr conn, virDomainPtr dom, const char *event,
			      long long seconds, unsigned int micros, const char *details,
			      void *opaque)
{
	want_reconcile(dom);
}

static void on_close(virConnectPtr conn, int reason, void *opaque)
{
	pthread_mutex_lock(&state.lock);
	state.closed = true;
	pthread_cond_broadcast(&state.lost);
	pthread_mutex_unlock(&state.lock);
}

static int register_callbacks(virConnectPtr conn)
{
	if (virConnectRegisterCloseCallback(conn, on_close, NULL, NULL) < 0 ||
	    virConnectDomainEventRegisterAny(conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
					     VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), NULL,
					     NULL) < 0 ||
	    virConnectDomainEventRegisterAny(conn, NULL, VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
					     VIR_DOMAIN_EVENT_CALLBACK(on_metadata), NULL,
					     NULL) < 0 ||
	    virConnectDomainQemuMonitorEventRegister(conn, NULL, "DEVICE_DELETED",
						     on_device_deleted, NULL, NULL, 0) < 0 ||
	    virConnectDomainQemuMonitorEventRegister(conn, NULL, "MIGRATION", on_migration, NULL,
						     NULL, 0) < 0)
		return -EIO;
	return 0;
}

static void learn_owner(virConnectPtr conn)
{
	_cleanup_free_ char *capabilities = virConnectGetCapabilities(conn);
	uid_t uid;
	gid_t gid;

	if (!capabilities || capabilities_dac_owner(capabilities, &uid, &gid) < 0)
		return;
	pthread_mutex_lock(&state.lock);
	state.owner_known = true;
	state.uid = uid;
	state.gid = gid;
	pthread_mutex_unlock(&state.lock);
}

bool libvirt_owner(uid_t *ret_uid, gid_t *ret_gid)
{
	bool known;

	pthread_mutex_lock(&state.lock);
	known = state.owner_known;
	*ret_uid = state.uid;
	*ret_gid = state.gid;
	pthread_mutex_unlock(&state.lock);
	return known;
}

static void scan(virConnectPtr conn)
{
	virDomainPtr *domains = NULL;
	int i, n;

	n = virConnectListAllDomains(conn, &domains, 0);
	if (n < 0)
		log_warning("cannot list the domains: %s", virGetLastErrorMessage());
	for (i = 0; i < n; i++) {
		want_reconcile(domains[i]);
		virDomainFree(domains[i]);
	}
	free(domains);
	reconcile_request_keepers();
}

static void serve_connection(virConnectPtr conn)
{
	pthread_mutex_lock(&state.lock);
	state.closed = false;
	pthread_mutex_unlock(&state.lock);

	if (register_callbacks(conn) < 0) {
		log_warning("cannot register for events: %s", virGetLastErrorMessage());
		return;
	}
	learn_owner(conn);
	pthread_mutex_lock(&state.lock);
	state.conn = conn;
	pthread_cond_broadcast(&state.found);
	pthread_mutex_unlock(&state.lock);
	log_info("connected to libvirt (%s)", state.uri);
	scan(conn);

	pthread_mutex_lock(&state.lock);
	while (!state.closed)
		pthread_cond_wait(&state.lost, &state.lock);
	state.conn = NULL;
	pthread_mutex_unlock(&state.lock);
	log_warning("the connection to libvirt is lost");
}

static struct timespec in_ms(unsigned ms)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += ms / 1000;
	end.tv_nsec += ms % 1000 * 1000000L;
	if (end.tv_nsec >= 1000000000L) {
		end.tv_sec++;
		end.tv_nsec -= 1000000000L;
	}
	return end;
}

static void back_off(unsigned ms)
{
	struct timespec end = in_ms(ms);
	bool wanted;
	int r = 0;

	pthread_mutex_lock(&state.lock);
	while (!state.waiting && r == 0)
		r = pthread_cond_timedwait(&state.wanted, &state.lock, &end);
	wanted = state.waiting;
	pthread_mutex_unlock(&state.lock);
	if (wanted)
		usleep(MIN(ms, (unsigned)BACKOFF_FIRST_MS) * 1000);
}

static void *connection_thread(void *opaque)
{
	unsigned backoff = BACKOFF_FIRST_MS;
	static struct log_limit limit;

	for (;;) {
		virConnectPtr conn = virConnectOpen(state.uri);

		if (conn) {
			backoff = BACKOFF_FIRST_MS;
			serve_connection(conn);
			virConnectUnregisterCloseCallback(conn, on_close);
			virConnectClose(conn);
		} else if (log_limit_pass(&limit, "connect")) {
			log_info("libvirt is not there: %s", virGetLastErrorMessage());
		}
		back_off(backoff);
		backoff = MIN(2 * backoff, (unsigned)BACKOFF_MAX_MS);
	}
	return NULL;
}

static void init_conditions(void)
{
	pthread_condattr_t monotonic;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&state.wanted, &monotonic);
	pthread_cond_init(&state.found, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

int libvirt_start(const char *uri, struct error **errp)
{
	pthread_t thread;
	int r;

	state.uri = strdup(uri);
	if (!state.uri)
		return error_set_errno(errp, ENOMEM, "libvirt");
	init_conditions();
	virSetErrorFunc(NULL, ignore_error);
	if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0)
		return error_set(errp, EIO, "libvirt: %s", virGetLastErrorMessage());
	r = pthread_create(&thread, NULL, event_thread, NULL);
	if (r == 0)
		r = pthread_create(&thread, NULL, connection_thread, NULL);
	return r ? error_set_errno(errp, r, "thread") : 0;
}

virConnectPtr libvirt_connection(struct error **errp)
{
	virConnectPtr conn;

	pthread_mutex_lock(&state.lock);
	conn = state.conn;
	if (conn)
		virConnectRef(conn);
	pthread_mutex_unlock(&state.lock);
	if (!conn)
		error_set(errp, ENOTCONN,
			  _("there is no connection to libvirt (%s); is it running?"), state.uri);
	return conn;
}

static bool usable(virConnectPtr conn)
{
	return conn && virConnectIsAlive(conn) == 1;
}

virConnectPtr libvirt_connection_wait(struct error **errp)
{
	struct timespec end = in_ms(WAIT_SECONDS * 1000);
	int r = 0;

	pthread_mutex_lock(&state.lock);
	state.waiting++;
	pthread_cond_signal(&state.wanted);
	while (!usable(state.conn) && r == 0)
		r = pthread_cond_timedwait(&state.found, &state.lock, &end);
	state.waiting--;
	pthread_mutex_unlock(&state.lock);
	return libvirt_connection(errp);
}

virConnectPtr libvirt_storage(struct error **errp)
{
	virConnectPtr conn;

	pthread_mutex_lock(&state.lock);
	conn = state.storage;
	if (conn)
		virConnectRef(conn);
	pthread_mutex_unlock(&state.lock);
	if (conn && virConnectIsAlive(conn) == 1)
		return conn;
	if (conn) {
		pthread_mutex_lock(&state.lock);
		if (state.storage == conn) {
			state.storage = NULL;
			virConnectClose(conn);
		}
		pthread_mutex_unlock(&state.lock);
		virConnectClose(conn);
	}

	conn = virConnectOpen(state.uri);
	if (!conn) {
		libvirt_error(errp, "%s", state.uri);
		return NULL;
	}
	pthread_mutex_lock(&state.lock);
	if (!state.storage) {
		virConnectRef(conn);
		state.storage = conn;
	}
	pthread_mutex_unlock(&state.lock);
	return conn;
}
