// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Loaded into a stock QEMU (long_memory.py): makes longer what is a few nanoseconds in accel/tcg/cputlb.c, between the look
 * whether a page is dirty already and the entry in the TLB that lets stores into it go unseen. -DBEFORE=1 waits as often and as
 * long before the look, which must do no harm: that is the control.
 *
 * It waits as long as the first byte of ARMED is not 0, and only in the first processor: a guest has to boot.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define ONE_IN 1501
#define PAUSE  (60 * 1000000L)

static bool (*get_dirty_flag)(uint64_t addr, unsigned int client);
static volatile const char *armed;
static int first;
static __thread int me;

static void wait_now_and_then(void)
{
	const struct timespec pause = { .tv_nsec = PAUSE };

	if (!me)
		me = gettid();
	if (!first)
		first = me;
	if (me == first && *armed && __rdtsc() / 64 % ONE_IN == 0)
		nanosleep(&pause, NULL);
}

/* QEMU's, but for the waiting. */
static bool is_clean(uint64_t addr)
{
	bool clean;

	if (BEFORE)
		wait_now_and_then();
	clean = !get_dirty_flag(addr, 0) || !get_dirty_flag(addr, 1) || !get_dirty_flag(addr, 2);
	if (!BEFORE && !clean)
		wait_now_and_then();
	return clean;
}

__attribute__((constructor)) static void load(void)
{
	/* movabs $is_clean, %rax; jmp *%rax */
	uint8_t code[] = { 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0 };
	void *place = dlsym(RTLD_DEFAULT, "physical_memory_is_clean");
	void *flag = dlsym(RTLD_DEFAULT, "physical_memory_get_dirty_flag");
	void *page = (void *)((uintptr_t)place & ~4095UL);
	uintptr_t target = (uintptr_t)is_clean;
	int fd = open(ARMED, O_RDONLY | O_CLOEXEC);

	if (!place || !flag || fd < 0)
		return;
	armed = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
	memcpy(&get_dirty_flag, &flag, sizeof(flag));
	memcpy(code + 2, &target, sizeof(target));
	mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC);
	memcpy(place, code, sizeof(code));
	mprotect(page, 8192, PROT_READ | PROT_EXEC);
	close(fd);
	(void)!write(STDERR_FILENO, "late_entry\n", 11);
}
