/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_SOURCE_H
#define DAEMON_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

/* Something that disks are made of, named so that two names of one thing are equal. */
struct source {
	char *path; /* as the user knows it */
	char *key;  /* what is compared */
	bool writable, shareable;
};

struct source_list {
	struct source *items;
	size_t count;
};

/** source_list_add() - @path: an absolute path, that need not exist. 0 or -ENOMEM */
int source_list_add(struct source_list *list, const char *path, bool writable, bool shareable);

/** source_list_clash() - the first of @list that clashes with @source; NULL when none does */
const struct source *source_list_clash(const struct source_list *list, const struct source *source);

void source_list_clear(struct source_list *list);

#endif
