/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BASE_UTIL_H
#define BASE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) _min_a = (a);                                                        \
		__typeof__(b) _min_b = (b);                                                        \
		_min_a < _min_b ? _min_a : _min_b;                                                 \
	})
#define MAX(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) _max_a = (a);                                                        \
		__typeof__(b) _max_b = (b);                                                        \
		_max_a > _max_b ? _max_a : _max_b;                                                 \
	})
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define ROUND_UP(x, align)		(((x) + (align)-1) / (align) * (align))
#define ROUND_DOWN(x, align)		((x) / (align) * (align))
#define DIV_ROUND_UP(x, d)		(((x) + (d)-1) / (d))

#define KiB				1024ULL
#define MiB				(1024ULL * KiB)
#define GiB				(1024ULL * MiB)

/* Memory that another party (guest, peer process) writes at any time: read it once, then check the
 * copy. */
#define READ_ONCE(x)	    __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v)    __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
#define LOAD_ACQUIRE(x)	    __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define STORE_RELEASE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELEASE)

#define __printf(fmt, args) __attribute__((format(printf, fmt, args)))
#define __must_check	    __attribute__((warn_unused_result))
#define fallthrough	    __attribute__((__fallthrough__))

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/* Locals that clean up after themselves; initialise them where they are declared (NULL, -1). */
#define _cleanup_(fn)	__attribute__((cleanup(fn)))
#define _cleanup_free_	_cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)

/* Hand a cleanup-managed pointer or descriptor to its new owner. */
#define steal_pointer(p)                                                                           \
	({                                                                                         \
		__typeof__(p) *_steal = &(p);                                                      \
		__typeof__(p) _stolen = *_steal;                                                   \
		*_steal = NULL;                                                                    \
		_stolen;                                                                           \
	})

static inline int steal_fd(int *fd)
{
	int stolen = *fd;

	*fd = -1;
	return stolen;
}

static inline bool string_equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static inline bool string_has_prefix(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

static inline bool is_power_of_two(uint64_t x)
{
	return x && !(x & (x - 1));
}

#endif
