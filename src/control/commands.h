/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROL_COMMANDS_H
#define CONTROL_COMMANDS_H

#include "base/json.h"

/* The commands of docs/control.md, declared once. */
enum control_role {
	CONTROL_NONE = 0,
	CONTROL_DAEMON = 1 << 0,
	CONTROL_KEEPER = 1 << 1,
	CONTROL_CONTROLLER = 1 << 2,
};

struct control_argument {
	const char *name;
	enum json_type type; /* json_type_int: non-negative */
	bool required;
};

struct control_command {
	const char *name;
	unsigned role; /* who serves it */
	unsigned max_fds;
	const struct control_argument *arguments; /* ended by a NULL name; NULL: none */
};

/** control_command_find() - NULL when @role serves no such command */
const struct control_command *control_command_find(unsigned role, const char *name);

/** control_command_check() - required arguments are there, all known ones have their type; 0 or
 * -EINVAL */
int control_command_check(const struct control_command *command, struct json_object *arguments,
			  size_t fd_count, struct error **errp);

#endif
