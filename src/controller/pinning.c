// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/pinning.h"

#include <errno.h>

#include "base/cpuset.h"
#include "base/log.h"
#include "base/util.h"

void pinning_apply(unsigned number, const cpu_set_t *wanted)
{
	_cleanup_free_ char *wanted_text = cpuset_format(wanted), *text = NULL;
	cpu_set_t set;
	int ret = sched_setaffinity(0, sizeof(*wanted), wanted) < 0 ? errno : 0;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return;
	text = cpuset_format(&set);
	if (!text || !wanted_text)
		return;
	/* EINVAL: none of them is online and in the cgroup's cpuset. */
	if (ret)
		log_warning("I/O thread %u cannot run on processors %s (%s) and runs on %s", number,
			    wanted_text,
			    ret == EINVAL ? "none of them is online and allowed here"
					  : strerror(ret),
			    text);
	else if (!CPU_EQUAL(&set, wanted))
		log_warning("I/O thread %u runs on processors %s instead of %s: the others are not "
			    "online or not allowed here",
			    number, text, wanted_text);
	else
		log_info("I/O thread %u runs on processors %s", number, text);
}
