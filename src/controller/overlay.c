// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/overlay.h"

#include <errno.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/i18n.h"
#include "nvme/write-log.h"

/*
 * Theory of operation
 *
 * QEMU's dirty log begins a little before message mode does. What we stored in between, and what
 * the kernel stored after it for reads that were in flight, the destination may have in an older
 * version. Which pages these are is in the write logs (nvme/write-log.h), whose times are compared
 * with that of the migration's beginning; pages that only hold queues of ours are taken always.
 *
 * And what QEMU executed after it had looked at its dirty log for the last time (late-writes.h).
 *
 * The content is read when the guest stands and nothing is in flight: it is final then, so a page
 * that was in no danger does no harm either. On the other side it is written before the guest
 * runs, when all memory has arrived.
 *
 * Pages that are not in the DMA map any more are left out: they are not the guest's memory now.
 */

/*
 * Late writes are what was posted and not executed when the guest stood, and what drained then: as much
 * as is being read now, or has been posted at a time, with completions as if each had a page of its own.
 * And what there can be, until it has been looked at for long enough.
 */
#define LATE_LEAST (256 * KiB)
#define LATE_MOST  (4 * MiB)
#define SEEN_US	   100000

struct page_range {
	uint64_t iova, len;
};

struct page_list {
	struct page_range *ranges;
	size_t count, room;
};

static int page_list_add(void *opaque, uint64_t iova, uint64_t len)
{
	struct page_list *list = opaque;
	uint64_t first = ROUND_DOWN(iova, (uint64_t)NVME_WRITE_LOG_PAGE);
	struct page_range *last = list->count ? &list->ranges[list->count - 1] : NULL;

	len = ROUND_UP(iova + len, (uint64_t)NVME_WRITE_LOG_PAGE) - first;
	/* The same buffers again and again are the rule. */
	if (last && first >= last->iova && first + len <= last->iova + last->len)
		return 0;
	if (list->count == list->room) {
		size_t room = list->room ? list->room * 2 : 1024;
		struct page_range *larger = reallocarray(list->ranges, room, sizeof(*list->ranges));

		if (!larger)
			return -ENOMEM;
		list->ranges = larger;
		list->room = room;
	}
	list->ranges[list->count++] = (struct page_range){ first, len };
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct page_range *x = a, *y = b;

	return (x->iova > y->iova) - (x->iova < y->iova);
}

static void page_list_merge(struct page_list *list)
{
	size_t count = 0, i;

	if (!list->count)
		return;
	qsort(list->ranges, list->count, sizeof(list->ranges[0]), compare);
	for (i = 1; i < list->count; i++) {
		struct page_range *to = &list->ranges[count], *from = &list->ranges[i];

		if (from->iova <= to->iova + to->len)
			to->len = MAX(to->len, from->iova + from->len - to->iova);
		else
			list->ranges[++count] = *from;
	}
	list->count = count + 1;
}

static int collect_logs(struct page_list *list, const struct message_mode *mode)
{
	unsigned i;
	int ret = 0;

	for (i = 0; i < IO_THREADS_MAX && !ret; i++)
		ret = nvme_write_log_since(&mode->logs[i], mode->state->since, page_list_add, list);
	return ret;
}

static int collect(struct page_list *list, const struct message_mode *mode,
		   const struct nvme_controller *ctrl, uint64_t stopped, struct error **errp)
{
	int ret = collect_logs(list, mode);

	if (ret == -ENODATA)
		return error_set(errp, ENODATA,
				 _("it is not known any more which memory the disks wrote when the "
				   "migration began"));
	if (!ret)
		ret = late_writes_since(mode->late, stopped, page_list_add, list);
	if (ret == -ENODATA)
		return error_set(errp, ENODATA,
				 _("it is not known which memory the disks wrote when the guest "
				   "stood already; try again"));
	if (!ret)
		ret = nvme_controller_each_page_of_ours(ctrl, page_list_add, list);
	if (ret < 0)
		return error_set_errno(errp, -ret, _("memory written while the migration began"));
	page_list_merge(list);
	return 0;
}

/* Where the largest piece of a range is, from its beginning; *len 0: that page is not there. */
static const void *find_piece(struct vfio_user_dma *dma, uint64_t iova, uint64_t *len)
{
	const unsigned access = VFIO_USER_ACCESS_READ | VFIO_USER_ACCESS_WRITE;
	const void *at;

	if (*len > NVME_WRITE_LOG_PAGE) {
		at = vfio_user_dma_resolve(dma, iova, *len, access);
		if (at)
			return at;
		*len = NVME_WRITE_LOG_PAGE;
	}
	at = vfio_user_dma_resolve(dma, iova, *len, access);
	if (!at)
		*len = 0;
	return at;
}

