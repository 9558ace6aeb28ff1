// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/ana.h"

#define GROUP		   1
#define TRANSITION_SECONDS 10 /* there are none, and 0 is not allowed */

void nvme_ana_identify(const struct nvme_controller *ctrl, struct nvme_identify_controller *id)
{
	if (!nvme_ana_is_used(ctrl))
		return;
	id->cmic = NVME_CMIC_CONTROLLERS | NVME_CMIC_ANA;
	id->anatt = TRANSITION_SECONDS;
	id->anacap = NVME_ANACAP_OPTIMIZED | NVME_ANACAP_LOSS | NVME_ANACAP_GROUP_STAYS;
	id->anagrpmax = GROUP;
	id->nanagrpid = 1;
	id->mnan = NVME_MAX_NAMESPACES;
}

void nvme_ana_identify_namespace(const struct nvme_namespace *ns, uint8_t *ret_nmic,
				 uint32_t *ret_group)
{
	*ret_nmic = ns->shared ? NVME_NMIC_SHARED : 0;
	*ret_group = nvme_ana_is_used(ns->ctrl) ? GROUP : 0;
}

void nvme_ana_log(struct nvme_controller *ctrl, bool groups_only, void *page)
{
	struct nvme_ana_log *log = page;
	struct nvme_ana_group *group = (struct nvme_ana_group *)(log + 1);
	uint32_t *nsids = (uint32_t *)(group + 1);

	log->groups = 1;
	group->id = GROUP;
	group->state = NVME_ANA_OPTIMIZED;
	for (uint32_t nsid = 1; nsid <= NVME_MAX_NAMESPACES && !groups_only; nsid++)
		if (nvme_namespace_find(ctrl, nsid))
			nsids[group->namespaces++] = nsid;
}

void nvme_ana_take(struct nvme_controller *ctrl, uint32_t nsid)
{
	uint32_t *flags = &ctrl->state->namespaces[nsid - 1].flags;

	NVME_STORE(*flags, *flags | NVME_STATE_NAMESPACE_TAKEN);
}

bool nvme_ana_is_taken(const struct nvme_controller *ctrl, uint32_t nsid)
{
	return READ_ONCE(ctrl->state->namespaces[nsid - 1].flags) & NVME_STATE_NAMESPACE_TAKEN;
}
