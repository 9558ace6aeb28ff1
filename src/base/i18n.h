/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BASE_I18N_H
#define BASE_I18N_H

#include <libintl.h>

/* Only for sentences that a user reads: CLI output and struct error. Never for logs. */
#define _(text) dgettext("virtnvme", text)
/* Marks a string in a table; the reader of the table calls _(). */
#define N_(text) text

#endif
