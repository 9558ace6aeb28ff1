// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/volumes.h"

#include <errno.h>
#include <inttypes.h>
#include <libvirt/virterror.h>
#include <libxml/entities.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "base/i18n.h"
#include "base/log.h"
#include "daemon/libvirt.h"
#include "daemon/pool.h"

/*
 * Theory of operation
 *
 * A hook runs with its domain locked, and any libvirt call that touches the domain would wait for
 * the hook. Storage calls do not; but a pool can hang (NFS), so they are made in a thread of their
 * own over a connection of their own, and whoever waits does so for ten seconds.
 */

#define RESOLVE_TIMEOUT_S 10
#define CACHE_MAX	  4096

struct entry {
	char *pool, *volume, *path;
	bool block;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *cache;
static size_t cache_count;

static bool cache_find(const char *pool, const char *volume, char **ret_path, bool *ret_block)
{
	bool found = false;
	size_t i;

	pthread_mutex_lock(&lock);
	for (i = 0; i < cache_count; i++) {
		struct entry *entry = &cache[i];

		if (!string_equal(entry->pool, pool) || !string_equal(entry->volume, volume))
			continue;
		/* Deleted behind our back: look again. */
		if (access(entry->path, F_OK) == 0) {
			*ret_path = strdup(entry->path);
			*ret_block = entry->block;
			found = *ret_path != NULL;
		} else {
			free(entry->pool);
			free(entry->volume);
			free(entry->path);
			*entry = cache[--cache_count];
		}
		break;
	}
	pthread_mutex_unlock(&lock);
	return found;
}

static void cache_add(const char *pool, const char *volume, const char *path, bool block)
{
	struct entry *grown;

	pthread_mutex_lock(&lock);
	grown = cache_count < CACHE_MAX ? realloc(cache, (cache_count + 1) * sizeof(*grown)) : NULL;
	if (grown) {
		cache = grown;
		cache[cache_count] =
			(struct entry){ strdup(pool), strdup(volume), strdup(path), block };
		if (cache[cache_count].pool && cache[cache_count].volume && cache[cache_count].path)
			cache_count++;
	}
	pthread_mutex_unlock(&lock);
}

static virStoragePoolPtr open_pool(virConnectPtr conn, const char *name, struct error **errp)
{
	virStoragePoolPtr pool = virStoragePoolLookupByName(conn, name);

	if (!pool) {
		const virError *error = virGetLastError();

		if (error && error->code == VIR_ERR_NO_STORAGE_POOL)
			error_set(errp, ENOENT,
				  _("there is no storage pool %s; define it with: virsh "
				    "pool-define"),
				  name);
		else
			libvirt_error(errp, _("storage pool %s"), name);
		return NULL;
	}
	if (virStoragePoolIsActive(pool) == 0 && virStoragePoolCreate(pool, 0) < 0 &&
	    virStoragePoolIsActive(pool) != 1) {
		libvirt_error(errp, _("storage pool %s"), name);
		virStoragePoolFree(pool);
		return NULL;
	}
	return pool;
}

static char *volume_xml(const char *name, uint64_t capacity, bool has_allocation,
			uint64_t allocation)
{
	_cleanup_free_ char *allocated = NULL;
	xmlChar *escaped;
	char *xml = NULL;

	escaped = xmlEncodeSpecialChars(NULL, (const xmlChar *)name);
	if (has_allocation &&
	    asprintf(&allocated, "<allocation unit='bytes'>%" PRIu64 "</allocation>", allocation) <
		    0)
		allocated = NULL;
	if (escaped && asprintf(&xml,
				"<volume><name>%s</name><capacity unit='bytes'>%" PRIu64
				"</capacity>%s<target><format type='raw'/></target></volume>",
				(char *)escaped, capacity, allocated ? allocated : "") < 0)
		xml = NULL;
	xmlFree(escaped);
	return xml;
}

static virStorageVolPtr open_volume(virStoragePoolPtr pool, const struct metadata_disk *disk,
				    struct error **errp)
{
	virStorageVolPtr volume = virStorageVolLookupByName(pool, disk->source_volume);
	_cleanup_free_ char *xml = NULL;

