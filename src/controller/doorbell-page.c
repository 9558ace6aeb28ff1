// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/doorbell-page.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "nvme/controller.h"

_Static_assert(2 * NVME_BAR0_DOORBELLS == RELAY_DOORBELLS_SIZE, "a page each");

int doorbell_page_map(struct doorbell_page *page, int fd, struct error **errp)
{
	struct stat st;
	int r = 0;

	page->fd = fd;
	page->memory = MAP_FAILED;
	if (fstat(fd, &st) == 0 && st.st_size != RELAY_DOORBELLS_SIZE)
		r = error_set(errp, EINVAL, "the doorbells' file has another size");
	else
		page->memory =
			mmap(NULL, RELAY_DOORBELLS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (r == 0 && page->memory == MAP_FAILED)
		r = error_set_errno(errp, errno, "doorbells");
	if (r < 0) {
		close(fd);
		page->fd = -1;
	}
	return r;
}

void doorbell_page_unmap(struct doorbell_page *page)
{
	if (page->fd < 0)
		return;
	munmap(page->memory, RELAY_DOORBELLS_SIZE);
	close(page->fd);
	page->fd = -1;
}

uint32_t *doorbell_page_registers(const struct doorbell_page *page)
{
	return (uint32_t *)((char *)page->memory + NVME_BAR0_DOORBELLS);
}

bool doorbell_page_is_new(const struct doorbell_page *page)
{
	return !READ_ONCE(*(uint32_t *)page->memory);
}

void doorbell_page_begin(struct doorbell_page *page)
{
	STORE_RELEASE(*(uint32_t *)page->memory, 1);
}
