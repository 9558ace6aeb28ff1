/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include "base/error.h"

/*
 * QEMU's half of vfio-user, as little of it as a driver in the same process needs. Guest memory is
 * one shared memfd, so the server never sends a request of its own.
 */
struct client {
	int sock;
	uint16_t next_id;
	void *memory; /* the guest's */
	uint64_t base, size;
	uint64_t system_calls; /* made for doorbells */
	uint32_t *doorbells;   /* of BAR 0, mapped; NULL: not */
};

#define CLIENT_BASE (1 * MiB) /* where guest memory begins: so that 0 is no address */

/** client_open() - connect, agree on the version, share @size bytes of guest memory */
int client_open(struct client *client, const char *path, uint64_t size, bool hugepages,
		struct error **errp);
void client_close(struct client *client);

/** client_read() - of BAR 0, or of the configuration space: 1 to 8 bytes */
int client_read(struct client *client, unsigned region, uint64_t offset, unsigned count,
		uint64_t *ret, struct error **errp);
int client_write(struct client *client, unsigned region, uint64_t offset, unsigned count,
		 uint64_t value, struct error **errp);

/** client_doorbell() - a posted write of a register in BAR 0, as QEMU forwards it: one system call
 */
void client_doorbell(struct client *client, uint64_t offset, uint32_t value);

/** client_map_doorbells() - of a controller with --doorbells=mapped */
int client_map_doorbells(struct client *client, struct error **errp);

/** client_set_vectors() - the same eventfd for the MSI-X vectors 0 to @count - 1 */
int client_set_vectors(struct client *client, int eventfd, unsigned count, struct error **errp);

#endif
