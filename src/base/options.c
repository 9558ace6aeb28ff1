// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <strings.h>

#include "base/i18n.h"

#define MAX_OPTIONS 40

static size_t count_options(const struct option_program *program)
{
	size_t n = 0;

	while (program->options && program->options[n].name)
		n++;
	return n;
}

static void help_line(FILE *out, const struct option_spec *option)
{
	char left[64];

	snprintf(left, sizeof(left), "%c%c%c --%s%s%s", option->letter ? '-' : ' ',
		 option->letter ? option->letter : ' ', option->letter ? ',' : ' ', option->name,
		 option->argument ? "=" : "", option->argument ? option->argument : "");
	fprintf(out, "  %-32s %s\n", left, _(option->help));
}

static void options_help(const struct option_program *program, FILE *out)
{
	static const struct option_spec common[] = {
		{ "help", 'h', OPTION_FLAG, NULL, N_("show this help") },
		{ "version", 'V', OPTION_FLAG, NULL, N_("show the version") },
	};
	size_t i, n = count_options(program);

	fprintf(out, _("Usage: %s [OPTION...] %s\n"), program->name, program->arguments);
	fprintf(out, "%s\n\n", _(program->summary));
	if (program->notes)
		fprintf(out, "%s\n\n", _(program->notes));
	for (i = 0; i < n; i++)
		help_line(out, &program->options[i]);
	for (i = 0; i < ARRAY_SIZE(common); i++)
		help_line(out, &common[i]);
}

static int parse_number(const char *text, unsigned long *ret)
{
	char *end;

	errno = 0;
	*ret = strtoul(text, &end, 0);
	return errno || end == text || *end || *text == '-' ? -EINVAL : 0;
}

static int apply(const struct option_program *program, const struct option_spec *option,
		 const char *value, struct error **errp)
{
	switch (option->kind) {
	case OPTION_FLAG:
		*(bool *)option->target = true;
		return 0;
	case OPTION_STRING:
		*(const char **)option->target = value;
		return 0;
	case OPTION_NUMBER:
		if (parse_number(value, option->target) < 0)
			return error_set(errp, EINVAL, _("%s: --%s wants a number, not \"%s\""),
					 program->name, option->name, value);
		return 0;
	case OPTION_CALL:
		return option->call(value, option->target, errp);
	}
	return -EINVAL;
}

static int usage_error(const struct option_program *program, struct error **errp, const char *what,
		       const char *name)
{
	return error_set(errp, EINVAL, _("%s: %s%s; see %s --help"), program->name, what, name,
			 program->name);
}

int options_parse(const struct option_program *program, int argc, char **argv, int *ret_first,
		  struct error **errp)
{
	struct option longs[MAX_OPTIONS + 3] = {};
	char shorts[2 * MAX_OPTIONS + 8] = ":hV";
	size_t i, n = count_options(program), s = strlen(shorts);
	int c, index;

	for (i = 0; i < n; i++) {
		const struct option_spec *option = &program->options[i];

		longs[i] = (struct option){ option->name, option->argument ? 1 : 0, NULL, 256 + i };
		if (option->letter) {
			shorts[s++] = option->letter;
			if (option->argument)
				shorts[s++] = ':';
		}
	}
	longs[n] = (struct option){ "help", 0, NULL, 'h' };
	longs[n + 1] = (struct option){ "version", 0, NULL, 'V' };

	optind = 0; /* glibc: start afresh, this may be the second table of the same argv */
	while ((c = getopt_long(argc, argv, shorts, longs, &index)) != -1) {
		const struct option_spec *option = NULL;
		int ret;

		if (c == 'h') {
			options_help(program, stdout);
			return 1;
		}
		if (c == 'V') {
			printf("%s (virtnvme) %s\n", program->name, PACKAGE_VERSION);
			return 1;
		}
		if (c == ':')
			return usage_error(program, errp, _("a value is missing after "),
					   argv[optind - 1]);
		if (c == '?')
			return usage_error(program, errp, _("unknown option "), argv[optind - 1]);
		if (c >= 256)
			option = &program->options[c - 256];
		for (i = 0; !option && i < n; i++)
			if (program->options[i].letter == c)
				option = &program->options[i];
		ret = apply(program, option, optarg, errp);
		if (ret < 0)
			return ret;
	}
	if (argc - optind < program->min_arguments)
		return usage_error(program, errp, _("something is missing: "), program->arguments);
	if (program->max_arguments >= 0 && argc - optind > program->max_arguments)
		return usage_error(program, errp, _("unexpected argument "),
				   argv[optind + program->max_arguments]);
	*ret_first = optind;
	return 0;
}

int options_parse_size(const char *text, uint64_t *ret_bytes, struct error **errp)
{
	static const char units[] = "KMGTPE";
	unsigned long long value;
	const char *unit;
	unsigned shift = 0;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || end == text || !isdigit((unsigned char)*text))
		goto bad;
	if (*end) {
		unit = strchr(units, *end & ~0x20);
		if (!unit || (end[1] && strcasecmp(end + 1, "iB") != 0))
			goto bad;
		shift = 10 * (unit - units + 1);
	}
	if (value > UINT64_MAX >> shift)
		goto bad;
	*ret_bytes = value << shift;
	return 0;
bad:
	return error_set(errp, EINVAL, _("\"%s\" is not a size such as 512M or 10G"), text);
}
