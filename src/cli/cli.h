/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/error.h"
#include "base/json.h"
#include "base/options.h"

/* What virt-nvme exits with; documented in virt-nvme(1). */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILURE = 1,
	CLI_USAGE = 2,
};

/* One file a subcommand; main.c has the table. argv[0] is the subcommand's name. */
struct cli_command {
	const char *name;
	int (*run)(int argc, char **argv);
	const struct option_program *program;
};

extern const struct cli_command cli_attach_disk;
extern const struct cli_command cli_define;
extern const struct cli_command cli_detach_disk;
extern const struct cli_command cli_hook;
extern const struct cli_command cli_host_validate;
extern const struct cli_command cli_info;
extern const struct cli_command cli_list;
extern const struct cli_command cli_resize;
extern const struct cli_command cli_migrate_check;
extern const struct cli_command cli_rewrite;
extern const struct cli_command cli_unmanage;
extern const struct cli_command cli_upgrade;
extern const struct cli_command cli_validate;

/**
 * cli_parse() - the options of a subcommand
 * @ret_exit: set when the caller is to stop
 *
 * Return: true to go on.
 */
bool cli_parse(const struct option_program *program, int argc, char **argv, int *ret_first,
	       int *ret_exit);

/** cli_fail() - write the sentence to stderr, free it; CLI_FAILURE */
int cli_fail(struct error *err);

/** cli_read_input() - a file, or stdin for "-" and NULL; malloc()ed with a terminating NUL */
int cli_read_input(const char *path, char **ret_text, struct error **errp);

/** cli_print_json() - pretty, for --json */
void cli_print_json(struct json_object *object);

#endif
