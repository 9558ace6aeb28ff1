// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/marks-file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/i18n.h"
#include "block/block.h"

struct marks_file {
	struct nvme_marks_file nvme;
	int fd;
};

static int recall(struct nvme_marks_file *nvme, struct nvme_marks_slot ret[2])
{
	const struct marks_file *file = container_of(nvme, struct marks_file, nvme);

	memset(ret, 0, NVME_MARKS_FILE_BYTES);
	return pread(file->fd, ret, NVME_MARKS_FILE_BYTES, 0) < 0 ? -errno : 0;
}

/* One that is new is made large enough, and takes no space before it is written. */
static int make_room(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || (st.st_size == 0 && ftruncate(fd, NVME_MARKS_FILE_BYTES) < 0))
		return -errno;
	return 0;
}

struct marks_file *marks_file_open(int fd, struct error **errp)
{
	const struct block_file_options options = { .cache = BLOCK_CACHE_WRITEBACK };
	_cleanup_free_ struct marks_file *file = calloc(1, sizeof(*file));
	_cleanup_close_ int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (!file || own < 0 || make_room(fd) < 0) {
		error_set_errno(errp, file ? errno : ENOMEM, _("cannot keep what is marked"));
		return NULL;
	}
	file->fd = fd;
	file->nvme.recall = recall;
	file->nvme.block = block_open_file(steal_fd(&own), &options, errp);
	return file->nvme.block ? steal_pointer(file) : NULL;
}

void marks_file_close(struct marks_file *file)
{
	if (!file)
		return;
	block_close(file->nvme.block);
	free(file);
}

struct nvme_marks_file *marks_file_nvme(struct marks_file *file)
{
	return &file->nvme;
}
