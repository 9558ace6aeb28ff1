/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DOMAIN_XML_ATTACH_H
#define DOMAIN_XML_ATTACH_H

#include "base/json.h"
#include "domain-xml/metadata.h"
#include "domain-xml/rewrite.h"

/*
 * What a *running* domain needs, as arguments of QMP commands. The same objects under the same ids
 * as in the block of the rewrite.
 */

struct attach_controller {
	unsigned index;
	struct metadata_placement placement; /* to be recorded once it is there */
	struct json_object *device;	     /* arguments of device_add */
};

struct attach_plan {
	/* NULL where the block on the command line has it already. In this order: */
	struct json_object *vmstate; /* object-add: dbus-vmstate */
	struct json_object *chardev; /* chardev-add: the monitor's */
	struct json_object *monitor; /* object-add: monitor-qmp; NULL too on a QEMU without it, and
				      * chardev with it */
	struct attach_controller *controllers;
	size_t controller_count;
};

/**
 * attach_plan() - what is missing in a running domain
 * @xml: its *live* XML
 * @options: mode is ignored; NULL: all zeroes
 * @ret: the caller's, attach_plan_free()
 *
 * Controllers of the metadata that are neither on the command line nor in the live record, nor have
 * failed disks only, get a place: on q35 a free root port of ours, else the highest empty root port of libvirt's; on i440fx
 * the highest free slot.
 *
 * Return: 0, -ENOSPC (no place), -EINVAL or -ENOMEM with a sentence.
 */
int attach_plan(const char *xml, size_t len, const struct rewrite_options *options,
		struct attach_plan **ret, struct error **errp);
void attach_plan_free(struct attach_plan *plan);

static inline void cleanup_attach_plan(struct attach_plan **plan)
{
	attach_plan_free(*plan);
}

#define _cleanup_attach_plan_ _cleanup_(cleanup_attach_plan)

/**
 * attach_place() - a place for one more controller of a running domain
 * @xml: its live XML
 * @taken, @taken_count: places that the XML does not know of yet, or that QEMU has just refused
 *
 * Return: 0, -ENOSPC or -EINVAL with a sentence.
 */
int attach_place(const char *xml, size_t len, const struct metadata_placement *taken,
		 size_t taken_count, struct metadata_placement *ret, struct error **errp);

/**
 * attach_device() - arguments of device_add, also the JSON of -device
 * @boot_index: 0: none
 *
 * Return: the caller's reference; NULL when out of memory.
 */
struct json_object *attach_device(const char *domain_uuid, unsigned index,
				  const struct metadata_placement *placement, unsigned boot_index,
				  const struct rewrite_options *options);

/** attach_device_id() - "virtnvme-nvme<index>", the id of the device in QEMU */
void attach_device_id(unsigned index, char ret[32]);

/**
 * attach_current() - where each controller of a running domain is
 * @xml: its live XML
 * @metadata: what it is wished to have; gets `live` filled in
 *
 * From the live record, else from the block that the domain was started with. A controller that the
 * guest has and @metadata does not is added to it, parked. The daemon records the result after
 * STARTED.
 *
 * Return: 0, or -errno with a sentence.
 */
int attach_current(const char *xml, size_t len, struct metadata *metadata, struct error **errp);

#endif
