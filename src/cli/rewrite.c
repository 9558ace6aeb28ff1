// SPDX-License-Identifier: LGPL-2.1-or-later
#include <stdio.h>

#include "base/i18n.h"
#include "cli/cli.h"
#include "domain-xml/rewrite.h"

static bool incoming, no_monitor_object;
static const char *uuid;

static const struct option_spec options[] = {
	{ "incoming", 0, OPTION_FLAG, NULL,
	  N_("as on the receiving end of a migration: memory is left alone"), &incoming },
	{ "uuid", 0, OPTION_STRING, "UUID", N_("for an XML that has none"), &uuid },
	{ "no-monitor-object", 0, OPTION_FLAG, NULL, N_("for a QEMU without monitor-qmp objects"),
	  &no_monitor_object },
	{},
};

static const struct option_program program = {
	.name = "virt-nvme rewrite",
	.arguments = "[FILE]",
	.summary = N_("print a domain's XML as it has to be defined; needs no daemon"),
	.options = options,
	.max_arguments = 1,
};

static int run(int argc, char **argv)
{
	struct rewrite_options rewrite = {};
	_cleanup_free_ char *xml = NULL;
	_cleanup_free_ char *new = NULL;
	struct error *err = NULL;
	int first, code;

	if (!cli_parse(&program, argc, argv, &first, &code))
		return code;
	rewrite.mode = incoming ? REWRITE_INCOMING : REWRITE_CONFIG;
	rewrite.uuid = uuid;
	rewrite.has_monitor_object = !no_monitor_object;
	if (cli_read_input(first < argc ? argv[first] : NULL, &xml, &err) < 0 ||
	    domain_xml_rewrite(xml, strlen(xml), &rewrite, &new, NULL, &err) < 0)
		return cli_fail(err);
	fputs(new, stdout);
	return CLI_OK;
}

const struct cli_command cli_rewrite = { "rewrite", run, &program };
