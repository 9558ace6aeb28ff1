// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/state-file.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/message-mode.h"
#include "controller/pci-function.h"
#include "nvme/state.h"

#define STATE_FILE_MAGIC   0x564e4544u /* "DENV" */
#define STATE_FILE_VERSION 1u

static size_t function_size(void)
{
	return ROUND_UP(sizeof(struct state_file_function), 4096);
}

/* What a controller with few queues does not use of its part is not left out here. */
static size_t local_offset(void)
{
	return function_size() + ROUND_UP(nvme_controller_state_size(), 4096);
}

static size_t whole_size(void)
{
	return local_offset() + message_mode_memory_size();
}

size_t state_file_travelling_size(unsigned queues)
{
	return function_size() + ROUND_UP(nvme_controller_state_used(queues), 4096);
}

unsigned state_file_vectors(unsigned queues)
{
	return MIN(queues + 1, (unsigned)STATE_FILE_VECTORS_MAX);
}

void state_file_unmap(struct state_file *file)
{
	munmap(file->function, whole_size());
}

/* An empty file gets its size; the magic number is zero then, as in one that was not begun. */
static int judge_size(int fd, struct error **errp)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_set_errno(errp, errno, "state file");
	if (st.st_size && (size_t)st.st_size != whole_size())
		return error_set(errp, EINVAL, "the state file has another version's size");
	if (!st.st_size && ftruncate(fd, whole_size()) < 0)
		return error_set_errno(errp, errno, "state file");
	return 0;
}

static int map(struct state_file *file, int fd, bool *ret_new, struct error **errp)
{
	char *memory;
	int ret;

	if (fd >= 0) {
		ret = judge_size(fd, errp);
		if (ret < 0)
			return ret;
	}
	memory = mmap(NULL, whole_size(), PROT_READ | PROT_WRITE,
		      MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
	if (memory == MAP_FAILED)
		return error_set_errno(errp, errno, "state file");
	file->function = (struct state_file_function *)memory;
	file->controller = memory + function_size();
	file->local = memory + local_offset();
	*ret_new = !file->function->magic;
	if (!*ret_new && (file->function->magic != STATE_FILE_MAGIC ||
			  file->function->version != STATE_FILE_VERSION)) {
		state_file_unmap(file);
		return error_set(errp, EINVAL, "the state file is of another version");
	}
	return 0;
}

int state_file_map(struct state_file *file, int fd, unsigned vectors, struct error **errp)
{
	const struct pci_config_layout layout = pci_function_layout(vectors);
	bool is_new;
	int ret;

	ret = map(file, fd, &is_new, errp);
	if (ret < 0 || !is_new)
		return ret;
	pci_config_init(&file->function->pci, &layout);
	file->function->version = STATE_FILE_VERSION;
	/* Last: killed before, it is begun again. */
	STORE_RELEASE(file->function->magic, STATE_FILE_MAGIC);
	return 0;
}

int state_file_judge(int fd, unsigned queues, struct error **errp)
{
	struct state_file file;
	bool is_new;
	int ret;

	ret = map(&file, fd, &is_new, errp);
	if (ret < 0)
		return ret;
	if (!is_new)
		ret = nvme_state_judge(file.controller, queues, state_file_vectors(queues), errp);
	state_file_unmap(&file);
	return ret;
}