struct writer {
	int fd;
	uint64_t limit;
	struct overlay_header header;
};

static int writer_put(struct writer *writer, const void *data, size_t len)
{
	int ret = fd_write_full(writer->fd, data, len);

	if (ret == 0)
		writer->header.size += len;
	return ret;
}

/* 0, -ENOSPC, or another -errno. */
static int write_range(struct writer *writer, struct vfio_user_dma *dma,
		       const struct page_range *range)
{
	uint64_t done = 0, len;

	for (; done < range->len; done += len) {
		struct overlay_range out = { .iova = range->iova + done };
		const void *at;
		int ret;

		len = MIN(range->len - done, (uint64_t)GiB);
		at = find_piece(dma, out.iova, &len);
		if (!at) {
			len = NVME_WRITE_LOG_PAGE;
			continue;
		}
		if (writer->header.size + sizeof(out) + len > writer->limit)
			return -ENOSPC;
		out.len = len;
		ret = writer_put(writer, &out, sizeof(out));
		if (ret == 0)
			ret = writer_put(writer, at, len);
		if (ret < 0)
			return ret;
		writer->header.count++;
	}
	return 0;
}

static uint64_t total(const struct page_list *list)
{
	uint64_t bytes = 0;
	size_t i;

	for (i = 0; i < list->count; i++)
		bytes += list->ranges[i].len;
	return bytes;
}

static int write_overlay(struct writer *writer, struct vfio_user_dma *dma,
			 const struct page_list *list, struct error **errp)
{
	size_t i;
	int ret;

	writer->header.magic = OVERLAY_MAGIC;
	writer->header.version = OVERLAY_VERSION;
	ret = writer_put(writer, &writer->header, sizeof(writer->header));
	for (i = 0; dma && i < list->count && !ret; i++)
		ret = write_range(writer, dma, &list->ranges[i]);
	if (ret == -ENOSPC)
		return error_set(
			errp, EFBIG,
			_("the disks wrote %llu KiB of memory while the migration began, "
			  "more than its state can hold (%llu KiB); try again when they are "
			  "less busy"),
			(unsigned long long)total(list) / 1024,
			(unsigned long long)writer->limit / 1024);
	/* Again, with what is known now. */
	if (ret == 0 && lseek(writer->fd, 0, SEEK_SET) < 0)
		ret = -errno;
	if (ret == 0)
		ret = fd_write_full(writer->fd, &writer->header, sizeof(writer->header));
	if (ret < 0)
		return error_set_errno(errp, -ret, _("memory written while the migration began"));
	return 0;
}

int overlay_export(const struct message_mode *mode, const struct nvme_controller *ctrl, int fd,
		   uint64_t stopped, uint64_t limit, uint32_t *ret_ranges, uint64_t *ret_bytes,
		   struct error **errp)
{
	struct writer writer = { .fd = fd, .limit = limit ? limit : OVERLAY_MAX };
	struct page_list list = {};
	int ret;

	if (!message_mode_enabled(mode))
		return error_set(errp, EINVAL, _("message mode is off"));
	if (nvme_controller_direct_reads(ctrl))
		return error_set(errp, EBUSY, _("reads are still in flight"));
	ret = collect(&list, mode, ctrl, stopped, errp);
	if (ret == 0)
		ret = write_overlay(&writer, mode->host->dma, &list, errp);
	free(list.ranges);
	*ret_ranges = writer.header.count;
	*ret_bytes = writer.header.size;
	return ret;
}

static uint64_t late_bound(const struct message_mode *mode, const struct nvme_controller *ctrl)
{
	uint64_t bytes;

	if (!mode->host->dma || clock_us(CLOCK_MONOTONIC) - mode->entered < SEEN_US)
		return LATE_MOST;
	bytes = MAX(vfio_user_dma_most_written(mode->host->dma),
		    nvme_controller_bytes_being_read(ctrl));
	bytes = MAX(bytes, (uint64_t)LATE_LEAST);
	return MIN(bytes, (uint64_t)LATE_MOST);
}

