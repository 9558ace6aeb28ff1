/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_SGL_H
#define NVME_SGL_H

#include "nvme/data-pointer.h"

/** nvme_sgl_walk() - nvme_data_pointer_walk() of a command that has an SGL, section 4.4 */
nvme_result nvme_sgl_walk(const struct nvme_request *request, size_t bytes, unsigned access,
			  struct nvme_segment *segments, unsigned *ret_count);

#endif
