/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_COPY_H
#define NVME_COPY_H

#include "nvme/request.h"

/* The first page of a bounce buffer has the ranges, what is copied comes behind. */
#define NVME_COPY_MAX_BYTES (NVME_MAX_TRANSFER - NVME_PAGE_SIZE)

/** nvme_copy_parse() - Copy, section 3.2.2 of the NVM command set */
nvme_status nvme_copy_parse(struct nvme_request *request);

#endif
