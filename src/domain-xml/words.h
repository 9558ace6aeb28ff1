/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DOMAIN_XML_WORDS_H
#define DOMAIN_XML_WORDS_H

#include "domain-xml/metadata.h"

/*
 * The words of the metadata's attributes, by the enums of metadata.h; inside the folder only.
 * Each list is ended by NULL; "" stands for what is not written.
 */
extern const char *const words_disk_type[];
extern const char *const words_cache[];
extern const char *const words_io[];
extern const char *const words_discard[];
extern const char *const words_error_policy[];
extern const char *const words_state[];
extern const char *const words_doorbells[];

/* The members of <iotune>. */
struct words_limit {
	const char *name;
	size_t offset; /* of a uint64_t in struct metadata_iotune */
};
extern const struct words_limit words_iotune[]; /* ended by a NULL name */

/** words_find() - the index of a word that is written; -1 when it is none of the list */
int words_find(const char *const *words, const char *word);

/** words_list() - "none, writeback or writethrough"; malloc()ed, NULL when out of memory */
char *words_list(const char *const *words);

static inline uint64_t *words_limit(struct metadata_iotune *iotune, const struct words_limit *limit)
{
	return (uint64_t *)(void *)((char *)iotune + limit->offset);
}

#endif
