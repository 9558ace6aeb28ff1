// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Loaded into a stock QEMU (long_migrate.py): its thread that migrates stands a while, with whatever locks it has, before it waits
 * for anything. What was posted to QEMU meanwhile is executed while it waits. It does so as long as the first byte of ARMED is
 * not 0.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

static volatile const char *armed;

__attribute__((constructor)) static void load(void)
{
	int fd = open(ARMED, O_RDONLY);

	armed = fd < 0 ? MAP_FAILED : mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
}

int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
	static int (*real)(pthread_cond_t *, pthread_mutex_t *);
	const struct timespec pause = { .tv_nsec = 50 * 1000000L };
	char name[16];

	if (!real)
		real = (int (*)(pthread_cond_t *, pthread_mutex_t *))dlsym(RTLD_NEXT,
									   "pthread_cond_wait");
	if (armed != MAP_FAILED && *armed && prctl(PR_GET_NAME, name) == 0 &&
	    strncmp(name, "mig/src", 7) == 0)
		nanosleep(&pause, NULL);
	return real(cond, mutex);
}
