/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_IO_H
#define NVME_IO_H

#include "nvme/request.h"

/** nvme_io_parse() - judge an I/O command, set request->execute. Return: 0 or the status it ends
 * with. */
nvme_status nvme_io_parse(struct nvme_request *request);

struct nvme_controller;

/** nvme_io_effects() - by opcode, for the log page */
void nvme_io_effects(struct nvme_controller *ctrl, uint32_t *effects);

/** nvme_io_hold_namespace() - the command's, in request->ns until it ends. 0 or the status: there is none,
 * or it is being formatted. */
nvme_status nvme_io_hold_namespace(struct nvme_request *request);

/** nvme_io_contains() - are these blocks all there? Their sum may be more than 64 bits can hold. */
bool nvme_io_contains(const struct nvme_namespace *ns, uint64_t lba, uint64_t blocks);

/** nvme_io_is_durable() - must what a command changes be durable when it is acknowledged? */
bool nvme_io_is_durable(const struct nvme_request *request);

/** nvme_io_prefetch() - an I/O command that was fetched and will be executed soon: a hint to its
 * namespace */
void nvme_io_prefetch(struct nvme_controller *ctrl, const struct nvme_command *command);

/** nvme_io_submit() - request->block to the namespace */
void nvme_io_submit(struct nvme_request *request);

/** nvme_io_result() - count what the block layer has done, log what it could not. Return: the
 * status. */
nvme_status nvme_io_result(struct nvme_request *request, int result);

/** nvme_io_wait_for_bounce() - execute it again when there is a bounce buffer */
void nvme_io_wait_for_bounce(struct nvme_request *request);

/** nvme_io_deliver() - a read's data goes from its bounce buffer to the guest, then it is complete;
 * in the worker's list while there is no room */
void nvme_io_deliver(struct nvme_request *request);

#endif
