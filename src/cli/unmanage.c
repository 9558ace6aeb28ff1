// SPDX-License-Identifier: LGPL-2.1-or-later
#include <stdio.h>

#include "base/i18n.h"
#include "cli/cli.h"
#include "cli/domains.h"

static bool all;

static const struct option_spec options[] = {
	{ "all", 0, OPTION_FLAG, NULL, N_("every domain"), &all },
	{},
};

static const struct option_program program = {
	.name = "virt-nvme unmanage",
	.arguments = "[DOMAIN]",
	.summary = N_("take the NVMe disks, and what was added for them, out of a definition"),
	.options = options,
	.max_arguments = 1,
};

static int run(int argc, char **argv)
{
	_cleanup_json_ struct json_object *result = NULL;
	struct json_object *domains;
	int first, code;
	size_t i;

	if (!cli_parse(&program, argc, argv, &first, &code))
		return code;
	code = domains_ask("unmanage", all, argv[first], &result);
	if (code != CLI_OK)
		return code;
	domains = json_child(result, "domains", json_type_array);
	for (i = 0; domains && i < json_object_array_length(domains); i++)
		printf(_("Domain '%s' is no longer managed\n"),
		       json_object_get_string(json_object_array_get_idx(domains, i)));
	return CLI_OK;
}

const struct cli_command cli_unmanage = { "unmanage", run, &program };
