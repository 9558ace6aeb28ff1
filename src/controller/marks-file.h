/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_MARKS_FILE_H
#define CONTROLLER_MARKS_FILE_H

#include "base/error.h"
#include "nvme/marks.h"

/* The file in which the blocks of an image are kept that are marked uncorrectable. */
struct marks_file;

/** marks_file_open() - @fd: still the caller's, and used as long as the file. NULL with a sentence */
struct marks_file *marks_file_open(int fd, struct error **errp);

/** marks_file_close() - nothing is under way; NULL is harmless */
void marks_file_close(struct marks_file *file);

struct nvme_marks_file *marks_file_nvme(struct marks_file *file);

#endif
