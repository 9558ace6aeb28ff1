// SPDX-License-Identifier: LGPL-2.1-or-later
#include "control/commands.h"

#include <errno.h>

#include "base/i18n.h"

#define ARGUMENTS(...)                                                                             \
	(const struct control_argument[])                                                          \
	{                                                                                          \
		__VA_ARGS__,                                                                       \
		{                                                                                  \
			.name = NULL                                                               \
		}                                                                                  \
	}
#define STRING(name)                                                                               \
	{                                                                                          \
		name, json_type_string, false                                                      \
	}
#define NUMBER(name)                                                                               \
	{                                                                                          \
		name, json_type_int, false                                                         \
	}
#define BOOLEAN(name)                                                                              \
	{                                                                                          \
		name, json_type_boolean, false                                                     \
	}
#define REQUIRED_STRING(name)                                                                      \
	{                                                                                          \
		name, json_type_string, true                                                       \
	}
#define REQUIRED_NUMBER(name)                                                                      \
	{                                                                                          \
		name, json_type_int, true                                                          \
	}
#define REQUIRED_BOOLEAN(name)                                                                     \
	{                                                                                          \
		name, json_type_boolean, true                                                      \
	}
#define REQUIRED_OBJECT(name)                                                                      \
	{                                                                                          \
		name, json_type_object, true                                                       \
	}

static const struct control_command commands[] = {
	{ "hook", CONTROL_DAEMON, 0,
	  ARGUMENTS(REQUIRED_STRING("domain"), REQUIRED_STRING("operation"),
		    REQUIRED_STRING("phase"), STRING("extra"), STRING("xml")) },
	{ "define", CONTROL_DAEMON, 0, ARGUMENTS(REQUIRED_STRING("xml")) },
	{ "attach-disk", CONTROL_DAEMON, 0,
	  ARGUMENTS(REQUIRED_STRING("domain"), REQUIRED_STRING("source"), REQUIRED_STRING("target"),
		    STRING("type"), STRING("cache"), STRING("io"), STRING("discard"),
		    STRING("serial"), NUMBER("block_size"), NUMBER("capacity"),
		    NUMBER("allocation"), BOOLEAN("read_only"), BOOLEAN("shareable"),
		    BOOLEAN("live"), BOOLEAN("config")) },
	{ "detach-disk", CONTROL_DAEMON, 0,
	  ARGUMENTS(REQUIRED_STRING("domain"), REQUIRED_STRING("target"), BOOLEAN("live"),
		    BOOLEAN("config"), BOOLEAN("remove_storage")) },
	{ "resize", CONTROL_DAEMON, 0,
	  ARGUMENTS(REQUIRED_STRING("domain"), REQUIRED_STRING("target"), NUMBER("capacity"),
		    BOOLEAN("force")) },
	{ "list", CONTROL_DAEMON, 0, NULL },
	{ "info", CONTROL_DAEMON, 0, ARGUMENTS(REQUIRED_STRING("domain")) },
	{ "upgrade", CONTROL_DAEMON, 0, ARGUMENTS(STRING("domain"), BOOLEAN("all")) },
	{ "unmanage", CONTROL_DAEMON, 0, ARGUMENTS(STRING("domain"), BOOLEAN("all")) },
	{ "migrate-check", CONTROL_DAEMON, 0, ARGUMENTS(REQUIRED_STRING("domain")) },
	{ "host-status", CONTROL_DAEMON, 0, NULL },
	{ "look", CONTROL_DAEMON, 0, ARGUMENTS(REQUIRED_STRING("domain")) },

	{ "status", CONTROL_KEEPER, 0, NULL },
	{ "add-controller", CONTROL_KEEPER, 0, ARGUMENTS(REQUIRED_OBJECT("controller")) },
	{ "remove-controller", CONTROL_KEEPER, 0, ARGUMENTS(REQUIRED_NUMBER("index")) },
	{ "add-namespace", CONTROL_KEEPER, 0,
	  ARGUMENTS(REQUIRED_NUMBER("index"), REQUIRED_OBJECT("namespace")) },
	{ "remove-namespace", CONTROL_KEEPER | CONTROL_CONTROLLER, 0,
	  ARGUMENTS(REQUIRED_NUMBER("index"), REQUIRED_NUMBER("nsid")) },
	{ "resize-namespace", CONTROL_KEEPER | CONTROL_CONTROLLER, 0,
	  ARGUMENTS(REQUIRED_NUMBER("index"), REQUIRED_NUMBER("nsid"), NUMBER("limit")) },
	{ "set-block-size", CONTROL_KEEPER | CONTROL_CONTROLLER, 0,
	  ARGUMENTS(REQUIRED_NUMBER("index"), REQUIRED_NUMBER("nsid"),
		    REQUIRED_NUMBER("block_size")) },
	{ "set-iotune", CONTROL_KEEPER | CONTROL_CONTROLLER, 0,
	  ARGUMENTS(REQUIRED_NUMBER("index"), REQUIRED_NUMBER("nsid"), REQUIRED_OBJECT("iotune")) },
	{ "upgrade", CONTROL_KEEPER, 0, NULL },
	{ "permit-migration", CONTROL_KEEPER, 0,
	  ARGUMENTS(REQUIRED_NUMBER("seconds"), REQUIRED_NUMBER("micros"), STRING("operation"),
		    STRING("refused")) },
	{ "stop", CONTROL_KEEPER | CONTROL_CONTROLLER, 0, NULL },

	/* The state memfd, the relay socket, the bulk memfd, the mapped doorbells. */
	{ "add-controller", CONTROL_CONTROLLER, 4,
	  ARGUMENTS(REQUIRED_NUMBER("index"), REQUIRED_STRING("serial"), STRING("uuid"),
		    STRING("subsystem"), REQUIRED_NUMBER("queues"), STRING("doorbells"),
		    NUMBER("cntlid"), BOOLEAN("frozen"), BOOLEAN("poison")) },
	{ "remove-controller", CONTROL_CONTROLLER, 0,
	  ARGUMENTS(REQUIRED_NUMBER("index"), BOOLEAN("keep_state")) },
	/* The image; for tests also its control file and its stable file. */
	{ "add-namespace", CONTROL_CONTROLLER, 5,
	  ARGUMENTS(REQUIRED_NUMBER("index"), REQUIRED_OBJECT("namespace")) },
	{ "retry", CONTROL_CONTROLLER, 0, ARGUMENTS(BOOLEAN("give_up")) },
	{ "guest-ran", CONTROL_CONTROLLER, 0,
	  ARGUMENTS(REQUIRED_NUMBER("index"), REQUIRED_NUMBER("ms")) },
	{ "message-mode", CONTROL_CONTROLLER, 0,
	  ARGUMENTS(REQUIRED_BOOLEAN("enabled"), NUMBER("since")) },
	{ "judge-state", CONTROL_CONTROLLER, 1, ARGUMENTS(REQUIRED_NUMBER("queues")) },
	{ "freeze", CONTROL_CONTROLLER, 0, ARGUMENTS(BOOLEAN("sync")) },
	{ "thaw", CONTROL_CONTROLLER, 0, NULL },
	{ "pci-config", CONTROL_CONTROLLER, 0, ARGUMENTS(REQUIRED_NUMBER("index")) },
	{ "overlay-bound", CONTROL_CONTROLLER, 0, ARGUMENTS(REQUIRED_NUMBER("index")) },
	{ "overlay-export", CONTROL_CONTROLLER, 1,
	  ARGUMENTS(REQUIRED_NUMBER("index"), NUMBER("stopped"), NUMBER("limit")) },
	{ "overlay-apply", CONTROL_CONTROLLER, 1, ARGUMENTS(REQUIRED_NUMBER("index")) },
	{ "counters", CONTROL_CONTROLLER, 0, NULL },
};

