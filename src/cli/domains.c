// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/domains.h"

#include <stdio.h>

#include "base/i18n.h"
#include "cli/cli.h"
#include "cli/client.h"

int domains_ask(const char *command, bool all, const char *domain, struct json_object **ret_answer)
{
	struct json_object *arguments;
	struct error *err = NULL;

	if (all == !!domain) {
		fprintf(stderr, _("error: name a domain, or give --all\n"));
		return CLI_USAGE;
	}
	arguments = json_object_new_object();
	if (all)
		json_add_bool(arguments, "all", true);
	else
		json_add_string(arguments, "domain", domain);
	if (client_call(command, arguments, CLIENT_TIMEOUT_MS, ret_answer, &err) < 0)
		return cli_fail(err);
	return CLI_OK;
}
