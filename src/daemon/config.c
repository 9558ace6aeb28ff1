// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>

#include "base/fd.h"
#include "base/i18n.h"
#include "base/log.h"

#define MAX_FILE (64 * KiB)

enum kind {
	KIND_STRING, /* char *, owned */
	KIND_NUMBER, /* unsigned */
};

static const struct key {
	const char *name;
	enum kind kind;
	size_t offset;
	unsigned max; /* of a number */
} keys[] = {
	{ "uri", KIND_STRING, offsetof(struct config, uri), 0 },
	{ "socket_group", KIND_STRING, offsetof(struct config, socket_group), 0 },
	{ "log_level", KIND_NUMBER, offsetof(struct config, log_level), LOG_DEBUG },
};

int config_init(struct config *config)
{
	*config = (struct config){
		.uri = strdup("qemu:///system"),
		.socket_group = strdup("libvirt"),
		.log_level = LOG_INFO,
	};
	return config->uri && config->socket_group ? 0 : -ENOMEM;
}

void config_clear(struct config *config)
{
	free(config->uri);
	free(config->socket_group);
	*config = (struct config){};
}

static const struct key *find_key(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(keys); i++)
		if (string_equal(keys[i].name, name))
			return &keys[i];
	return NULL;
}

static char *skip_space(char *s)
{
	while (*s == ' ' || *s == '\t' || *s == '\r')
		s++;
	return s;
}

/* The rest of a line may hold space and a comment. */
static bool line_is_over(char *s)
{
	s = skip_space(s);
	return !*s || *s == '#';
}

static int set_string(char **target, char *value, struct error **errp)
{
	char *end, *copy;

	if (*value != '"' && *value != '\'')
		return error_set(errp, EINVAL, _("the value wants quotes"));
	end = strchr(value + 1, *value);
	if (!end)
		return error_set(errp, EINVAL, _("the closing quote is missing"));
	if (!line_is_over(end + 1))
		return error_set(errp, EINVAL, _("there is text behind the value"));
	copy = strndup(value + 1, end - value - 1);
	if (!copy)
		return error_set_errno(errp, ENOMEM, "configuration");
	free(*target);
	*target = copy;
	return 0;
}

static int set_number(unsigned *target, char *value, unsigned max, struct error **errp)
{
	unsigned long number;
	char *end;

	errno = 0;
	number = strtoul(value, &end, 10);
	if (errno || end == value || *value == '-' || !line_is_over(end))
		return error_set(errp, EINVAL, _("the value is not a number"));
	if (number > max)
		return error_set(errp, ERANGE, _("the value is more than %u"), max);
	*target = number;
	return 0;
}

static int parse_line(struct config *config, char *line, struct error **errp)
{
	const struct key *key;
	char *name, *end;
	void *target;

	if (line_is_over(line))
		return 0;
	name = skip_space(line);
	for (end = name; isalnum((unsigned char)*end) || *end == '_';)
		end++;
	line = skip_space(end);
	if (end == name || *line != '=')
		return error_set(errp, EINVAL, _("the line is not \"key = value\""));
	*end = '\0';
	key = find_key(name);
	if (!key)
		return error_set(errp, EINVAL, _("unknown key \"%s\""), name);
	line = skip_space(line + 1);
	target = (char *)config + key->offset;
	if (key->kind == KIND_STRING)
		return set_string(target, line, errp);
	return set_number(target, line, key->max, errp);
}

int config_load(struct config *config, const char *path, bool must_exist, struct error **errp)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -1;
	unsigned number = 0;
	char *line, *next;
	size_t len;
	int r;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT && !must_exist ? 0
						      : error_set_errno(errp, errno, "%s", path);
	r = fd_read_all(fd, MAX_FILE, &text, &len);
	if (r < 0)
		return error_set_errno(errp, -r, "%s", path);
	for (line = text; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		number++;
		r = parse_line(config, line, errp);
		if (r < 0) {
			error_prefix(errp, "%s:%u", path, number);
			return r;
		}
	}
	return 0;
}
