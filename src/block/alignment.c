// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/alignment.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/util.h"

#define LARGEST 4096

int block_alignment_ask(int fd, struct block_alignment *ret)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) < 0)
		return -errno;
	/* Zero: the file is served through the page cache in spite of O_DIRECT. */
	if (!(st.stx_mask & STATX_DIOALIGN) || !is_power_of_two(st.stx_dio_mem_align) ||
	    !is_power_of_two(st.stx_dio_offset_align))
		return -ENODATA;
	ret->offset = st.stx_dio_offset_align;
	ret->memory = st.stx_dio_mem_align;
	return 0;
}

int block_alignment_probe(int fd, struct block_alignment *ret)
{
	_cleanup_free_ void *buffer = NULL;
	int sector, err;
	uint32_t size;

	if (ioctl(fd, BLKSSZGET, &sector) == 0 && is_power_of_two(sector)) {
		ret->offset = ret->memory = sector;
		return 0;
	}
	err = posix_memalign(&buffer, LARGEST, LARGEST);
	if (err)
		return -err;
	/* A misaligned read is refused with EINVAL; any other error says nothing about alignment.
	 */
	for (size = 512; size <= LARGEST; size *= 2) {
		if (pread(fd, buffer, size, 0) >= 0 || errno != EINVAL) {
			ret->offset = ret->memory = size;
			return 0;
		}
	}
	return -EINVAL;
}
