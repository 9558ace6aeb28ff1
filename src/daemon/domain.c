// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/domain.h"

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/i18n.h"

#define INCOMING_MS 60000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct domain **table;
static size_t table_count;

static struct domain *lookup(const char *uuid)
{
	size_t i;

	for (i = 0; i < table_count; i++)
		if (string_equal(table[i]->uuid, uuid))
			return table[i];
	return NULL;
}

static struct domain *create(const char *uuid)
{
	struct domain **grown = realloc(table, (table_count + 1) * sizeof(*table));
	struct domain *domain;

	if (!grown)
		return NULL;
	table = grown;
	domain = calloc(1, sizeof(*domain));
	if (!domain)
		return NULL;
	snprintf(domain->uuid, sizeof(domain->uuid), "%s", uuid);
	pthread_mutex_init(&domain->work, NULL);
	domain->refs = 1; /* the table's */
	table[table_count++] = domain;
	return domain;
}

struct domain *domain_get(const char *uuid)
{
	struct domain *domain;

	pthread_mutex_lock(&lock);
	domain = lookup(uuid);
	if (!domain)
		domain = create(uuid);
	if (domain)
		domain->refs++;
	pthread_mutex_unlock(&lock);
	return domain;
}

struct domain *domain_find(const char *uuid)
{
	struct domain *domain;

	pthread_mutex_lock(&lock);
	domain = lookup(uuid);
	if (domain)
		domain->refs++;
	pthread_mutex_unlock(&lock);
	return domain;
}

static void unref_locked(struct domain *domain)
{
	if (--domain->refs)
		return;
	source_list_clear(&domain->active);
	metadata_free(domain->live);
	pthread_mutex_destroy(&domain->work);
	free(domain->name);
	free(domain);
}

void domain_put(struct domain *domain)
{
	if (!domain)
		return;
	pthread_mutex_lock(&lock);
	unref_locked(domain);
	pthread_mutex_unlock(&lock);
}

void domain_forget(struct domain *domain)
{
	size_t i;

	pthread_mutex_lock(&lock);
	for (i = 0; i < table_count; i++)
		if (table[i] == domain && !domain->dirty && !domain->active.count &&
		    !domain->incoming_until &&
		    domain->refs == 2) { /* the table and the one who looked */
			table[i] = table[--table_count];
			unref_locked(domain);
			break;
		}
	pthread_mutex_unlock(&lock);
}

bool domain_mark(struct domain *domain)
{
	bool queue;

	pthread_mutex_lock(&lock);
	domain->dirty = true;
	queue = !domain->queued;
	domain->queued = true;
	pthread_mutex_unlock(&lock);
	return queue;
}

void domain_begin(struct domain *domain)
{
	pthread_mutex_lock(&lock);
	domain->dirty = false;
	pthread_mutex_unlock(&lock);
}

bool domain_end(struct domain *domain)
{
	bool again;

	pthread_mutex_lock(&lock);
	again = domain->dirty;
	domain->queued = again;
	pthread_mutex_unlock(&lock);
	return again;
}

static void set_name_locked(struct domain *domain, const char *name)
{
	if (string_equal(domain->name, name))
		return;
	free(domain->name);
	domain->name = name ? strdup(name) : NULL;
}

void domain_set_name(struct domain *domain, const char *name, bool persistent)
{
	pthread_mutex_lock(&lock);
	set_name_locked(domain, name);
	domain->persistent = persistent;
	pthread_mutex_unlock(&lock);
}

bool domain_is_persistent(struct domain *domain)
{
	bool persistent;

	pthread_mutex_lock(&lock);
	persistent = domain->persistent;
	pthread_mutex_unlock(&lock);
	return persistent;
}

void domain_starting(struct domain *domain)
{
	pthread_mutex_lock(&lock);
	domain->epoch++;
	pthread_mutex_unlock(&lock);
}

unsigned domain_epoch(struct domain *domain)
{
	unsigned epoch;

	pthread_mutex_lock(&lock);
	epoch = domain->epoch;
	pthread_mutex_unlock(&lock);
	return epoch;
}

void domain_expect_incoming(struct domain *domain)
{
	pthread_mutex_lock(&lock);
	domain->incoming_until = clock_ms(CLOCK_MONOTONIC) + INCOMING_MS;
	pthread_mutex_unlock(&lock);
}

bool domain_take_incoming(struct domain *domain)
{
	bool incoming;

	pthread_mutex_lock(&lock);
	incoming = clock_ms(CLOCK_MONOTONIC) < domain->incoming_until;
	domain->incoming_until = 0;
	pthread_mutex_unlock(&lock);
	return incoming;
}

static int check_locked(const struct domain *domain, const struct source *source,
			struct error **errp)
{
	size_t i;

	for (i = 0; i < table_count; i++) {
		const struct source *clash;

		if (table[i] == domain)
			continue;
		clash = source_list_clash(&table[i]->active, source);
		if (clash)
			return error_set(
				errp, EBUSY,
				_("%s is in use by domain '%s'; give each its own disk, or "
				  "mark both <shareable/>"),
				source->path, table[i]->name ? table[i]->name : table[i]->uuid);
	}
	return 0;
}

int domain_check_source(struct domain *domain, const struct source *source, struct error **errp)
{
	int r;

	pthread_mutex_lock(&lock);
	r = check_locked(domain, source, errp);
	pthread_mutex_unlock(&lock);
	return r;
}

int domain_claim(struct domain *domain, const char *name, struct source_list *sources,
		 struct error **errp)
{
	struct source_list old = {};
	size_t i;
	int r = 0;

	pthread_mutex_lock(&lock);
	for (i = 0; r == 0 && i < sources->count; i++)
		r = check_locked(domain, &sources->items[i], errp);
	if (r == 0) {
		set_name_locked(domain, name);
		old = domain->active;
		domain->active = *sources;
		*sources = (struct source_list){};
	}
	pthread_mutex_unlock(&lock);
	source_list_clear(&old);
	source_list_clear(sources);
	return r;
}

void domain_release(struct domain *domain)
{
	struct source_list old;

	pthread_mutex_lock(&lock);
	old = domain->active;
	domain->active = (struct source_list){};
	pthread_mutex_unlock(&lock);
	source_list_clear(&old);
}
