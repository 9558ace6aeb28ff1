// SPDX-License-Identifier: LGPL-2.1-or-later
#include <stdio.h>

#include "base/i18n.h"
#include "cli/cli.h"
#include "domain-xml/metadata.h"
#include "domain-xml/validate.h"

static const struct option_program program = {
	.name = "virt-nvme validate",
	.arguments = "FILE",
	.summary = N_("check a domain's XML; needs no daemon"),
	.min_arguments = 1,
	.max_arguments = 1,
};

static int run(int argc, char **argv)
{
	_cleanup_metadata_ struct metadata *metadata = NULL;
	_cleanup_free_ char *xml = NULL;
	struct error *err = NULL;
	int first, code;

	if (!cli_parse(&program, argc, argv, &first, &code))
		return code;
	if (cli_read_input(argv[first], &xml, &err) < 0 ||
	    domain_xml_validate(xml, strlen(xml), argv[first], &err) < 0)
		return cli_fail(err);
	if (metadata_parse_domain(xml, strlen(xml), &metadata, &err) < 0)
		return cli_fail(err);
	if (!metadata->controller_count)
		printf(_("%s is valid, but has no NVMe disks in the namespace %s\n"), argv[first],
		       METADATA_NAMESPACE);
	else
		printf(_("%s is valid\n"), argv[first]);
	return CLI_OK;
}

const struct cli_command cli_validate = { "validate", run, &program };
