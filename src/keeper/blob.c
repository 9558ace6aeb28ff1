// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/blob.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/i18n.h"
#include "keeper/vmstate.h"

#define MAGIC		'V', 'N', 'V', 'M', 'S', 'T', 'A', 'T'
#define FORMAT_VERSION	1u
#define PAGE		4096u
#define MEMORY_MAX	(64 * MiB)
#define DESCRIPTION_MAX (4 * MiB)

static_assert(BLOB_PARTS == VMSTATE_ID_COUNT && BLOB_PART_MAX == VMSTATE_MAX_SIZE, "one an Id");

/* Little-endian, as the machines are that run this. */
struct part_header {
	char magic[8];
	uint32_t version;
	uint32_t crc; /* of this header with 0 here, and of the data */
	uint32_t number, count;
	uint32_t size;	    /* of the data */
	uint32_t whole_crc; /* tells states apart */
	uint64_t whole_size;
};
static_assert(sizeof(struct part_header) == 40, "a change of the layout is a new version");

#define DATA_MAX (BLOB_PART_MAX - sizeof(struct part_header))

/* In front of each run of pages; after them one with length 0 and the size of the memory. */
struct run {
	uint64_t offset, length;
};

void blob_free(struct blob *blob)
{
	free(blob->data);
	*blob = (struct blob){};
}

int blob_append(struct blob *blob, const void *data, size_t size)
{
	if (size > blob->room - blob->size) {
		size_t room = MAX(blob->room * 2, blob->size + size);
		char *larger = realloc(blob->data, room);

		if (!larger)
			return -ENOMEM;
		blob->data = larger;
		blob->room = room;
	}
	if (size)
		memcpy(blob->data + blob->size, data, size);
	blob->size += size;
	return 0;
}

static bool page_is_zero(const char *page, size_t size)
{
	return size == 0 || (*page == 0 && memcmp(page, page + 1, size - 1) == 0);
}

/* From @offset on. A page that was never stored to must not be looked at: it would be made then. */
static size_t next_page(int fd, size_t offset, size_t size)
{
	off_t next = lseek(fd, offset, SEEK_DATA);

	if (next < 0)
		return errno == ENXIO ? size : offset;
	return MIN((size_t)next, size);
}

static int append_pages(struct blob *blob, int fd, const char *bytes, size_t size)
{
	struct run run = {};
	size_t offset = next_page(fd, 0, size);
	int r = 0;

	while (offset < size && r == 0) {
		size_t page = MIN(PAGE, size - offset);

		if (!page_is_zero(bytes + offset, page)) {
			if (run.length == 0)
				run.offset = offset;
			run.length += page;
		}
		offset += page;
		if (run.length && (offset == size || run.offset + run.length < offset)) {
			r = blob_append(blob, &run, sizeof(run));
			if (r == 0)
				r = blob_append(blob, bytes + run.offset, run.length);
			run.length = 0;
		}
		if (run.length == 0 && offset < size)
			offset = next_page(fd, offset, size);
	}
	run = (struct run){ .offset = size };
	return r < 0 ? r : blob_append(blob, &run, sizeof(run));
}

int blob_append_memory(struct blob *blob, int fd, size_t size)
{
	void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	int r;

	if (map == MAP_FAILED)
		return -errno;
	r = append_pages(blob, fd, map, size);
	munmap(map, size);
	return r;
}

size_t blob_capacity(unsigned parts)
{
	return parts * DATA_MAX;
}

static uint32_t part_crc(const struct part_header *header, const void *data)
{
	struct part_header copy = *header;

	copy.crc = 0;
	return crc32c(crc32c(0, &copy, sizeof(copy)), data, copy.size);
}

int blob_split(const struct blob *whole, struct blob *parts, unsigned count, struct error **errp)
{
	struct part_header header = {
		.magic = { MAGIC },
		.version = FORMAT_VERSION,
		.count = count,
		.whole_crc = crc32c(0, whole->data, whole->size),
		.whole_size = whole->size,
	};
	size_t done = 0;

	if (whole->size > blob_capacity(count))
		return error_set(errp, E2BIG,
				 _("the state of the NVMe disks has %zu bytes, at most %zu can be "
				   "carried; try again with less load"),
				 whole->size, blob_capacity(count));
	for (header.number = 0; header.number < count; header.number++) {
		struct blob *part = &parts[header.number];
		const char *data = whole->data + done;

		header.size = MIN(DATA_MAX, whole->size - done);
		header.crc = part_crc(&header, data);
		if (blob_append(part, &header, sizeof(header)) < 0 ||
		    blob_append(part, data, header.size) < 0)
			return error_set_errno(errp, ENOMEM, "state");
		done += header.size;
	}
	return 0;
}

