/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_HAND_OVER_H
#define KEEPER_HAND_OVER_H

#include "keeper/migration.h"

struct keeper;

/* What a migration does with a keeper's controller, images and QEMU. */
struct hand_over;

struct hand_over *hand_over_new(struct keeper *keeper);
void hand_over_free(struct hand_over *hand_over);

/** hand_over_connected() - QEMU's monitor is there */
void hand_over_connected(struct hand_over *hand_over);

/* The opaque pointer is a struct hand_over. */
extern const struct migration_ops hand_over_ops;

/** hand_over_judge_capabilities() - the answer of query-migrate-capabilities; 0 or -EOPNOTSUPP with
 * a sentence */
int hand_over_judge_capabilities(struct json_object *answer, struct error **errp);

#endif
