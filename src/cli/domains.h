/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLI_DOMAINS_H
#define CLI_DOMAINS_H

#include "base/json.h"

/**
 * domains_ask() - have the daemon do @command with one domain or with all
 * @domain: NULL: none was named
 * @ret_answer: owned by the caller
 *
 * Return: CLI_OK, or what to exit with: the user has been told.
 */
int domains_ask(const char *command, bool all, const char *domain, struct json_object **ret_answer);

#endif
