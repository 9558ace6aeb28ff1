// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A guest's memory that can be verified (long_memory.py): pages COUNT LOG writes COUNT pages again and again, and looks every
 * time whether a page has what it was given the last time. The number of the round is in a register, so that a page whose last
 * stores a migration has lost is older than that.
 *
 * LOG's first 16 bytes are the number of rounds; then comes a line for each wrong page: its number, the round, the round found.
 *
 * It is without a C library, to be small: it comes in through the agent's line.
 */
#define _GNU_SOURCE
#include <asm/unistd.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#define WORDS 512
/* No page follows its neighbour. */
#define STRIDE 37

static long call(long number, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = 0;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

__attribute__((noreturn)) static void leave(int status)
{
	for (;;)
		call(__NR_exit, status, 0, 0, 0, 0);
}

static char *number(char *at, uint64_t value)
{
	char digits[20];
	int n = 0;

	do {
		digits[n++] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	while (n)
		*at++ = digits[--n];
	*at++ = ' ';
	return at;
}

static uint64_t parse(const char *text)
{
	uint64_t value = 0;

	while (*text >= '0' && *text <= '9')
		value = value * 10 + (uint64_t)(*text++ - '0');
	return value;
}

__attribute__((noinline)) static void wrong(long log, uint64_t page, uint64_t round, uint64_t found)
{
	char line[80];
	char *end = number(number(number(line, page), round), found >> 32);

	end[-1] = '\n';
	call(__NR_write, log, (long)line, end - line, 0, 0);
}

__attribute__((noinline)) static void report(long log, uint64_t rounds)
{
	char line[16];
	char *end = number(line, rounds);

	while (end < line + sizeof(line) - 1)
		*end++ = ' ';
	*end = '\n';
	call(__NR_pwrite64, log, (long)line, sizeof(line), 0, 0);
}

__attribute__((noreturn, used)) void pages_main(long *stack)
{
	char **argv = (char **)(stack + 1);
	volatile uint64_t *memory;
	uint64_t count;
	long log;

	if (stack[0] != 3)
		leave(2);
	count = parse(argv[1]);
	log = call(__NR_open, (long)argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0600, 0, 0);
	memory = (volatile uint64_t *)call(__NR_mmap, 0, (long)count * WORDS * 8,
					   PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (log < 0 || (long)memory < 0)
		leave(1);
	call(__NR_madvise, (long)memory, (long)count * WORDS * 8, MADV_NOHUGEPAGE, 0, 0);
	report(log, 0);
	call(__NR_lseek, log, 16, 0, 0, 0);
	for (uint64_t round = 1;; round++) {
		for (uint64_t n = 0; n < count; n++) {
			const uint64_t page = n * STRIDE % count;
			volatile uint64_t *words = memory + page * WORDS;
			const uint64_t had = round == 1 ? 0 : (round - 1) << 32 | page;

			for (int w = 0; w < WORDS; w++) {
				if (words[w] != had) {
					wrong(log, page, round, words[w]);
					break;
				}
			}
			for (int w = 0; w < WORDS; w++)
				words[w] = round << 32 | page;
		}
		report(log, round);
	}
}

__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tcall pages_main\n");
