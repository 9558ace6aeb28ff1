// SPDX-License-Identifier: LGPL-2.1-or-later
#include <stdio.h>

#include "base/i18n.h"
#include "cli/cli.h"
#include "cli/domains.h"

static bool all;

static const struct option_spec options[] = {
	{ "all", 0, OPTION_FLAG, NULL, N_("every running domain"), &all },
	{},
};

static const struct option_program program = {
	.name = "virt-nvme upgrade",
	.arguments = "[DOMAIN]",
	.summary = N_("go on with the installed version, while the guest runs"),
	.options = options,
	.max_arguments = 1,
};

static int run(int argc, char **argv)
{
	_cleanup_json_ struct json_object *result = NULL;
	struct json_object *domains;
	int first, code = CLI_OK;
	size_t i;

	if (!cli_parse(&program, argc, argv, &first, &code))
		return code;
	code = domains_ask("upgrade", all, argv[first], &result);
	if (code != CLI_OK)
		return code;
	domains = json_child(result, "domains", json_type_array);
	for (i = 0; domains && i < json_object_array_length(domains); i++) {
		struct json_object *domain = json_object_array_get_idx(domains, i);
		const char *name = json_string_or(domain, "name", "-");
		const char *problem = json_string_or(domain, "problem", NULL);

		if (problem) {
			fprintf(stderr, _("error: domain '%s': %s\n"), name, problem);
			code = CLI_FAILURE;
		} else {
			printf(_("Domain '%s' upgraded, its disks paused for %.1f ms\n"), name,
			       json_u64_or(domain, "pause_us", 0) / 1000.0);
		}
	}
	return code;
}

const struct cli_command cli_upgrade = { "upgrade", run, &program };