int blob_pad(const struct blob *first, unsigned number, struct blob *part, struct error **errp)
{
	struct part_header header;

	memcpy(&header, first->data, sizeof(header));
	header.number = number;
	header.size = 0;
	header.crc = part_crc(&header, NULL);
	if (blob_append(part, &header, sizeof(header)) < 0)
		return error_set_errno(errp, ENOMEM, "state");
	return 0;
}

int blob_check_part(const void *data, size_t size, unsigned number, struct error **errp)
{
	struct part_header header;

	if (size < sizeof(header))
		return error_set(errp, EINVAL, _("part %u of the NVMe disks' state is cut short"),
				 number);
	memcpy(&header, data, sizeof(header));
	if (memcmp(header.magic, (char[]){ MAGIC }, sizeof(header.magic)))
		return error_set(errp, EINVAL, _("part %u is not a state of NVMe disks"), number);
	if (header.version != FORMAT_VERSION)
		return error_set(errp, EINVAL,
				 _("the NVMe disks' state has version %u, this virtnvme %s reads "
				   "version %u: use "
				   "the same version on both hosts"),
				 header.version, PACKAGE_VERSION, FORMAT_VERSION);
	if (header.size != size - sizeof(header) ||
	    header.crc != part_crc(&header, (const char *)data + sizeof(header)))
		return error_set(errp, EINVAL, _("part %u of the NVMe disks' state is damaged"),
				 number);
	if (header.number != number || header.count > BLOB_PARTS ||
	    (number >= header.count && (!header.count || header.size)) ||
	    header.whole_size > blob_capacity(header.count))
		return error_set(errp, EINVAL,
				 _("part %u of the NVMe disks' state is another one's"), number);
	return number < header.count ? header.count : 0;
}

int blob_join(const struct blob *parts, unsigned count, struct blob *whole, struct error **errp)
{
	struct part_header first, header;
	unsigned i;

	memcpy(&first, parts[0].data, sizeof(first));
	for (i = 0; i < count; i++) {
		memcpy(&header, parts[i].data, sizeof(header));
		if (header.whole_crc != first.whole_crc || header.whole_size != first.whole_size)
			return error_set(errp, EINVAL,
					 _("part %u of the NVMe disks' state is of another time"),
					 i);
		if (blob_append(whole, parts[i].data + sizeof(header), header.size) < 0)
			return error_set_errno(errp, ENOMEM, "state");
	}
	if (whole->size != first.whole_size ||
	    crc32c(0, whole->data, whole->size) != first.whole_crc)
		return error_set(errp, EINVAL, _("the NVMe disks' state is damaged"));
	return 0;
}

int blob_begin(struct blob *whole, struct json_object *description)
{
	const char *text = json_text(description);
	uint32_t size = strlen(text);
	int r;

	r = blob_append(whole, &size, sizeof(size));
	return r < 0 ? r : blob_append(whole, text, size);
}

int blob_open(const struct blob *whole, struct json_object **ret, const char **ret_data,
	      size_t *ret_size, struct error **errp)
{
	uint32_t size;

	if (whole->size < sizeof(size))
		goto damaged;
	memcpy(&size, whole->data, sizeof(size));
	if (size > whole->size - sizeof(size) || size > DESCRIPTION_MAX)
		goto damaged;
	*ret = json_parse(whole->data + sizeof(size), size, NULL);
	if (!*ret)
		goto damaged;
	*ret_data = whole->data + sizeof(size) + size;
	*ret_size = whole->size - sizeof(size) - size;
	return 0;
damaged:
	return error_set(errp, EINVAL, _("the description of the NVMe disks' state is damaged"));
}

int64_t blob_memory_size(const char *data, size_t size, struct error **errp)
{
	uint64_t end = 0;
	struct run run;

	for (;;) {
		if (size < sizeof(run))
			break;
		memcpy(&run, data, sizeof(run));
		data += sizeof(run);
		size -= sizeof(run);
		if (run.offset < end || run.offset > MEMORY_MAX || run.length > size ||
		    run.length > MEMORY_MAX - run.offset)
			break;
		if (run.length == 0) {
			if (size == 0)
				return run.offset;
			break;
		}
		end = run.offset + run.length;
		data += run.length;
		size -= run.length;
	}
	return error_set(errp, EINVAL, _("a controller's state is damaged"));
}

void blob_read_memory(const char *data, char *memory)
{
	struct run run;

	for (;;) {
		memcpy(&run, data, sizeof(run));
		if (run.length == 0)
			return;
		memcpy(memory + run.offset, data + sizeof(run), run.length);
		data += sizeof(run) + run.length;
	}
}
