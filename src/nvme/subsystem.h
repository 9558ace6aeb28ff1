/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_SUBSYSTEM_H
#define NVME_SUBSYSTEM_H

#include "nvme/controller.h"

/*
 * Theory of operation
 *
 * What Identify tells of the other controllers of the subsystem: their ids, and which namespaces they
 * have. Who has all of them tells each of the others after every change (nvme_controller_set_peers());
 * a worker reads it at any time, a word after the other, and adds its own controller.
 */

/** nvme_subsystem_list() - CNS 13h and 12h, section 5.17.2.13 of 2.0: the controllers of the subsystem, or
 * those that have @nsid (not 0), from @first on. @ret: NVME_MAX_CNTLID + 2 entries; their number is the first */
void nvme_subsystem_list(const struct nvme_controller *ctrl, uint32_t nsid, uint16_t first,
			 uint16_t *ret);

#endif