uint64_t overlay_bound(const struct message_mode *mode, const struct nvme_controller *ctrl)
{
	struct page_list list = {};
	uint64_t pages = UINT64_MAX;

	if (!message_mode_enabled(mode))
		return UINT64_MAX;
	host_pause(mode->host);
	if (!nvme_controller_direct_reads(ctrl) && collect_logs(&list, mode) == 0) {
		page_list_merge(&list);
		pages = (total(&list) + nvme_controller_most_bytes_of_ours(ctrl) +
			 late_bound(mode, ctrl)) /
			NVME_WRITE_LOG_PAGE;
	}
	host_resume(mode->host);
	free(list.ranges);
	if (pages == UINT64_MAX)
		return UINT64_MAX;
	/* At worst each page is a range. */
	return sizeof(struct overlay_header) +
	       pages * (sizeof(struct overlay_range) + NVME_WRITE_LOG_PAGE);
}

/*
 * The other side
 */

static int read_overlay(int fd, char **ret, size_t *ret_size, struct error **errp)
{
	_cleanup_free_ char *data = NULL;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return error_set_errno(errp, errno, _("the overlay"));
	if (st.st_size > (off_t)OVERLAY_MAX)
		return error_set(errp, EFBIG, _("the overlay is too large"));
	data = malloc(st.st_size + 1);
	if (!data)
		return error_set(errp, ENOMEM, _("out of memory"));
	r = lseek(fd, 0, SEEK_SET) < 0 ? -errno : fd_read_full(fd, data, st.st_size);
	if (r < 0)
		return error_set_errno(errp, -r, _("the overlay"));
	*ret = steal_pointer(data);
	*ret_size = st.st_size;
	return 0;
}

/* The next range and where its bytes are; false: there is none that makes sense. */
static bool next_range(const char *data, size_t size, size_t *at, struct overlay_range *ret,
		       const char **ret_bytes)
{
	if (size - *at < sizeof(*ret))
		return false;
	memcpy(ret, data + *at, sizeof(*ret));
	*at += sizeof(*ret);
	if (!ret->len || ret->padding || ret->len > size - *at || ret->iova + ret->len < ret->iova)
		return false;
	*ret_bytes = data + *at;
	*at += ret->len;
	return true;
}

static int judge(const char *data, size_t size, struct overlay_header *header, struct error **errp)
{
	size_t at = sizeof(*header);
	uint64_t end = 0;
	uint32_t i;

	if (size < sizeof(*header))
		return error_set(errp, EINVAL, _("the overlay is cut short"));
	memcpy(header, data, sizeof(*header));
	if (header->magic != OVERLAY_MAGIC)
		return error_set(errp, EINVAL, _("this is no overlay"));
	if (header->version != OVERLAY_VERSION)
		return error_set(errp, ENOTSUP,
				 _("the overlay has version %u, this program reads %u"),
				 header->version, OVERLAY_VERSION);
	if (header->size != size)
		return error_set(errp, EINVAL, _("the overlay is cut short"));
	for (i = 0; i < header->count; i++) {
		struct overlay_range range;
		const char *bytes;

		if (!next_range(data, size, &at, &range, &bytes) || range.iova < end)
			return error_set(errp, EINVAL, _("the overlay is damaged"));
		end = range.iova + range.len;
	}
	if (at != size)
		return error_set(errp, EINVAL, _("the overlay is damaged"));
	return 0;
}

static void *find_target(const struct host *host, const struct overlay_range *range)
{
	return host->dma ? vfio_user_dma_resolve(host->dma, range->iova, range->len,
						 VFIO_USER_ACCESS_WRITE)
			 : NULL;
}

/* Twice: first whether there is memory for all of it. */
static int walk(const struct host *host, const char *data, size_t size, uint32_t count, bool write,
		struct error **errp)
{
	size_t at = sizeof(struct overlay_header);
	uint32_t i;

	for (i = 0; i < count; i++) {
		struct overlay_range range = {};
		const char *bytes = NULL;
		void *to;

		next_range(data, size, &at, &range, &bytes);
		to = find_target(host, &range);
		if (!to)
			return error_set(
				errp, EFAULT,
				_("the overlay has memory at 0x%llx, and here there is none"),
				(unsigned long long)range.iova);
		if (write)
			memcpy(to, bytes, range.len);
	}
	return 0;
}

int overlay_apply(const struct host *host, int fd, uint32_t *ret_ranges, struct error **errp)
{
	_cleanup_free_ char *data = NULL;
	struct overlay_header header = {};
	size_t size = 0;
	int ret;

	ret = read_overlay(fd, &data, &size, errp);
	if (ret == 0)
		ret = judge(data, size, &header, errp);
	if (ret == 0)
		ret = walk(host, data, size, header.count, false, errp);
	if (ret == 0)
		ret = walk(host, data, size, header.count, true, errp);
	*ret_ranges = header.count;
	return ret;
}
