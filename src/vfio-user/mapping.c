// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vfio-user/mapping.h"

#include <errno.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "vfio-user/dma.h"

/*
 * Theory of operation
 *
 * The SIGBUS handler must know whether a fault is in the client's memory without a lock: every
 * mapping of the process has a slot in a table of fixed size, published by its `base` being set
 * last and cleared first. The size of the table bounds the number of different files that clients
 * can make us map.
 */
#define MAX_MAPPINGS 1024

static struct {
	uintptr_t base; /* 0: free */
	size_t size;
	size_t page_size; /* of the file system: hugetlbfs has its own */
} slots[MAX_MAPPINGS];
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;

static int slot_take(void *base, size_t size, size_t page_size, unsigned *ret)
{
	int r = -ENOSPC;
	unsigned i;

	pthread_mutex_lock(&slots_lock);
	for (i = 0; i < MAX_MAPPINGS; i++) {
		if (slots[i].base)
			continue;
		slots[i].size = size;
		slots[i].page_size = page_size;
		STORE_RELEASE(slots[i].base, (uintptr_t)base);
		*ret = i;
		r = 0;
		break;
	}
	pthread_mutex_unlock(&slots_lock);
	return r;
}

/* Takes what is mapped now, not what the file has: only the pages that are gone become zeroes. */
static void handle_sigbus(int signal, siginfo_t *info, void *context)
{
	uintptr_t address = (uintptr_t)info->si_addr;
	int saved_errno = errno;
	unsigned i;

	for (i = 0; i < MAX_MAPPINGS; i++) {
		uintptr_t base = LOAD_ACQUIRE(slots[i].base);
		size_t page = slots[i].page_size;

		if (!base || address < base || address - base >= slots[i].size)
			continue;
		if (mmap((void *)ROUND_DOWN(address, page), page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			break;
		errno = saved_errno;
		return;
	}
	/* Not the client's memory: a bug of ours, to be seen as one. */
	sigaction(SIGBUS, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
	errno = saved_errno;
}

int vfio_user_dma_handle_sigbus(void)
{
	struct sigaction action = { .sa_sigaction = handle_sigbus,
				    .sa_flags = SA_SIGINFO | SA_NODEFER };

	return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
}

static int mapping_new(int fd, const struct stat *st, bool write, struct vfio_user_mapping **ret)
{
	struct vfio_user_mapping *mapping = calloc(1, sizeof(*mapping));
	size_t page_size = sysconf(_SC_PAGESIZE);
	struct statfs fs;
	void *base;
	int r;

	if (!mapping)
		return -ENOMEM;
	/* The client has reserved its huge pages; asking for them again could fail. */
	base = mmap(NULL, st->st_size, PROT_READ | (write ? PROT_WRITE : 0),
		    MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (base == MAP_FAILED) {
		r = -errno;
		free(mapping);
		return r;
	}
	*mapping = (struct vfio_user_mapping){ .device = st->st_dev,
					       .inode = st->st_ino,
					       .base = base,
					       .size = st->st_size,
					       .writable = write };
	if (fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC)
		page_size = fs.f_bsize;
	r = slot_take(base, mapping->size, page_size, &mapping->slot);
	if (r < 0) {
		munmap(base, mapping->size);
		free(mapping);
		return r;
	}
	/* A guest's memory is its own business: not in a core dump, not in a child. */
	madvise(base, mapping->size, MADV_DONTDUMP);
	madvise(base, mapping->size, MADV_DONTFORK);
	*ret = mapping;
	return 0;
}

int vfio_user_mapping_get(struct vfio_user_mapping **list, int fd, uint64_t end, bool write,
			  struct vfio_user_mapping **ret)
{
	struct vfio_user_mapping *mapping;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size < 0 || (uint64_t)st.st_size < end)
		return -EINVAL;
	for (mapping = *list; mapping; mapping = mapping->next)
		if (mapping->device == st.st_dev && mapping->inode == st.st_ino &&
		    mapping->size >= end && mapping->writable >= write)
			break;
	if (!mapping) {
		r = mapping_new(fd, &st, write, &mapping);
		if (r < 0)
			return r;
		mapping->next = *list;
		*list = mapping;
	}
	mapping->regions++;
	mapping->marked = false;
	*ret = mapping;
	return 0;
}

void vfio_user_mapping_put(struct vfio_user_mapping *mapping)
{
	if (mapping)
		mapping->regions--;
}

bool vfio_user_mapping_mark(struct vfio_user_mapping *list)
{
	bool any = false;

	for (; list; list = list->next) {
		list->marked = !list->regions;
		any |= list->marked;
	}
	return any;
}

void vfio_user_mapping_release(struct vfio_user_mapping **list, bool all)
{
	struct vfio_user_mapping **link = list, *mapping;

	while ((mapping = *link)) {
		if (!mapping->marked && !all) {
			link = &mapping->next;
			continue;
		}
		*link = mapping->next;
		pthread_mutex_lock(&slots_lock);
		STORE_RELEASE(slots[mapping->slot].base, 0);
		pthread_mutex_unlock(&slots_lock);
		munmap(mapping->base, mapping->size);
		free(mapping);
	}
}
