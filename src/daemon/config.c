// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>

#include "base/fd.h"
#include "base/i18n.h"
#include "base/log.h"

#define MAX_FILE  (64 * KiB)
#define MAX_PATHS 64

enum kind {
	KIND_STRING, /* char *, owned */
	KIND_NUMBER, /* unsigned */
	KIND_PATHS,  /* char **, owned, ended by NULL */
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
	{ "shared_filesystems", KIND_PATHS, offsetof(struct config, shared_filesystems), 0 },
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

static void free_paths(char **paths)
{
	size_t i;

	for (i = 0; paths && paths[i]; i++)
		free(paths[i]);
	free(paths);
}

void config_clear(struct config *config)
{
	free_paths(config->shared_filesystems);
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

/* A list goes on over lines, with comments in it. */
static char *skip_lines(char *s)
{
	for (;;) {
		s = skip_space(s);
		if (*s == '#')
			while (*s && *s != '\n')
				s++;
		if (*s != '\n')
			return s;
		s++;
	}
}

/* The rest of a line may hold space and a comment. */
static bool line_is_over(char *s)
{
	s = skip_space(s);
	return !*s || *s == '#';
}

static int parse_string(char *value, char **ret, char **ret_end, struct error **errp)
{
	size_t len;

	if (*value != '"' && *value != '\'')
		return error_set(errp, EINVAL, _("the value wants quotes"));
	len = strcspn(value + 1, (char[]){ *value, '\n', '\0' });
	if (value[1 + len] != *value)
		return error_set(errp, EINVAL, _("the closing quote is missing"));
	*ret = strndup(value + 1, len);
	*ret_end = value + len + 2;
	return *ret ? 0 : error_set_errno(errp, ENOMEM, "configuration");
}

static int set_string(char **target, char *value, struct error **errp)
{
	_cleanup_free_ char *copy = NULL;
	char *end;
	int r = parse_string(value, &copy, &end, errp);

	if (r < 0)
		return r;
	if (!line_is_over(end))
		return error_set(errp, EINVAL, _("there is text behind the value"));
	free(*target);
	*target = steal_pointer(copy);
	return 0;
}

static int parse_paths(char *s, char **paths, struct error **errp)
{
	size_t count = 0;
	int r;

	for (s = skip_lines(s); *s != ']'; s = skip_lines(s)) {
		if (!*s)
			return error_set(errp, EINVAL, _("the closing bracket is missing"));
		if (count == MAX_PATHS)
			return error_set(errp, E2BIG, _("there are more than %d paths"), MAX_PATHS);
		r = parse_string(s, &paths[count], &s, errp);
		if (r < 0)
			return r;
		if (*paths[count++] != '/')
			return error_set(errp, EINVAL, _("\"%s\" is not an absolute path"),
					 paths[count - 1]);
		s = skip_lines(s);
		if (*s == ',')
			s++;
		else if (*s && *s != ']')
			return error_set(errp, EINVAL, _("there is text behind the value"));
	}
	if (!line_is_over(s + 1))
		return error_set(errp, EINVAL, _("there is text behind the value"));
	return 0;
}

static int set_paths(char ***target, char *value, struct error **errp)
{
	char **paths;
	int r;

	if (*value != '[')
		return error_set(errp, EINVAL, _("the value is not a [ \"list\" ]"));
	paths = calloc(MAX_PATHS + 1, sizeof(*paths));
	if (!paths)
		return error_set_errno(errp, ENOMEM, "configuration");
	r = parse_paths(value + 1, paths, errp);
	if (r < 0) {
		free_paths(paths);
		return r;
	}
	free_paths(*target);
	*target = paths;
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
	switch (key->kind) {
	case KIND_STRING:
		return set_string(target, line, errp);
	case KIND_NUMBER:
		return set_number(target, line, key->max, errp);
	case KIND_PATHS:
		return set_paths(target, line, errp);
	}
	return 0;
}

/* Cut off what belongs together: one line, or all lines of a list. Return: what follows, or NULL. */
static char *cut_line(char *line)
{
	char quote = '\0', *s;
	bool list = false;

	for (s = line; *s; s++) {
		if (*s == '\n' && !list)
			break;
		if (quote) {
			if (*s == quote || *s == '\n')
				quote = '\0';
		} else if (*s == '#') {
			s += strcspn(s, "\n") - 1;
		} else if (*s == '"' || *s == '\'') {
			quote = *s;
		} else if (*s == '[') {
			list = true;
		} else if (*s == ']') {
			list = false;
		}
	}
	if (!*s)
		return NULL;
	*s = '\0';
	return s + 1;
}

static unsigned count_lines(const char *s, const char *end)
{
	unsigned n = 1;

	for (; s < end; s++)
		n += *s == '\n';
	return n;
}

int config_load(struct config *config, const char *path, bool must_exist, struct error **errp)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -1;
	unsigned number = 1;
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
		next = cut_line(line);
		r = parse_line(config, line, errp);
		if (r < 0) {
			error_prefix(errp, "%s:%u", path, number);
			return r;
		}
		if (next)
			number += count_lines(line, next - 1);
	}
	return 0;
}
