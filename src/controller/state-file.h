/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_STATE_FILE_H
#define CONTROLLER_STATE_FILE_H

#include "base/error.h"
#include "vfio-user/pci-config.h"

/*
 * What of a device must outlive the process, mapped: the PCI function's part, then the controller's
 * (nvme/state.h). Behind them is what never leaves this host, however the rest travels.
 */

#define STATE_FILE_VECTORS_MAX 65

struct state_file_function {
	uint32_t magic, version;
	struct pci_config pci;
	uint8_t msix_table[STATE_FILE_VECTORS_MAX * 16];
};

struct state_file {
	struct state_file_function *function;
	void *controller; /* nvme_controller_new()'s */
	void *local;	  /* message_mode_init()'s */
};

/** state_file_vectors() - how many a device with @queues queues has: one for each, and one */
unsigned state_file_vectors(unsigned queues);

/** state_file_travelling_size() - the bytes at its beginning that a migration takes along of a
 * device with @queues queues; the others of the controller's part are zero */
size_t state_file_travelling_size(unsigned queues);

/**
 * state_file_map() - or begin a new device where @fd is empty
 * @fd: the caller's; -1: private memory
 *
 * The controller's part is judged by nvme_controller_new(). Return: 0, or -errno with a sentence.
 */
int state_file_map(struct state_file *file, int fd, unsigned vectors, struct error **errp);
void state_file_unmap(struct state_file *file);

/** state_file_judge() - could a device with @queues queues go on with it? 0 or -errno with a
 * sentence */
int state_file_judge(int fd, unsigned queues, struct error **errp);

#endif