const struct control_command *control_command_find(unsigned role, const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if ((commands[i].role & role) && strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static int check_argument(const struct control_command *command,
			  const struct control_argument *argument, struct json_object *arguments,
			  struct error **errp)
{
	struct json_object *value;

	if (!arguments || !json_object_object_get_ex(arguments, argument->name, &value)) {
		if (!argument->required)
			return 0;
		return error_set(errp, EINVAL, _("command \"%s\" needs the argument \"%s\""),
				 command->name, argument->name);
	}
	if (!json_object_is_type(value, argument->type))
		return error_set(errp, EINVAL, _("argument \"%s\" of command \"%s\" is not a %s"),
				 argument->name, command->name, json_type_to_name(argument->type));
	if (argument->type == json_type_int && json_object_get_int64(value) < 0)
		return error_set(errp, EINVAL, _("argument \"%s\" of command \"%s\" is negative"),
				 argument->name, command->name);
	return 0;
}

int control_command_check(const struct control_command *command, struct json_object *arguments,
			  size_t fd_count, struct error **errp)
{
	const struct control_argument *argument;
	int r;

	if (arguments && !json_object_is_type(arguments, json_type_object))
		return error_set(errp, EINVAL, _("the arguments of command \"%s\" are no object"),
				 command->name);
	if (fd_count > command->max_fds)
		return error_set(errp, EINVAL,
				 _("command \"%s\" takes at most %u descriptors, not %zu"),
				 command->name, command->max_fds, fd_count);
	for (argument = command->arguments; argument && argument->name; argument++) {
		r = check_argument(command, argument, arguments, errp);
		if (r < 0)
			return r;
	}
	return 0;
}
