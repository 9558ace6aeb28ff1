/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_UNCORRECTABLE_H
#define NVME_UNCORRECTABLE_H

#include "nvme/marks.h"
#include "nvme/namespace.h"
#include "nvme/request.h"

/* The result of a read of marked blocks: no storage says so. */
#define NVME_UNCORRECTABLE_ERRNO EBADR

/** nvme_uncorrectable_open() - of a namespace that comes; 0 or -ENOMEM */
int nvme_uncorrectable_open(struct nvme_namespace *ns, struct nvme_marks_file *file);

/** nvme_uncorrectable_close() - nothing of the namespace is in flight; harmless without any */
void nvme_uncorrectable_close(struct nvme_namespace *ns);

/** nvme_uncorrectable_recall() - what is marked is in the file: nobody else is at work on it, and no
 * command for the namespace is executed yet; harmless without one */
void nvme_uncorrectable_recall(struct nvme_namespace *ns);

/** nvme_uncorrectable_resized() - what is marked behind the end is gone */
void nvme_uncorrectable_resized(struct nvme_namespace *ns);

/** nvme_uncorrectable_is_offered() - by any namespace of the controller? */
bool nvme_uncorrectable_is_offered(struct nvme_controller *ctrl);

/** nvme_uncorrectable_mark() - execute the command: request->block says which blocks */
void nvme_uncorrectable_mark(struct nvme_request *request);

/** nvme_uncorrectable_submit() - request->block, if it is about marked blocks. Return: it was */
bool nvme_uncorrectable_submit(struct nvme_request *request);

#endif
