/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_ANA_H
#define NVME_ANA_H

#include "nvme/controller-private.h"

/*
 * Theory of operation
 *
 * Several controllers of a guest may be one subsystem: they have its NQN and serial number, and a
 * controller id each. A namespace that is shared has the same number and ids in all of them, and each
 * has the image open for itself: to the guest they are paths to one disk. Nothing else is common to
 * them. What is written by one path is read by the other because both use one file, and a flush by
 * one path makes durable what was written by any, for it is the file that is synchronised.
 *
 * Asymmetric namespace access tells the guest which paths are good. All are: one group, optimized.
 * It is there for the moment in which a shared namespace is taken from one of the controllers. What
 * the guest sends there afterwards ends with the status that makes it try another path, instead of
 * one that its file system is told; what was sent before is executed. That the namespace was there is
 * kept in the state until it comes back.
 */

#define NVME_ANA_LOG_BYTES                                                                         \
	(sizeof(struct nvme_ana_log) + sizeof(struct nvme_ana_group) +                             \
	 NVME_MAX_NAMESPACES * sizeof(uint32_t))

/** nvme_ana_is_used() - may the controller's subsystem have others? */
static inline bool nvme_ana_is_used(const struct nvme_controller *ctrl)
{
	return !uuid_is_null(ctrl->config.subsystem);
}

/** nvme_ana_identify() - what Identify Controller says of the subsystem's other controllers */
void nvme_ana_identify(const struct nvme_controller *ctrl, struct nvme_identify_controller *id);

/** nvme_ana_identify_namespace() - the fields that both data structures of a namespace have */
void nvme_ana_identify_namespace(const struct nvme_namespace *ns, uint8_t *ret_nmic,
				 uint32_t *ret_group);

/** nvme_ana_log() - @page: NVME_ANA_LOG_BYTES of zeroes */
void nvme_ana_log(struct nvme_controller *ctrl, bool groups_only, void *page);

/** nvme_ana_take() - a shared namespace goes from this controller; before no worker finds it any
 * more */
void nvme_ana_take(struct nvme_controller *ctrl, uint32_t nsid);

/** nvme_ana_is_taken() - was the namespace that is not here a shared one? @nsid is a valid one */
bool nvme_ana_is_taken(const struct nvme_controller *ctrl, uint32_t nsid);

#endif
