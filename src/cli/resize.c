// SPDX-License-Identifier: LGPL-2.1-or-later
#include <stdio.h>

#include "base/i18n.h"
#include "cli/cli.h"
#include "cli/client.h"

static const struct option_program program = {
	.name = "virt-nvme resize",
	.arguments = "DOMAIN TARGET SIZE",
	.summary = N_("make a disk larger, while the guest runs or not"),
	.min_arguments = 3,
	.max_arguments = 3,
};

static int run(int argc, char **argv)
{
	struct json_object *arguments;
	struct error *err = NULL;
	uint64_t capacity;
	int first, code;

	if (!cli_parse(&program, argc, argv, &first, &code))
		return code;
	if (options_parse_size(argv[first + 2], &capacity, &err) < 0) {
		cli_fail(err);
		return CLI_USAGE;
	}
	arguments = json_object_new_object();
	json_add_string(arguments, "domain", argv[first]);
	json_add_string(arguments, "target", argv[first + 1]);
	json_add_u64(arguments, "capacity", capacity);
	if (client_call("resize", arguments, CLIENT_TIMEOUT_MS, NULL, &err) < 0)
		return cli_fail(err);
	printf(_("Disk %s resized to %s\n"), argv[first + 1], argv[first + 2]);
	return CLI_OK;
}

const struct cli_command cli_resize = { "resize", run, &program };
