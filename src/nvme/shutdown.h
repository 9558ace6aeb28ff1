/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_SHUTDOWN_H
#define NVME_SHUTDOWN_H

#include "nvme/sync.h"

/* CC.SHN: the flush of all namespaces with a volatile cache; control thread. */

/** nvme_shutdown_start() - CSTS.SHST follows */
void nvme_shutdown_start(struct nvme_controller *ctrl);

/** nvme_shutdown_go_on() - one that is due can begin now */
void nvme_shutdown_go_on(struct nvme_controller *ctrl);

#endif
