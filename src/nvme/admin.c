// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/admin.h"

#include "nvme/abort.h"
#include "nvme/async-event.h"
#include "nvme/controller-private.h"
#include "nvme/doorbell.h"
#include "nvme/features.h"
#include "nvme/format.h"
#include "nvme/identify.h"
#include "nvme/keep-alive.h"
#include "nvme/log-pages.h"

static const struct {
	uint8_t opcode;
	uint32_t effects;
	void (*execute)(struct nvme_request *request);
	nvme_status (*judge)(struct nvme_request *request); /* before its namespace is ready */
} commands[] = {
	{ NVME_ADMIN_DELETE_SQ, NVME_SUPPORTED, nvme_admin_delete_sq },
	{ NVME_ADMIN_CREATE_SQ, NVME_SUPPORTED, nvme_admin_create_sq },
	{ NVME_ADMIN_GET_LOG, NVME_SUPPORTED, nvme_log_pages_get },
	{ NVME_ADMIN_DELETE_CQ, NVME_SUPPORTED, nvme_admin_delete_cq },
	{ NVME_ADMIN_CREATE_CQ, NVME_SUPPORTED, nvme_admin_create_cq },
	{ NVME_ADMIN_IDENTIFY, NVME_SUPPORTED, nvme_identify },
	{ NVME_ADMIN_ABORT, NVME_SUPPORTED, nvme_abort },
	{ NVME_ADMIN_SET_FEATURE, NVME_SUPPORTED, nvme_features_set, nvme_features_judge },
	{ NVME_ADMIN_GET_FEATURE, NVME_SUPPORTED, nvme_features_get },
	{ NVME_ADMIN_ASYNC_EVENT, NVME_SUPPORTED, nvme_async_event_request },
	{ NVME_ADMIN_KEEP_ALIVE, NVME_SUPPORTED, nvme_keep_alive },
	{ NVME_ADMIN_DOORBELL_BUFFER, NVME_SUPPORTED, nvme_doorbell_config },
	{ NVME_ADMIN_FORMAT,
	  NVME_SUPPORTED | NVME_EFFECT_CONTENT | NVME_EFFECT_NAMESPACE | NVME_EFFECT_ALONE,
	  nvme_format, nvme_format_judge },
};

nvme_status nvme_admin_parse(struct nvme_request *request)
{
	if (request->command.flags & (NVME_COMMAND_FUSE | NVME_COMMAND_PSDT))
		return nvme_invalid_field(request, flags);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (commands[i].opcode == request->command.opcode) {
			request->execute = commands[i].execute;
			return commands[i].judge ? commands[i].judge(request) : 0;
		}
	}
	return NVME_INVALID_OPCODE | NVME_DNR;
}

void nvme_admin_effects(const struct nvme_controller *ctrl, uint32_t *effects)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		effects[commands[i].opcode] = commands[i].effects;
	if (!nvme_doorbell_has_config(ctrl))
		effects[NVME_ADMIN_DOORBELL_BUFFER] = 0;
}
