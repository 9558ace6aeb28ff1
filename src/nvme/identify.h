/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_IDENTIFY_H
#define NVME_IDENTIFY_H

#include "nvme/request.h"

#define NVME_MODEL    "virtnvme"
#define NVME_FIRMWARE "0.1"

/* Kelvin. There is no thermometer; these are plausible and never reached. */
#define NVME_TEMPERATURE	  310
#define NVME_WARNING_TEMPERATURE  343
#define NVME_CRITICAL_TEMPERATURE 373

/** nvme_identify() - the admin command, section 5.15 */
void nvme_identify(struct nvme_request *request);

/** nvme_identify_pad() - an ASCII field: space-padded, no terminator (section 1.5) */
void nvme_identify_pad(char *field, size_t size, const char *text);

#endif
