// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>

#include "base/fd.h"
#include "base/i18n.h"
#include "base/log.h"

/* Of a domain's XML, our own and libvirt's. */
#define MAX_INPUT (3 * MiB)

static const struct cli_command *const commands[] = {
	&cli_define,	    &cli_attach_disk,	&cli_detach_disk, &cli_resize,	 &cli_list,
	&cli_info,	    &cli_rewrite,	&cli_validate,	  &cli_unmanage, &cli_upgrade,
	&cli_migrate_check, &cli_host_validate, &cli_hook,
};

bool cli_parse(const struct option_program *program, int argc, char **argv, int *ret_first,
	       int *ret_exit)
{
	struct error *err = NULL;
	int r = options_parse(program, argc, argv, ret_first, &err);

	if (r == 0)
		return true;
	*ret_exit = CLI_OK;
	if (r < 0) {
		cli_fail(err);
		*ret_exit = CLI_USAGE;
	}
	return false;
}

int cli_fail(struct error *err)
{
	fprintf(stderr, _("error: %s\n"), error_message(err));
	error_free(err);
	return CLI_FAILURE;
}

int cli_read_input(const char *path, char **ret_text, struct error **errp)
{
	bool is_stdin = !path || string_equal(path, "-");
	_cleanup_close_ int fd = -1;
	size_t len;
	int r;

	if (!is_stdin) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return error_set_errno(errp, errno, "%s", path);
	}
	r = fd_read_all(is_stdin ? STDIN_FILENO : fd, MAX_INPUT, ret_text, &len);
	if (r < 0)
		return error_set_errno(errp, -r, "%s", is_stdin ? _("standard input") : path);
	if (strlen(*ret_text) != len) {
		free(*ret_text);
		*ret_text = NULL;
		return error_set(errp, EINVAL, _("%s is not text"),
				 is_stdin ? _("standard input") : path);
	}
	return 0;
}

void cli_print_json(struct json_object *object)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
							    JSON_C_TO_STRING_SPACED |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void usage(FILE *out)
{
	size_t i;

	fprintf(out, _("Usage: virt-nvme COMMAND [OPTION...] [ARGUMENT...]\n"
		       "NVMe disks of libvirt domains.\n\n"));
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "  %-16s %s\n", commands[i]->name, _(commands[i]->program->summary));
	fprintf(out, _("\nvirt-nvme COMMAND --help shows a command's options.\n"));
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;
	size_t i;

	setlocale(LC_ALL, "");
	bindtextdomain("virtnvme", VIRTNVME_LOCALE_DIR);
	log_open("virt-nvme", LOG_WARNING);

	if (!name) {
		usage(stderr);
		return CLI_USAGE;
	}
	if (string_equal(name, "--help") || string_equal(name, "-h") ||
	    string_equal(name, "help")) {
		usage(stdout);
		return CLI_OK;
	}
	if (string_equal(name, "--version") || string_equal(name, "-V")) {
		printf("virt-nvme (virtnvme) %s\n", PACKAGE_VERSION);
		return CLI_OK;
	}
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (string_equal(name, commands[i]->name))
			return commands[i]->run(argc - 1, argv + 1);
	fprintf(stderr, _("error: unknown command \"%s\"; see virt-nvme --help\n"), name);
	return CLI_USAGE;
}
