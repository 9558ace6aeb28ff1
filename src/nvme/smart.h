/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_SMART_H
#define NVME_SMART_H

#include "nvme/state.h"

struct nvme_controller;
struct nvme_worker;

/** nvme_smart_page() - the log page; @page is zero-filled */
void nvme_smart_page(struct nvme_controller *ctrl, struct nvme_smart_log *page);

/** nvme_smart_is_too_hot() - or too cold, as the guest's thresholds say */
bool nvme_smart_is_too_hot(const struct nvme_state_features *features);

/** nvme_smart_busy() - this worker, which was not, has an I/O command */
void nvme_smart_busy(struct nvme_worker *worker);

/** nvme_smart_idle() - it goes to sleep, and may have none */
void nvme_smart_idle(struct nvme_worker *worker);

/** nvme_smart_lost_power() - the machine was reset; counted once, before the registers are cleared */
void nvme_smart_lost_power(struct nvme_state *state);

#endif
