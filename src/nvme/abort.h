/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_ABORT_H
#define NVME_ABORT_H

#include "nvme/request.h"

/** nvme_abort() - the admin command, section 5.1 */
void nvme_abort(struct nvme_request *request);

#endif
