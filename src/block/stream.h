/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BLOCK_STREAM_H
#define BLOCK_STREAM_H

#include <stddef.h>

/*
 * Private to this folder: copies past the caches, where the processor has them.
 *
 * A random block that is written whole need not be read before: that is half of the traffic with the memory,
 * and what the copy would wait for. The price is that it is not in the cache when it is read next.
 */

/** block_stream_copy() - as memcpy(), but others may see what is stored after it before it */
void block_stream_copy(void *to, const void *from, size_t bytes);

/** block_stream_fence() - others see all that was copied before what is stored from here on */
void block_stream_fence(void);

#endif
