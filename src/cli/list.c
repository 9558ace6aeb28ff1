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
	.name = "virt-nvme list",
	.arguments = "",
	.summary = N_("list the domains with NVMe disks of ours"),
	.options = options,
};

/* NULL where the domain's metadata cannot be read. */
static const char *number(struct json_object *domain, const char *key, char buffer[24])
{
	uint64_t value;

	if (json_u64(domain, key, &value, NULL) < 0)
		return NULL;
	snprintf(buffer, 24, "%llu", (unsigned long long)value);
	return buffer;
}

static int run(int argc, char **argv)
{
	const char *const titles[] = { _("Name"), _("State"), _("Controllers"), _("Disks") };
	_cleanup_json_ struct json_object *result = NULL;
	struct json_object *domains;
	struct error *err = NULL;
	char controllers[24], disks[24];
	struct table *table;
	int first, code;
	size_t i;

	if (!cli_parse(&program, argc, argv, &first, &code))
		return code;
	if (client_call("list", NULL, CLIENT_TIMEOUT_MS, &result, &err) < 0)
		return cli_fail(err);
	domains = json_child(result, "domains", json_type_array);
	if (as_json) {
		cli_print_json(domains);
		return CLI_OK;
	}
	table = table_new(ARRAY_SIZE(titles), titles);
	for (i = 0; domains && i < json_object_array_length(domains); i++) {
		struct json_object *domain = json_object_array_get_idx(domains, i);
		const char *const cells[] = { json_string_or(domain, "name", NULL),
					      json_string_or(domain, "state", NULL),
					      number(domain, "controllers", controllers),
					      number(domain, "disks", disks) };

		table_add(table, cells);
	}
	table_print(table);
	for (i = 0; domains && i < json_object_array_length(domains); i++) {
		struct json_object *domain = json_object_array_get_idx(domains, i);
		const char *problem = json_string_or(domain, "problem", NULL);

		if (problem)
			fprintf(stderr, _("warning: domain '%s': %s\n"),
				json_string_or(domain, "name", "-"), problem);
	}
	return CLI_OK;
}

const struct cli_command cli_list = { "list", run, &program };