	if (!volume && virStoragePoolRefresh(pool, 0) == 0)
		volume = virStorageVolLookupByName(pool, disk->source_volume);
	if (volume)
		return volume;
	if (!disk->capacity) {
		libvirt_error(
			errp,
			_("volume %s/%s (give it a <capacity>, or --capacity, to have it created)"),
			disk->source_pool, disk->source_volume);
		return NULL;
	}
	xml = volume_xml(disk->source_volume, disk->capacity, true,
			 disk->has_allocation ? disk->allocation : 0);
	volume = xml ? virStorageVolCreateXML(pool, xml, 0) : NULL;
	if (!volume)
		libvirt_error(errp, _("volume %s/%s cannot be created"), disk->source_pool,
			      disk->source_volume);
	else
		log_info("volume %s/%s created", disk->source_pool, disk->source_volume);
	return volume;
}

/* libvirt's text; the one attribute that matters is written by libvirt itself in this form. */
static bool is_raw(virStorageVolPtr volume)
{
	_cleanup_free_ char *xml = virStorageVolGetXMLDesc(volume, 0);
	const char *format = xml ? strstr(xml, "<format type='") : NULL;

	return !format || string_has_prefix(format, "<format type='raw'") ||
	       string_has_prefix(format, "<format type='unknown'") ||
	       string_has_prefix(format, "<format type='none'");
}

static int resolve(const struct metadata_disk *disk, struct error **errp)
{
	_cleanup_connection_ virConnectPtr conn = libvirt_storage(errp);
	_cleanup_free_ char *path = NULL;
	virStorageVolPtr volume = NULL;
	virStoragePoolPtr pool;
	virStorageVolInfo info;
	int r = 0;

	if (!conn)
		return -ENOTCONN;
	pool = open_pool(conn, disk->source_pool, errp);
	if (!pool)
		return -ENOENT;
	volume = open_volume(pool, disk, errp);
	path = volume ? virStorageVolGetPath(volume) : NULL;
	if (!volume)
		r = -ENOENT;
	else if (!path || virStorageVolGetInfo(volume, &info) < 0)
		r = libvirt_error(errp, _("volume %s/%s"), disk->source_pool, disk->source_volume);
	else if (info.type != VIR_STORAGE_VOL_FILE && info.type != VIR_STORAGE_VOL_BLOCK)
		r = error_set(errp, EINVAL, _("volume %s/%s is neither a file nor a block device"),
			      disk->source_pool, disk->source_volume);
	else if (!is_raw(volume))
		r = error_set(errp, EINVAL, _("volume %s/%s is not raw"), disk->source_pool,
			      disk->source_volume);
	else
		cache_add(disk->source_pool, disk->source_volume, path,
			  info.type == VIR_STORAGE_VOL_BLOCK);
	if (volume)
		virStorageVolFree(volume);
	virStoragePoolFree(pool);
	return r;
}

/* A look-up that its asker may give up on: the last one to let go frees it. */
struct lookup {
	pthread_mutex_t lock;
	pthread_cond_t done_cond;
	struct metadata_disk disk;
	unsigned refs;
	bool done;
	int result;
	struct error *err;
};

static void lookup_put(struct lookup *lookup)
{
	bool last;

	pthread_mutex_lock(&lookup->lock);
	last = --lookup->refs == 0;
	pthread_mutex_unlock(&lookup->lock);
	if (!last)
		return;
	error_free(lookup->err);
	free(lookup->disk.source_pool);
	free(lookup->disk.source_volume);
	pthread_cond_destroy(&lookup->done_cond);
	pthread_mutex_destroy(&lookup->lock);
	free(lookup);
}

static void lookup_run(void *opaque)
{
	struct lookup *lookup = opaque;
	struct error *err = NULL;
	int r = resolve(&lookup->disk, &err);

	pthread_mutex_lock(&lookup->lock);
	lookup->result = r;
	lookup->err = err;
	lookup->done = true;
	pthread_cond_signal(&lookup->done_cond);
	pthread_mutex_unlock(&lookup->lock);
	lookup_put(lookup);
}

static struct pool *storage_pool(void)
{
	static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
	static struct pool *pool;

