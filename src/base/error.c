// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/error.h"

#include <stdio.h>

/* Used when there is no memory left to say what happened: never freed. */
static struct error out_of_memory = { .code = 12, .message = (char *)"out of memory" };

static void __printf(4, 0) error_vset(struct error **errp, int code, const char *suffix,
				      const char *format, va_list args)
{
	_cleanup_free_ char *text = NULL;
	struct error *err;

	if (!errp)
		return;
	*errp = &out_of_memory;
	if (vasprintf(&text, format, args) < 0) {
		text = NULL;
		return;
	}
	err = malloc(sizeof(*err));
	if (!err)
		return;
	err->code = code;
	if (asprintf(&err->message, "%s%s%s", text, suffix ? ": " : "", suffix ? suffix : "") < 0) {
		free(err);
		return;
	}
	*errp = err;
}

int error_set(struct error **errp, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error_vset(errp, code, NULL, format, args);
	va_end(args);
	return -code;
}

int error_set_errno(struct error **errp, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error_vset(errp, code, strerror(code), format, args);
	va_end(args);
	return -code;
}

void error_prefix(struct error **errp, const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	char *joined;
	va_list args;
	int n;

	if (!errp || !*errp || *errp == &out_of_memory)
		return;
	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0) {
		text = NULL;
		return;
	}
	if (asprintf(&joined, "%s: %s", text, (*errp)->message) < 0)
		return;
	free((*errp)->message);
	(*errp)->message = joined;
}

int error_propagate(struct error **errp, struct error *err)
{
	int code = err->code;

	if (errp)
		*errp = err;
	else
		error_free(err);
	return -code;
}

const char *error_message(const struct error *err)
{
	return err ? err->message : "unknown error";
}

void error_free(struct error *err)
{
	if (!err || err == &out_of_memory)
		return;
	free(err->message);
	free(err);
}
