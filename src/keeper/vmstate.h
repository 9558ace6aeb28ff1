/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_VMSTATE_H
#define KEEPER_VMSTATE_H

#include "keeper/listener.h"

/* Number of Ids, and so of owners of org.qemu.VMState1. QEMU's id-list demands them all on both
 * ends of a migration: the number is ABI. */
#define VMSTATE_ID_COUNT 16u

/* The bus that QEMU's dbus-vmstate object connects to, and org.qemu.VMState1 on it. */
struct vmstate;

/** vmstate_new() - serve @options->path; accepted and opaque are set here. NULL with a sentence */
struct vmstate *vmstate_new(sd_event *event, const struct listener_options *options,
			    struct error **errp);
void vmstate_free(struct vmstate *vmstate);

#endif
