/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_FEATURES_H
#define NVME_FEATURES_H

#include "nvme/request.h"
#include "nvme/state.h"

/** nvme_features_reset() - the defaults. None is saveable, so they come back with every reset. */
void nvme_features_reset(struct nvme_state_features *features);

/** nvme_features_judge() - Set Features that has to wait for its namespace */
nvme_status nvme_features_judge(struct nvme_request *request);

void nvme_features_get(struct nvme_request *request);
void nvme_features_set(struct nvme_request *request);

struct nvme_controller;

/** nvme_features_effects() - by feature, for the log page */
void nvme_features_effects(struct nvme_controller *ctrl, uint32_t *effects);

#endif
