/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_HOLD_H
#define NVME_HOLD_H

#include "nvme/request.h"

/*
 * Theory of operation
 *
 * A command that the storage has failed is answered with a status, or, if the namespace's error
 * policy says so, it is held: the guest is told nothing, the machine is (nvme_host_io_error()), and
 * pauses the guest. When somebody has repaired the storage and lets the guest run again,
 * nvme_controller_retry() has the worker execute the command from its beginning.
 *
 * A held command is in flight, but at no backend, and keeps no buffer: its worker has it in a list.
 * To a reset, a migration or a successor of this process it is a command that was not executed.
 * The machine is told once for each namespace and worker, and again after a retry.
 */

/**
 * nvme_hold() - for the one who was told the outcome
 * @result: what the storage said, -errno
 *
 * Return: true: it is held, and not the caller's any more; false: answer it.
 */
bool nvme_hold(struct nvme_request *request, int result);

/** nvme_hold_drop() - a reset: nobody waits for these any more */
void nvme_hold_drop(struct nvme_worker *worker);

/** nvme_hold_give_up() - answer what is held of @ns, or of all (NULL), with its error */
void nvme_hold_give_up(struct nvme_worker *worker, const struct nvme_namespace *ns);

/** nvme_hold_retry() - runs as a call, the worker's retry_call */
void nvme_hold_retry(struct nvme_host_call *call);

/** nvme_hold_report() - runs as a call on the control thread, a share's error_call */
void nvme_hold_report(struct nvme_host_call *call);

#endif
