// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/table.h"

#include <stdio.h>
#include <wchar.h>

#include "base/util.h"

#define GAP 3 /* spaces between columns, as in virsh */

struct table {
	size_t columns, rows;
	char **cells; /* rows * columns, the titles first */
	size_t *widths;
};

/* Columns on the screen: translated titles are not one byte a letter. */
static size_t text_width(const char *text)
{
	size_t n = mbstowcs(NULL, text, 0);

	return n == (size_t)-1 ? strlen(text) : n;
}

struct table *table_new(size_t columns, const char *const *titles)
{
	struct table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->columns = columns;
	table->widths = calloc(columns, sizeof(*table->widths));
	table_add(table, titles);
	return table;
}

void table_add(struct table *table, const char *const *cells)
{
	char **grown;
	size_t i;

	if (!table || !table->widths)
		return;
	grown = realloc(table->cells, (table->rows + 1) * table->columns * sizeof(*grown));
	if (!grown)
		return;
	table->cells = grown;
	for (i = 0; i < table->columns; i++) {
		char *cell = strdup(cells[i] ? cells[i] : "-");

		grown[table->rows * table->columns + i] = cell;
		if (cell)
			table->widths[i] = MAX(table->widths[i], text_width(cell));
	}
	table->rows++;
}

static void print_row(const struct table *table, size_t row)
{
	size_t i, pad;

	for (i = 0; i < table->columns; i++) {
		const char *cell = table->cells[row * table->columns + i];

		cell = cell ? cell : "";
		pad = i + 1 < table->columns ? table->widths[i] - text_width(cell) + GAP : 0;
		printf("%s%s%*s", i ? "" : " ", cell, (int)pad, "");
	}
	putchar('\n');
}

void table_print(struct table *table)
{
	size_t i, total = 1;

	if (!table)
		return;
	for (i = 0; i < table->columns && table->widths; i++)
		total += table->widths[i] + GAP;
	for (i = 0; i < table->rows; i++) {
		print_row(table, i);
		if (i == 0) {
			for (; total; total--)
				putchar('-');
			putchar('\n');
		}
	}
	for (i = 0; i < table->rows * table->columns; i++)
		free(table->cells[i]);
	free(table->cells);
	free(table->widths);
	free(table);
}

const char *table_size(unsigned long long bytes, char *buffer, size_t len)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(buffer, len, value == (unsigned long long)value ? "%.0f %s" : "%.2f %s", value,
		 units[unit]);
	return buffer;
}
