/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_VMSTATE_H
#define KEEPER_VMSTATE_H

#include "keeper/listener.h"

/* Number of Ids, and so of owners of org.qemu.VMState1, unless vmstate_offer() says less. QEMU's
 * id-list demands them all on the side that loads: the number is ABI. */
#define VMSTATE_ID_COUNT 16u
/* The dbus-vmstate object of the domain's definition (domain-xml/rewrite.h). */
#define VMSTATE_OBJECT "virtnvme-vmstate"
/* The Id of the first is "virtnvme-00". */
#define VMSTATE_ID "virtnvme-%02u"
/* QEMU's limit for the state of one Id, bytes. */
#define VMSTATE_MAX_SIZE (1u * 1024 * 1024)

/* The bus that QEMU's dbus-vmstate object connects to, and org.qemu.VMState1 on it. */
struct vmstate;

/* A call of QEMU, to be answered exactly once, now or later. It outlives a lost connection. */
struct vmstate_call;

struct vmstate_ops {
	/* QEMU reads an Id: device state is about to be written or read. vmstate_answer() gives it. */
	void (*read_id)(void *opaque, struct vmstate_call *call);
	/* The state of that Id, of at most VMSTATE_MAX_SIZE bytes, which is copied; -errno when
	 * there is none. QEMU makes a failure of it a stream that cannot be loaded. */
	int (*save)(void *opaque, unsigned number, const void **ret_data, size_t *ret_size);
	/* @data: borrowed */
	void (*load)(void *opaque, unsigned number, const void *data, size_t size,
		     struct vmstate_call *call);
};

/** vmstate_new() - serve @options->path; accepted and opaque are set here. NULL with a sentence */
struct vmstate *vmstate_new(sd_event *event, const struct listener_options *options,
			    const struct vmstate_ops *ops, void *opaque, struct error **errp);
/**
 * vmstate_offer() - list only the owners of the first @count Ids from now on
 * @count: 1 to VMSTATE_ID_COUNT; QEMU's id-list has just these
 */
void vmstate_offer(struct vmstate *vmstate, unsigned count);
unsigned vmstate_offered(const struct vmstate *vmstate);

/** vmstate_try() - QEMU's id-list has so many, or as many as before: until vmstate_offer(), or 0 when it
 * is as before */
void vmstate_try(struct vmstate *vmstate, unsigned count);
bool vmstate_tries(const struct vmstate *vmstate);

/** vmstate_certain() - how many of those that it was told of QEMU takes at least: the first */
unsigned vmstate_certain(const struct vmstate *vmstate);
/** vmstate_listed() - how many Ids QEMU was told of when it asked last */
unsigned vmstate_listed(const struct vmstate *vmstate);

/** vmstate_save() - for vmstate_load() in the program that this process becomes; no call is open */
struct json_object *vmstate_save(struct vmstate *vmstate);
struct vmstate *vmstate_load(sd_event *event, const struct listener_options *options,
			     const struct vmstate_ops *ops, void *opaque, struct json_object *json,
			     struct error **errp);
void vmstate_free(struct vmstate *vmstate);

/** vmstate_answer() - @err: a sentence for QEMU's log, borrowed; NULL: success. Frees @call. */
void vmstate_answer(struct vmstate_call *call, const struct error *err);

#endif
