// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/probe.h"

#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>

#include "base/emulator.h"
#include "base/i18n.h"
#include "domain-xml/domain.h"

#define SLIRP_HELPER "/usr/bin/slirp-helper"
#define CACHE_SIZE   16

static struct {
	char *path;
	struct stat st;
	struct probe result;
} cache[CACHE_SIZE];
static unsigned cache_next;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* May run the binary; takes a tenth of a second. 0 or -errno with a sentence. */
static int probe_qemu(const char *emulator, struct probe *ret, struct error **errp)
{
	struct probe result = {};
	struct stat st;
	unsigned i;
	int r;

	if (stat(emulator, &st) < 0)
		return error_set_errno(errp, errno, "%s", emulator);
	pthread_mutex_lock(&lock);
	for (i = 0; i < CACHE_SIZE; i++)
		if (cache[i].path && string_equal(cache[i].path, emulator) &&
		    same_file(&cache[i].st, &st)) {
			*ret = cache[i].result;
			pthread_mutex_unlock(&lock);
			return 0;
		}
	pthread_mutex_unlock(&lock);

	r = emulator_has(emulator, "-device", "vfio-user-pci", errp);
	if (r < 0)
		return r;
	result.has_vfio_user = r;
	r = emulator_has(emulator, "-object", "monitor-qmp", errp);
	if (r < 0)
		return r;
	result.has_monitor_object = r;

	pthread_mutex_lock(&lock);
	i = cache_next++ % CACHE_SIZE;
	free(cache[i].path);
	cache[i].path = strdup(emulator);
	cache[i].st = st;
	cache[i].result = result;
	pthread_mutex_unlock(&lock);
	*ret = result;
	return 0;
}

int probe_rewrite_options(const char *xml, bool need_device, struct rewrite_options *ret,
			  struct error **errp)
{
	_cleanup_domain_xml_info_ struct domain_xml_info *info = NULL;
	struct probe probe = {};
	int r;

	*ret = (struct rewrite_options){};
	r = domain_xml_info(xml, strlen(xml), &info, errp);
	if (r < 0)
		return r;
	ret->has_slirp_helper = access(SLIRP_HELPER, X_OK) == 0;
	if (!info->emulator) /* only before libvirt has seen it; it fills the emulator in */
		return 0;
	r = probe_qemu(info->emulator, &probe, errp);
	if (r < 0)
		return r;
	ret->has_monitor_object = probe.has_monitor_object;
	if (need_device && !probe.has_vfio_user)
		return error_set(errp, EOPNOTSUPP,
				 _("%s has no vfio-user-pci device; install QEMU 10.1 or newer"),
				 info->emulator);
	return 0;
}
