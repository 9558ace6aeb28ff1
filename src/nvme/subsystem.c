// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/subsystem.h"

#include "nvme/ana.h"
#include "nvme/controller-private.h"

static uint64_t bit_of(const struct nvme_controller *ctrl)
{
	return 1ULL << ctrl->config.cntlid;
}

void nvme_controller_add_peer(const struct nvme_controller *ctrl,
			      const struct nvme_controller *peer, struct nvme_peers *peers)
{
	if (!nvme_ana_is_used(ctrl) || peer == ctrl ||
	    uuid_compare(ctrl->config.subsystem, peer->config.subsystem) != 0)
		return;
	peers->all |= bit_of(peer);
	for (unsigned i = 0; i < NVME_MAX_NAMESPACES; i++)
		if (peer->namespaces[i])
			peers->attached[i] |= bit_of(peer);
}

void nvme_controller_set_peers(struct nvme_controller *ctrl, const struct nvme_peers *peers)
{
	WRITE_ONCE(ctrl->peers.all, peers->all);
	for (unsigned i = 0; i < NVME_MAX_NAMESPACES; i++)
		WRITE_ONCE(ctrl->peers.attached[i], peers->attached[i]);
}

void nvme_subsystem_list(const struct nvme_controller *ctrl, uint32_t nsid, uint16_t first,
			 uint16_t *ret)
{
	uint64_t bits =
		nsid ? READ_ONCE(ctrl->peers.attached[nsid - 1]) : READ_ONCE(ctrl->peers.all);
	uint16_t *next = ret + 1;

	if (!nsid || nvme_namespace_find((struct nvme_controller *)ctrl, nsid))
		bits |= bit_of(ctrl);
	for (unsigned id = first; id <= NVME_MAX_CNTLID; id++)
		if (bits >> id & 1)
			*next++ = id;
	*ret = next - ret - 1;
}
