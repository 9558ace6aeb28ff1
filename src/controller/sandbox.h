/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_SANDBOX_H
#define CONTROLLER_SANDBOX_H

#include "base/error.h"

struct sandbox_options {
	const char *user; /* give up root for this user; NULL: stay who we are */
	bool may_unlink;  /* standalone: the socket is removed at the end */
};

/** sandbox_close_inherited() - every descriptor from 3 up but @keep (-1: none) */
void sandbox_close_inherited(int keep);

/**
 * sandbox_enter() - from here on, what is open is all there is
 *
 * Before the first thread is started: they inherit it.
 *
 * Return: 0, or -errno with a sentence when something that was asked for, or that an unprivileged
 * process can do, failed.
 */
int sandbox_enter(const struct sandbox_options *options, struct error **errp);

#endif
