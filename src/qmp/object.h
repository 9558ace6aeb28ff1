/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMP_OBJECT_H
#define QMP_OBJECT_H

#include "qmp/qmp.h"

/* What a running QEMU is made of. */

/** qmp_object_exists() - 1 when /objects has it, 0 when not, else -errno */
int qmp_object_exists(const struct qmp_transport *qmp, const char *id, struct error **errp);

/** qmp_chardev_exists() - 1 when there is a character device of that id, 0 when not, else -errno */
int qmp_chardev_exists(const struct qmp_transport *qmp, const char *id, struct error **errp);

/** qmp_memory_is_shared() - 1 when every memory backend is shared, 0 when one is not, else -errno.
 * A machine without backends of its own has private memory. */
int qmp_memory_is_shared(const struct qmp_transport *qmp, struct error **errp);

#endif
