/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_ADMIN_H
#define NVME_ADMIN_H

#include "nvme/request.h"

struct nvme_controller;

/** nvme_admin_parse() - judge an admin command, set request->execute. Return: 0 or the status it
 * ends with. */
nvme_status nvme_admin_parse(struct nvme_request *request);

/** nvme_admin_go_on() - call @step(@request) on worker @index; a freeze waits for it */
void nvme_admin_go_on(struct nvme_request *request, unsigned index,
		      void (*step)(struct nvme_request *request));

/** nvme_admin_effects() - by opcode, for the log page */
void nvme_admin_effects(const struct nvme_controller *ctrl, uint32_t *effects);

/*
 * The queue commands (admin-queues.c). Worker 0 judges them and writes the definition, the queue's
 * worker takes it over or lets go, worker 0 completes the command.
 */
void nvme_admin_create_sq(struct nvme_request *request);
void nvme_admin_create_cq(struct nvme_request *request);
void nvme_admin_delete_sq(struct nvme_request *request);
void nvme_admin_delete_cq(struct nvme_request *request);

/** nvme_admin_sq_idle() - nothing of a queue that is being deleted is in flight, or a reset dropped
 * it; on the queue's worker */
void nvme_admin_sq_idle(struct nvme_sq *sq);

#endif
