/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_FORMAT_H
#define DAEMON_FORMAT_H

#include <libvirt/libvirt.h>

#include "base/json.h"
#include "daemon/domain.h"

/**
 * format_take() - write the block size that a guest formats a disk to, as its keeper says it, into
 * the domain's definition and into @disk
 * @disk: of the live metadata, which the caller writes next
 * @namespace: of the keeper's status
 *
 * What cannot be done now is done at the next look.
 */
void format_take(struct domain *domain, virDomainPtr dom, unsigned index,
		 struct metadata_disk *disk, struct json_object *namespace);

/** format_tell() - the live metadata are written: what format_take() took is recorded */
void format_tell(struct domain *domain, unsigned index, const struct metadata_disk *disk,
		 struct json_object *namespace);

#endif
