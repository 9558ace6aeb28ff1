/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_LOG_PAGES_H
#define NVME_LOG_PAGES_H

#include "nvme/controller.h"
#include "nvme/request.h"

/** nvme_log_pages_get() - the admin command, section 5.14 */
void nvme_log_pages_get(struct nvme_request *request);

/**
 * nvme_log_pages_add_error() - an entry in the error log; any worker
 *
 * Return: what to add to the status: that there is more in the log.
 */
nvme_status nvme_log_pages_add_error(const struct nvme_request *request, nvme_status status);

/** nvme_log_pages_add_timeout() - one of an expired Keep Alive Timeout; any thread */
void nvme_log_pages_add_timeout(struct nvme_controller *ctrl);

/** nvme_log_pages_add_doorbell() - one of a wrong doorbell; any thread. @there_is: its queue, and the value is
 * wrong */
void nvme_log_pages_add_doorbell(struct nvme_controller *ctrl, bool there_is);

#endif
