// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/admin.h"

#include "nvme/async-event.h"
#include "nvme/controller-private.h"
#include "nvme/doorbell.h"
#include "nvme/features.h"
#include "nvme/identify.h"
#include "nvme/log-pages.h"

/* Section 5.1: a controller may always say that the command was not aborted. What is in flight here
 * is in the hands of the host's storage. */
static void abort_command(struct nvme_request *request)
{
	request->result = 1;
	nvme_request_complete(request, NVME_SUCCESS);
}

static const struct {
	uint8_t opcode;
	void (*execute)(struct nvme_request *request);
} commands[] = {
	{ NVME_ADMIN_DELETE_SQ, nvme_admin_delete_sq },
	{ NVME_ADMIN_CREATE_SQ, nvme_admin_create_sq },
	{ NVME_ADMIN_GET_LOG, nvme_log_pages_get },
	{ NVME_ADMIN_DELETE_CQ, nvme_admin_delete_cq },
	{ NVME_ADMIN_CREATE_CQ, nvme_admin_create_cq },
	{ NVME_ADMIN_IDENTIFY, nvme_identify },
	{ NVME_ADMIN_ABORT, abort_command },
	{ NVME_ADMIN_SET_FEATURE, nvme_features_set },
	{ NVME_ADMIN_GET_FEATURE, nvme_features_get },
	{ NVME_ADMIN_ASYNC_EVENT, nvme_async_event_request },
	{ NVME_ADMIN_DOORBELL_BUFFER, nvme_doorbell_config },
};

nvme_status nvme_admin_parse(struct nvme_request *request)
{
	if (request->command.flags & (NVME_COMMAND_FUSE | NVME_COMMAND_PSDT))
		return nvme_invalid_field(request, flags);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (commands[i].opcode == request->command.opcode) {
			request->execute = commands[i].execute;
			return 0;
		}
	}
	return NVME_INVALID_OPCODE | NVME_DNR;
}
