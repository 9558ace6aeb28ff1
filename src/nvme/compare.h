/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_COMPARE_H
#define NVME_COMPARE_H

#include "nvme/request.h"

/** nvme_compare() - Compare, section 6.6: execute it; request->block has the blocks */
void nvme_compare(struct nvme_request *request);

/** nvme_verify() - Verify, section 6.14: the same */
void nvme_verify(struct nvme_request *request);

#endif
