// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/stream.h"

#include <stdint.h>
#include <string.h>

#include "base/util.h"

#ifdef __SSE2__

#include <emmintrin.h>

/* A line of the cache goes past it only as a whole. */
#define LINE 64u

static void copy_lines(char *to, const char *from, size_t bytes)
{
	for (; bytes; to += LINE, from += LINE, bytes -= LINE) {
		const __m128i *in = (const __m128i *)from;
		__m128i *out = (__m128i *)to;
		__m128i a = _mm_loadu_si128(in), b = _mm_loadu_si128(in + 1);
		__m128i c = _mm_loadu_si128(in + 2), d = _mm_loadu_si128(in + 3);

		_mm_stream_si128(out, a);
		_mm_stream_si128(out + 1, b);
		_mm_stream_si128(out + 2, c);
		_mm_stream_si128(out + 3, d);
	}
}

void block_stream_copy(void *to, const void *from, size_t bytes)
{
	size_t head = MIN(-(uintptr_t)to % LINE, bytes);
	size_t lines = ROUND_DOWN(bytes - head, (size_t)LINE);

	memcpy(to, from, head);
	copy_lines((char *)to + head, (const char *)from + head, lines);
	memcpy((char *)to + head + lines, (const char *)from + head + lines, bytes - head - lines);
}

void block_stream_fence(void)
{
	_mm_sfence();
}

#else

void block_stream_copy(void *to, const void *from, size_t bytes)
{
	memcpy(to, from, bytes);
}

void block_stream_fence(void)
{
}

#endif
