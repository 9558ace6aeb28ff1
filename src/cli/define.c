// SPDX-License-Identifier: LGPL-2.1-or-later
#include <stdio.h>

#include "base/i18n.h"
#include "cli/cli.h"
#include "cli/client.h"

static const struct option_program program = {
	.name = "virt-nvme define",
	.arguments = "FILE",
	.summary = N_("define a domain from an XML file, rewritten at once"),
	.min_arguments = 1,
	.max_arguments = 1,
};

static int run(int argc, char **argv)
{
	_cleanup_json_ struct json_object *result = NULL;
	_cleanup_free_ char *xml = NULL;
	struct json_object *arguments;
	struct error *err = NULL;
	int first, code;

	if (!cli_parse(&program, argc, argv, &first, &code))
		return code;
	if (cli_read_input(argv[first], &xml, &err) < 0)
		return cli_fail(err);
	arguments = json_object_new_object();
	json_add_string(arguments, "xml", xml);
	if (client_call("define", arguments, CLIENT_TIMEOUT_MS, &result, &err) < 0)
		return cli_fail(err);
	printf(_("Domain '%s' defined from %s\n"), json_string_or(result, "domain", "?"),
	       argv[first]);
	return CLI_OK;
}

const struct cli_command cli_define = { "define", run, &program };
