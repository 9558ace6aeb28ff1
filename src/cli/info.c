// SPDX-License-Identifier: LGPL-2.1-or-later
#include <stdio.h>

#include "base/i18n.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/table.h"

static bool as_json;

static const struct option_spec options[] = {
	{ "json", 0, OPTION_FLAG, NULL, N_("print JSON"), &as_json },
	{},
};

static const struct option_program program = {
	.name = "virt-nvme info",
	.arguments = "DOMAIN",
	.summary = N_("show a domain's disks: where they are, how full, what they did"),
	.options = options,
	.min_arguments = 1,
	.max_arguments = 1,
};

static const char *size_cell(struct json_object *disk, const char *key, char *buffer, size_t len)
{
	uint64_t bytes;

	return json_u64(disk, key, &bytes, NULL) == 0 ? table_size(bytes, buffer, len) : NULL;
}

static void add_disk(struct json_object *disk, struct table *table)
{
	struct json_object *counters = json_child(disk, "counters", json_type_object);
	const char *reason = json_string_or(disk, "reason", NULL);
	const char *state = json_string_or(disk, "state", NULL);
	char capacity[32], allocation[32], read[32], written[32];
	_cleanup_free_ char *why = NULL;

	if (reason && asprintf(&why, "%s: %s", state, reason) < 0)
		why = NULL;

	const char *const cells[] = {
		json_string_or(disk, "target", NULL),
		json_string_or(disk, "type", NULL),
		json_string_or(disk, "source", NULL),
		size_cell(disk, "capacity", capacity, sizeof(capacity)),
		size_cell(disk, "allocation", allocation, sizeof(allocation)),
		size_cell(counters, "read_bytes", read, sizeof(read)),
		size_cell(counters, "write_bytes", written, sizeof(written)),
		why ? why : state,
	};

	table_add(table, cells);
}

/* Only those that the user has pinned. */
static void print_pins(struct json_object *process)
{
	struct json_object *threads = json_child(process, "iothreads", json_type_array);
	size_t i;

	for (i = 0; threads && i < json_object_array_length(threads); i++) {
		struct json_object *thread = json_object_array_get_idx(threads, i);
		const char *pin = json_string_or(thread, "cpuset", NULL);
		const char *affinity = json_string_or(thread, "affinity", "-");
		unsigned number = (unsigned)json_u64_or(thread, "iothread", 0);

		if (!pin)
			continue;
		printf("%-12s ", _("Pinned:"));
		if (string_equal(pin, affinity))
			printf(_("I/O thread %u to processors %s\n"), number, pin);
		else
			printf(_("I/O thread %u to processors %s, but it may run on %s only\n"),
			       number, pin, affinity);
	}
}

/* A line of its own for each disk that has some. */
static void print_limits(struct json_object *disk, struct table *table)
{
	struct json_object *iotune = json_child(disk, "iotune", json_type_object);
	const char *separator = " ";

	if (!iotune)
		return;
	printf("\n%-12s %s:", _("Limits:"), json_string_or(disk, "target", "-"));
	json_object_object_foreach(iotune, key, value)
	{
		printf("%s%s=%s", separator, key, json_text(value));
		separator = ", ";
	}
	putchar('\n');
}

/* Of those that guests share. */
static void print_reservations(struct json_object *disk, struct table *table)
{
	struct json_object *reservations = json_child(disk, "reservations", json_type_object);

	if (!json_bool_or(disk, "shareable", false) || !reservations)
		return;
	printf("\n%-12s %s: ", _("Reservations:"), json_string_or(disk, "target", "-"));
	if (json_bool_or(reservations, "persistent", false))
		puts(_("offered, through a loss of power if the guest wants"));
	else if (json_child(reservations, "persistent", json_type_boolean))
		puts(_("offered, not through a loss of power (why is in the domain's log)"));
	else if (json_bool_or(reservations, "offered", false))
		puts(_("offered"));
	else
		printf(_("none, %s\n"), json_string_or(reservations, "reason", "-"));
}

static void for_each_disk(struct json_object *info,
			  void (*visit)(struct json_object *disk, struct table *table),
			  struct table *table)
{
	struct json_object *controllers = json_child(info, "controllers", json_type_array);
	size_t i, j;

	for (i = 0; controllers && i < json_object_array_length(controllers); i++) {
		struct json_object *controller = json_object_array_get_idx(controllers, i);
		struct json_object *disks = json_child(controller, "disks", json_type_array);

		for (j = 0; disks && j < json_object_array_length(disks); j++)
			visit(json_object_array_get_idx(disks, j), table);
	}
}

static void print_table(struct json_object *info)
{
	const char *const titles[] = { _("Target"),    _("Type"), _("Source"),	_("Capacity"),
				       _("Allocated"), _("Read"), _("Written"), _("State") };
	struct json_object *keeper = json_child(info, "keeper", json_type_object);
	struct json_object *process = json_child(keeper, "controller", json_type_object);
	const char *problem = json_string_or(info, "problem", NULL);
	struct table *table = table_new(ARRAY_SIZE(titles), titles);

	printf("%-12s %s\n", _("Name:"), json_string_or(info, "name", "-"));
	printf("%-12s %s\n", _("UUID:"), json_string_or(info, "uuid", "-"));
	printf("%-12s %s\n", _("State:"), json_string_or(info, "state", "-"));
	if (keeper)
		printf("%-12s %llu\n", _("Keeper:"),
		       (unsigned long long)json_u64_or(keeper, "pid", 0));
	if (json_u64_or(process, "restarts", 0))
		printf(_("%-12s the controller, %llu times; the last time %s\n"), _("Restarted:"),
		       (unsigned long long)json_u64_or(process, "restarts", 0),
		       json_string_or(process, "reason", "-"));
	print_pins(process);
	if (problem)
		printf("%-12s %s\n", _("Problem:"), problem);
	putchar('\n');
	for_each_disk(info, add_disk, table);
	table_print(table);
	for_each_disk(info, print_limits, NULL);
	for_each_disk(info, print_reservations, NULL);
}

static int run(int argc, char **argv)
{
	_cleanup_json_ struct json_object *result = NULL;
	struct json_object *arguments;
	struct error *err = NULL;
	int first, code;

	if (!cli_parse(&program, argc, argv, &first, &code))
		return code;
	arguments = json_object_new_object();
	json_add_string(arguments, "domain", argv[first]);
	if (client_call("info", arguments, CLIENT_TIMEOUT_MS, &result, &err) < 0)
		return cli_fail(err);
	if (as_json)
		cli_print_json(result);
	else
		print_table(result);
	return CLI_OK;
}

const struct cli_command cli_info = { "info", run, &program };
