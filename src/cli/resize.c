// SPDX-License-Identifier: LGPL-2.1-or-later
#include <stdio.h>

#include "base/i18n.h"
#include "cli/cli.h"
#include "cli/client.h"

static bool force;

static const struct option_spec options[] = {
	{ "force", 0, OPTION_FLAG, NULL,
	  N_("make it smaller, too: what is behind the new end is lost"), &force },
	{},
};

static const struct option_program program = {
	.name = "virt-nvme resize",
	.arguments = "DOMAIN TARGET [SIZE]",
	.summary = N_("give a disk another size, or tell the guest the one that it has"),
	.options = options,
	.min_arguments = 2,
	.max_arguments = 3,
};

static int run(int argc, char **argv)
{
	_cleanup_json_ struct json_object *result = NULL;
	struct json_object *arguments;
	struct error *err = NULL;
	uint64_t capacity = 0;
	int first, code;

	if (!cli_parse(&program, argc, argv, &first, &code))
		return code;
	if (argc - first > 2 && options_parse_size(argv[first + 2], &capacity, &err) < 0) {
		cli_fail(err);
		return CLI_USAGE;
	}
	arguments = json_object_new_object();
	json_add_string(arguments, "domain", argv[first]);
	json_add_string(arguments, "target", argv[first + 1]);
	if (argc - first > 2)
		json_add_u64(arguments, "capacity", capacity);
	json_add_bool(arguments, "force", force);
	if (client_call("resize", arguments, CLIENT_TIMEOUT_MS, &result, &err) < 0)
		return cli_fail(err);
	printf(_("Disk %s has %llu bytes now\n"), argv[first + 1],
	       (unsigned long long)json_u64_or(result, "capacity", 0));
	return CLI_OK;
}

const struct cli_command cli_resize = { "resize", run, &program };
