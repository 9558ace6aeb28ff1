// SPDX-License-Identifier: LGPL-2.1-or-later
#include <stdio.h>

#include "base/i18n.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "domain-xml/domain.h"

/*
 * What libvirt runs as a hook: virt-nvme hook DOMAIN OPERATION SUBOPERATION EXTRA, the domain's XML
 * on stdin.
 *
 * Theory of operation
 *
 * libvirtd holds the domain's lock while we run and has no timeout. So: a domain that is not ours
 * costs reading stdin and nothing else; the daemon answers from the XML alone; and every call has a
 * timeout of its own. libvirt kills a running guest whose `reconnect` hook fails, and ignores what
 * happens in `stopped` and `release`: those always succeed, whatever we find.
 */

/* A keeper may have to create and preallocate images. */
#define PREPARE_TIMEOUT_MS 60000
#define NOTICE_TIMEOUT_MS  10000

enum need {
	NEED_NOTHING,
	NEED_NOTICE, /* tell the daemon, succeed anyhow */
	NEED_ANSWER, /* the daemon may refuse */
};

static const struct {
	const char *name;
	enum need need;
	bool filter; /* libvirt reads our output */
} operations[] = {
	{ "start", NEED_NOTICE, false },      { "prepare", NEED_ANSWER, false },
	{ "migrate", NEED_ANSWER, true },     { "restore", NEED_ANSWER, true },
	{ "stopped", NEED_NOTICE, false },    { "release", NEED_NOTICE, false },
	{ "reconnect", NEED_NOTHING, false },
};

static const struct option_program program = {
	.name = "virt-nvme hook",
	.arguments = "DOMAIN OPERATION SUBOPERATION EXTRA",
	.summary = N_("answer a hook of libvirt; not for use by hand"),
	.min_arguments = 4,
	.max_arguments = 4,
};

/* A domain that lost its metadata but not our block would talk to sockets that nobody serves. */
static bool concerns_us(const char *xml)
{
	return domain_xml_is_ours(xml, strlen(xml));
}

static int ask(char **words, const char *xml, enum need need, bool filter)
{
	struct json_object *arguments = json_object_new_object();
	_cleanup_json_ struct json_object *result = NULL;
	struct error *err = NULL;
	const char *changed;

	json_add_string(arguments, "domain", words[0]);
	json_add_string(arguments, "operation", words[1]);
	json_add_string(arguments, "phase", words[2]);
	json_add_string(arguments, "extra", words[3]);
	json_add_string(arguments, "xml", xml);
	if (client_call("hook", arguments,
			need == NEED_ANSWER ? PREPARE_TIMEOUT_MS : NOTICE_TIMEOUT_MS, &result,
			&err) < 0) {
		if (need == NEED_ANSWER) {
			/* libvirt puts its own words in front of the line. */
			fprintf(stderr, "virtnvme: %s\n", error_message(err));
			error_free(err);
			return CLI_FAILURE;
		}
		error_free(err);
		return CLI_OK;
	}
	changed = json_string_or(result, "xml", NULL);
	if (filter && changed)
		fputs(changed, stdout);
	return CLI_OK;
}

static int run(int argc, char **argv)
{
	_cleanup_free_ char *xml = NULL;
	struct error *err = NULL;
	int first, code;
	size_t i;

	if (!cli_parse(&program, argc, argv, &first, &code))
		return code;
	for (i = 0; i < ARRAY_SIZE(operations); i++)
		if (string_equal(argv[first + 1], operations[i].name))
			break;
	if (i == ARRAY_SIZE(operations) || operations[i].need == NEED_NOTHING)
		return CLI_OK;
	if (cli_read_input(NULL, &xml, &err) < 0) {
		/* Not known to be ours, and libvirt's own XML always can be read. */
		error_free(err);
		return CLI_OK;
	}
	if (!concerns_us(xml))
		return CLI_OK;
	if (operations[i].need == NEED_ANSWER && geteuid() != 0) {
		fprintf(stderr, _("virtnvme: domains of qemu:///session are not served; define it "
				  "in qemu:///system\n"));
		return CLI_FAILURE;
	}
	return ask(argv + first, xml, operations[i].need, operations[i].filter);
}

const struct cli_command cli_hook = { "hook", run, &program };
