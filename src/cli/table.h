/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stddef.h>

/* A table as virsh prints them: a title line, dashes, columns as wide as their widest cell. */
struct table;

/** table_new() - @titles: @columns strings, translated by the caller */
struct table *table_new(size_t columns, const char *const *titles);

/** table_add() - a row of as many cells as there are columns; copied, NULL shows as "-" */
void table_add(struct table *table, const char *const *cells);

/** table_print() - to stdout, and free the table */
void table_print(struct table *table);

/** table_size() - "10 GiB", "1.5 MiB" into @buffer of @len bytes; returns it */
const char *table_size(unsigned long long bytes, char *buffer, size_t len);

#endif
