// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A clock in a guest for an eye outside (tick.py): tick LINE LETTER [DISK] writes LETTER to LINE every millisecond, each
 * after a read of DISK if there is one. It goes before whatever else wants a processor there.
 *
 * It is without a C library, to be small: it comes in through the agent's line.
 */
#define _GNU_SOURCE
#include <asm/unistd.h>
#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <time.h>

static char buffer[4096] __attribute__((aligned(4096)));

static long call(long number, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
}

__attribute__((noreturn)) static void leave(int status)
{
	for (;;)
		call(__NR_exit, status, 0, 0, 0);
}

__attribute__((noreturn, used)) void tick_main(long *stack)
{
	char **argv = (char **)(stack + 1);
	const struct sched_param first = { .sched_priority = 1 };
	const struct timespec pause = { .tv_nsec = 1000000 };
	long line, disk = -1;

	if (stack[0] < 3)
		leave(2);
	line = call(__NR_open, (long)argv[1], O_WRONLY | O_NOCTTY, 0, 0);
	if (stack[0] > 3)
		disk = call(__NR_open, (long)argv[3], O_RDONLY | O_DIRECT, 0, 0);
	if (line < 0 || (stack[0] > 3 && disk < 0))
		leave(1);
	call(__NR_sched_setscheduler, 0, SCHED_FIFO, (long)&first, 0);
	for (;;) {
		if (disk >= 0 &&
		    call(__NR_pread64, disk, (long)buffer, sizeof(buffer), 0) != sizeof(buffer))
			leave(3);
		call(__NR_write, line, (long)argv[2], 1, 0);
		call(__NR_nanosleep, (long)&pause, 0, 0, 0);
	}
}

__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tcall tick_main\n");
