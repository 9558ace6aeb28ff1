/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdarg.h>

#include "base/util.h"

/*
 * A sentence that a user will read, with the errno that a program will look at.
 *
 * The contract, the same for every function with a `struct error **errp` parameter:
 *  - success: it returns 0 (or a pointer) and leaves *errp alone;
 *  - failure: it returns -errno (or NULL) and has set *errp;
 *  - errp may be NULL when the caller needs no sentence;
 *  - *errp must be NULL on entry.
 * A sentence names the thing and, where there is one, the remedy. It has no trailing newline or
 * full stop, and one line.
 */
struct error {
	int code; /* positive errno */
	char *message;
};

/**
 * error_set() - create an error
 * @errp: where it goes; may be NULL
 * @code: positive errno
 * @format: the sentence; wrap it in _() where a user reads it
 *
 * Return: -@code, so that a function can `return error_set(...)`.
 */
int error_set(struct error **errp, int code, const char *format, ...) __printf(3, 4);

/**
 * error_set_errno() - create an error that ends in ": strerror(code)"
 */
int error_set_errno(struct error **errp, int code, const char *format, ...) __printf(3, 4);

/**
 * error_prefix() - put what was being done in front of what went wrong; no-op on a NULL error
 */
void error_prefix(struct error **errp, const char *format, ...) __printf(2, 3);

/**
 * error_propagate() - move @err to @errp, or free it when @errp is NULL
 *
 * Return: the negative errno of @err.
 */
int error_propagate(struct error **errp, struct error *err);

/**
 * error_message() - the sentence, or "unknown error" for NULL
 */
const char *error_message(const struct error *err);

void error_free(struct error *err);

static inline void cleanup_error(struct error **err)
{
	error_free(*err);
}

#define _cleanup_error_ _cleanup_(cleanup_error)

#endif
