// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* reflected */

static uint32_t table[256];
static bool processor_has_it;

static void prepare(void)
{
	unsigned i, bit;

	for (i = 0; i < 256; i++) {
		uint32_t value = i;

		for (bit = 0; bit < 8; bit++)
			value = value & 1 ? value >> 1 ^ POLYNOMIAL : value >> 1;
		table[i] = value;
	}
#ifdef __x86_64__
	processor_has_it = __builtin_cpu_supports("sse4.2");
#endif
}

static uint32_t by_table(uint32_t crc, const uint8_t *byte, size_t size)
{
	while (size--)
		crc = crc >> 8 ^ table[(crc ^ *byte++) & 0xff];
	return crc;
}

#ifdef __x86_64__
/* A guest stands still while its state is checked: this is twenty times as fast. */
__attribute__((target("sse4.2"))) static uint32_t by_processor(uint32_t crc, const uint8_t *byte,
							       size_t size)
{
	uint64_t word, wide = crc;

	for (; size >= sizeof(word); size -= sizeof(word), byte += sizeof(word)) {
		memcpy(&word, byte, sizeof(word));
		wide = __builtin_ia32_crc32di(wide, word);
	}
	return by_table(wide, byte, size);
}
#else
#define by_processor by_table
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, prepare);
	return ~(processor_has_it ? by_processor(~crc, data, size) : by_table(~crc, data, size));
}

uint32_t crc32c_by_table(uint32_t crc, const void *data, size_t size)
{
	crc32c(0, NULL, 0);
	return ~by_table(~crc, data, size);
}
