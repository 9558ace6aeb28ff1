/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_REQUESTS_H
#define KEEPER_REQUESTS_H

#include "base/error.h"

struct keeper;

/* keeper.sock: what the daemon may ask (docs/control.md). */
struct requests;

/** requests_new() - NULL with a sentence */
struct requests *requests_new(struct keeper *keeper, struct error **errp);
void requests_free(struct requests *requests);

#endif
