/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_DOMAIN_H
#define DAEMON_DOMAIN_H

#include <pthread.h>

#include "base/error.h"
#include "daemon/source.h"
#include "domain-xml/metadata.h"

/*
 * What the daemon remembers of a domain. Nothing of it is needed to be right: all of it can be
 * found again from libvirt and the keepers.
 *
 * Two locks. `work` is held by whoever changes the domain, over libvirt calls, and is taken in
 * worker threads only. The lock of the table is held for a few instructions and never over a call
 * that can block: what a hook needs is under it.
 */
struct domain {
	char uuid[37];
	pthread_mutex_t work;

	/* Under `work`. */
	struct metadata *live; /* the record as last written, to be carried over a new wish */
	unsigned live_id;      /* libvirt's id of the run that it is of */

	/* Under the table's lock. */
	unsigned refs;
	bool queued, dirty;
	bool persistent;	/* libvirt has a definition: a refused start can be tried again */
	unsigned epoch;		/* counts starts; see domain_epoch() */
	int64_t incoming_until; /* ms, CLOCK_MONOTONIC; 0: not expected. domain_expect_incoming() */
	char *name;		/* may be NULL */
	struct source_list active; /* what it uses while it runs */
};

/** domain_get() - by UUID, made when there is none; domain_put() gives it back. NULL when out of
 * memory. */
struct domain *domain_get(const char *uuid);

/** domain_find() - by UUID; NULL when there is none */
struct domain *domain_find(const char *uuid);

void domain_put(struct domain *domain);

/** domain_forget() - drop it from the table, unless it is wanted again already */
void domain_forget(struct domain *domain);

/**
 * domain_mark() - it wants looking at
 *
 * Return: true when the caller has to queue it, false when it is queued already.
 */
bool domain_mark(struct domain *domain);

/** domain_begin() - what has been marked up to here is being looked at */
void domain_begin(struct domain *domain);

/** domain_end() - true when it was marked meanwhile and has to be queued again */
bool domain_end(struct domain *domain);

/** domain_set_name() - and whether libvirt keeps its definition */
void domain_set_name(struct domain *domain, const char *name, bool persistent);

/** domain_is_persistent() - as far as we know */
bool domain_is_persistent(struct domain *domain);

/**
 * domain_starting() - a start has begun: its keeper is not to be taken for a leftover
 *
 * domain_epoch() is read before libvirt is asked whether a domain runs, and compared before its
 * keeper is stopped.
 */
void domain_starting(struct domain *domain);
unsigned domain_epoch(struct domain *domain);

/**
 * domain_claim() - note what a domain uses, unless another one does
 * @sources: contents taken over, also on failure
 *
 * Return: 0, or -EBUSY with a sentence that names the source and the other domain.
 */
int domain_claim(struct domain *domain, const char *name, struct source_list *sources,
		 struct error **errp);

/**
 * domain_check_source() - would another domain's use clash with it? 0 or -EBUSY with a sentence
 *
 * @domain NULL: any domain's.
 */
int domain_check_source(struct domain *domain, const struct source *source, struct error **errp);

/**
 * domain_expect_incoming() - a guest is about to arrive: its next start is not a cold one
 *
 * libvirt says so in one hook, `migrate` or `restore`, and starts in the next, `prepare`, within the
 * same call. What it gives up in between leaves no trace, so the mark does not outlive a minute, and
 * `prepare` looks for more than the mark.
 */
void domain_expect_incoming(struct domain *domain);

/** domain_take_incoming() - is this start that of an arriving guest? Forgets it */
bool domain_take_incoming(struct domain *domain);

/** domain_release() - it does not run any more */
void domain_release(struct domain *domain);

static inline void cleanup_domain(struct domain **domain)
{
	domain_put(*domain);
}

#define _cleanup_domain_ _cleanup_(cleanup_domain)

#endif
