/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_DATASET_H
#define NVME_DATASET_H

#include "nvme/request.h"

/** nvme_dataset_parse() - Dataset Management, section 6.7 (NVM command set) */
nvme_status nvme_dataset_parse(struct nvme_request *request);

#endif
