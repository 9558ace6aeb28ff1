/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BASE_CPUSET_H
#define BASE_CPUSET_H

#include <sched.h>

#include "base/error.h"

/*
 * Sets of host processors as libvirt writes them: "0-3,^2,8". Needs _GNU_SOURCE's cpu_set_t, so the
 * highest processor is CPU_SETSIZE - 1.
 */

/**
 * cpuset_parse() - numbers and ranges, separated by commas; "^" takes one number or range out of
 * what stands before it
 *
 * Return: 0, or -EINVAL with a sentence: also for a set that is empty in the end.
 */
int cpuset_parse(const char *text, cpu_set_t *ret, struct error **errp);

/** cpuset_format() - "0-1,3,8"; "" for an empty one; malloc()ed, NULL when out of memory */
char *cpuset_format(const cpu_set_t *set);

#endif