	pthread_mutex_lock(&once);
	if (!pool)
		pool = pool_new("storage", 4);
	pthread_mutex_unlock(&once);
	return pool;
}

static int lookup_wait(const struct metadata_disk *disk, struct error **errp)
{
	struct lookup *lookup = calloc(1, sizeof(*lookup));
	pthread_condattr_t monotonic;
	struct timespec end;
	int r = 0;

	if (!lookup)
		return error_set_errno(errp, ENOMEM, "storage");
	pthread_mutex_init(&lookup->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&lookup->done_cond, &monotonic);
	pthread_condattr_destroy(&monotonic);
	lookup->refs = 2;
	lookup->disk.source_pool = strdup(disk->source_pool);
	lookup->disk.source_volume = strdup(disk->source_volume);
	lookup->disk.capacity = disk->capacity;
	lookup->disk.allocation = disk->allocation;
	lookup->disk.has_allocation = disk->has_allocation;
	if (!lookup->disk.source_pool || !lookup->disk.source_volume ||
	    pool_submit(storage_pool(), lookup_run, lookup) < 0) {
		lookup->refs = 1;
		lookup_put(lookup);
		return error_set_errno(errp, ENOMEM, "storage");
	}

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += RESOLVE_TIMEOUT_S;
	pthread_mutex_lock(&lookup->lock);
	while (!lookup->done && r == 0)
		r = pthread_cond_timedwait(&lookup->done_cond, &lookup->lock, &end);
	if (!lookup->done)
		r = error_set(errp, ETIMEDOUT, _("storage pool %s did not answer in %d s"),
			      disk->source_pool, RESOLVE_TIMEOUT_S);
	else if (lookup->result < 0)
		r = error_propagate(errp, steal_pointer(lookup->err));
	else
		r = 0;
	pthread_mutex_unlock(&lookup->lock);
	lookup_put(lookup);
	return r;
}

int volumes_path(const struct metadata_disk *disk, char **ret_path, bool *ret_block,
		 struct error **errp)
{
	int r;

	*ret_path = NULL;
	*ret_block = disk->type == METADATA_DISK_BLOCK;
	if (disk->type == METADATA_DISK_MEMORY)
		return 0;
	if (disk->type != METADATA_DISK_VOLUME) {
		*ret_path = strdup(disk->source_path);
		return *ret_path ? 0 : error_set_errno(errp, ENOMEM, "%s", disk->source_path);
	}
	if (cache_find(disk->source_pool, disk->source_volume, ret_path, ret_block))
		return 0;
	r = lookup_wait(disk, errp);
	if (r < 0)
		return r;
	if (!cache_find(disk->source_pool, disk->source_volume, ret_path, ret_block))
		return error_set(errp, ENOENT, _("volume %s/%s has no file at its path"),
				 disk->source_pool, disk->source_volume);
	return 0;
}

void volumes_prepare(const char *domain, const struct metadata *metadata)
{
	size_t i, j;

	for (i = 0; i < metadata->controller_count; i++)
		for (j = 0; j < metadata->controllers[i].disk_count; j++) {
			const struct metadata_disk *disk = &metadata->controllers[i].disks[j];
			_cleanup_free_ char *path = NULL;
			_cleanup_error_ struct error *err = NULL;
			bool block;

			if (disk->type == METADATA_DISK_VOLUME &&
			    volumes_path(disk, &path, &block, &err) < 0)
				log_warning("%s: %s", domain, error_message(err));
		}
}

static virStorageVolPtr find_volume(const char *pool_name, const char *name, struct error **errp)
{
	_cleanup_connection_ virConnectPtr conn = libvirt_storage(errp);
	virStorageVolPtr volume;
	virStoragePoolPtr pool;

	pool = conn ? open_pool(conn, pool_name, errp) : NULL;
	if (!pool)
		return NULL;
	volume = virStorageVolLookupByName(pool, name);
	if (!volume)
		libvirt_error(errp, _("volume %s/%s"), pool_name, name);
	virStoragePoolFree(pool);
	return volume;
}

int volumes_resize(const char *pool, const char *name, uint64_t capacity, bool shrink,
		   struct error **errp)
{
	virStorageVolPtr volume = find_volume(pool, name, errp);
	int r = 0;

	if (!volume)
		return -ENOENT;
	if (virStorageVolResize(volume, capacity, shrink ? VIR_STORAGE_VOL_RESIZE_SHRINK : 0) < 0)
		r = libvirt_error(errp, _("volume %s/%s"), pool, name);
	virStorageVolFree(volume);
	return r;
}

void volumes_look(const char *pool, const char *name)
{
	virStorageVolPtr volume = find_volume(pool, name, NULL);
	virStorageVolInfo info;

	if (!volume)
		return;
	virStorageVolGetInfo(volume, &info);
	virStorageVolFree(volume);
}

int volumes_delete(const char *pool, const char *name, struct error **errp)
{
	virStorageVolPtr volume = find_volume(pool, name, errp);
	int r = 0;

	if (!volume)
		return -ENOENT;
	if (virStorageVolDelete(volume, 0) < 0)
		r = libvirt_error(errp, _("volume %s/%s"), pool, name);
	virStorageVolFree(volume);
	return r;
}
