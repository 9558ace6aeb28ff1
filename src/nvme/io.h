/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_IO_H
#define NVME_IO_H

#include "nvme/request.h"

/** nvme_io_parse() - judge an I/O command, set request->execute. Return: 0 or the status it ends
 * with. */
nvme_status nvme_io_parse(struct nvme_request *request);

#endif
