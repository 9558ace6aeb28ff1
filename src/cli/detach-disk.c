// SPDX-License-Identifier: LGPL-2.1-or-later
#include <stdio.h>

#include "base/i18n.h"
#include "cli/cli.h"
#include "cli/client.h"

static bool live, config, remove_storage;

static const struct option_spec options[] = {
	{ "live", 0, OPTION_FLAG, NULL, N_("detach from the running domain"), &live },
	{ "config", 0, OPTION_FLAG, NULL, N_("detach at the next start"), &config },
	{ "remove-storage", 0, OPTION_FLAG, NULL, N_("delete the disk's image or volume as well"),
	  &remove_storage },
	{},
};

static const struct option_program program = {
	.name = "virt-nvme detach-disk",
	.arguments = "DOMAIN TARGET",
	.summary = N_("detach a disk"),
	.options = options,
	.min_arguments = 2,
	.max_arguments = 2,
};

static int run(int argc, char **argv)
{
	struct json_object *arguments;
	struct error *err = NULL;
	int first, code;

	if (!cli_parse(&program, argc, argv, &first, &code))
		return code;
	arguments = json_object_new_object();
	json_add_string(arguments, "domain", argv[first]);
	json_add_string(arguments, "target", argv[first + 1]);
	json_add_bool(arguments, "live", live);
	json_add_bool(arguments, "config", config);
	json_add_bool(arguments, "remove_storage", remove_storage);
	if (client_call("detach-disk", arguments, CLIENT_TIMEOUT_MS, NULL, &err) < 0)
		return cli_fail(err);
	printf(_("Disk %s detached\n"), argv[first + 1]);
	return CLI_OK;
}

const struct cli_command cli_detach_disk = { "detach-disk", run, &program };
