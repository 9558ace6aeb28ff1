/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_FORMAT_H
#define NVME_FORMAT_H

#include "nvme/request.h"

/** nvme_format_judge() - Format NVM, section 5.23: 0, and the namespace in request->ns, or the status */
nvme_status nvme_format_judge(struct nvme_request *request);

/** nvme_format() - execute it */
void nvme_format(struct nvme_request *request);

#endif
