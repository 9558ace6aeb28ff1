// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/hugepages.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/i18n.h"

#define POOLS "/sys/kernel/mm/hugepages"

static uint64_t default_size(void)
{
	_cleanup_close_ int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *text = NULL;
	const char *line;
	size_t len;

	if (fd < 0 || fd_read_all(fd, 64 * KiB, &text, &len) < 0)
		return 0;
	line = strstr(text, "Hugepagesize:");
	return line ? strtoull(line + strlen("Hugepagesize:"), NULL, 10) * KiB : 0;
}

static int read_pool(uint64_t size, const char *what, uint64_t *ret)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -1;
	size_t len;
	int r;

	if (asprintf(&path, POOLS "/hugepages-%" PRIu64 "kB/%s", (uint64_t)(size / KiB), what) <
	    0) {
		path = NULL;
		return -ENOMEM;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = fd_read_all(fd, 64, &text, &len);
	if (r == 0)
		*ret = strtoull(text, NULL, 10);
	return r;
}

/* sysctl knows the default size only. */
static int too_few(uint64_t size, uint64_t wanted, uint64_t unused, uint64_t missing,
		   struct error **errp)
{
	_cleanup_free_ char *remedy = NULL;
	uint64_t all = 0;
	int r;

	read_pool(size, "nr_hugepages", &all);
	all += missing;
	if (size == default_size())
		r = asprintf(&remedy, "sysctl vm.nr_hugepages=%" PRIu64, all);
	else
		r = asprintf(&remedy,
			     "echo %" PRIu64 " > " POOLS "/hugepages-%" PRIu64 "kB/nr_hugepages",
			     all, (uint64_t)(size / KiB));
	if (r < 0)
		remedy = NULL;
	return error_set(errp, ENOMEM,
			 _("it needs %" PRIu64 " hugepages of %" PRIu64 " KiB and %" PRIu64
			   " are free; reserve more with: %s"),
			 wanted, (uint64_t)(size / KiB), unused,
			 remedy ? remedy : "sysctl vm.nr_hugepages");
}

int hugepages_check(const struct domain_xml_info *info, struct error **errp)
{
	uint64_t size = info->hugepage_size ? info->hugepage_size : default_size();
	uint64_t unused, reserved = 0, surplus = 0, wanted;

	if (!info->hugepages || !size)
		return 0;
	if (read_pool(size, "free_hugepages", &unused) < 0)
		return error_set(errp, ENOMEM,
				 _("this kernel has no hugepages of %" PRIu64 " KiB; change its "
				   "<hugepages>"),
				 (uint64_t)(size / KiB));
	read_pool(size, "resv_hugepages", &reserved);
	read_pool(size, "nr_overcommit_hugepages", &surplus);
	wanted = DIV_ROUND_UP(info->memory, size);
	if (unused + surplus < wanted + reserved)
		return too_few(size, wanted, unused > reserved ? unused - reserved : 0,
			       wanted + reserved - unused - surplus, errp);
	return 0;
}
