// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/source.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/util.h"

/* A block device has many nodes and a file many links: the kernel's numbers are the identity. What
 * does not exist yet has only its name. */
static char *source_key(const char *path)
{
	char *key = NULL;
	struct stat st;
	int n;

	if (stat(path, &st) < 0)
		return strdup(path);
	if (S_ISBLK(st.st_mode))
		n = asprintf(&key, "block:%u:%u", major(st.st_rdev), minor(st.st_rdev));
	else
		n = asprintf(&key, "file:%llu:%llu", (unsigned long long)st.st_dev,
			     (unsigned long long)st.st_ino);
	return n < 0 ? NULL : key;
}

int source_list_add(struct source_list *list, const char *path, bool writable, bool shareable)
{
	struct source *grown, item = {
		.path = strdup(path),
		.key = source_key(path),
		.writable = writable,
		.shareable = shareable,
	};

	grown = realloc(list->items, (list->count + 1) * sizeof(*grown));
	if (grown)
		list->items = grown;
	if (!grown || !item.path || !item.key) {
		free(item.path);
		free(item.key);
		return -ENOMEM;
	}
	list->items[list->count++] = item;
	return 0;
}

/* The same thing, of which at least one use writes, and not both are shareable. */
static bool source_clash(const struct source *a, const struct source *b)
{
	if (!string_equal(a->key, b->key) && !string_equal(a->path, b->path))
		return false;
	return (a->writable || b->writable) && !(a->shareable && b->shareable);
}

const struct source *source_list_clash(const struct source_list *list, const struct source *source)
{
	size_t i;

	for (i = 0; i < list->count; i++)
		if (source_clash(&list->items[i], source))
			return &list->items[i];
	return NULL;
}

void source_list_clear(struct source_list *list)
{
	size_t i;

	for (i = 0; i < list->count; i++) {
		free(list->items[i].path);
		free(list->items[i].key);
	}
	free(list->items);
	*list = (struct source_list){};
}
