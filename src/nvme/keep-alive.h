/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_KEEP_ALIVE_H
#define NVME_KEEP_ALIVE_H

#include "nvme/host.h"
#include "nvme/spec.h"

struct nvme_controller;
struct nvme_request;

enum nvme_keep_alive_step {
	NVME_KEEP_ALIVE_COUNTING,
	NVME_KEEP_ALIVE_ASKED,	   /* could the guest speak? The control thread goes on */
	NVME_KEEP_ALIVE_EXCUSED,   /* no; worker 0 goes on */
	NVME_KEEP_ALIVE_CONFIRMED, /* yes; worker 0 goes on */
	NVME_KEEP_ALIVE_OVER,	   /* the control thread goes on */
};

/* The Keep Alive timer, section 3.9; see keep-alive.c. */
struct nvme_keep_alive {
	uint32_t step; /* enum nvme_keep_alive_step: stored by whom it says, loaded by both */

	/* Worker 0's */
	uint64_t since;	   /* CLOCK_MONOTONIC, ns; 0: begin at the next look */
	uint64_t admin;	   /* commands that had been fetched then, of the admin queue */
	uint64_t commands; /* and of all */

	struct nvme_host_call call; /* to the control thread */
	bool called;		    /* atomic */
};

void nvme_keep_alive_init(struct nvme_controller *ctrl);

/** nvme_keep_alive() - the admin command */
void nvme_keep_alive(struct nvme_request *request);

/** nvme_keep_alive_set() - feature 0Fh */
nvme_status nvme_keep_alive_set(struct nvme_request *request);

/** nvme_keep_alive_begin() - a new period; worker 0, or nobody does anything */
void nvme_keep_alive_begin(struct nvme_controller *ctrl);

/** nvme_keep_alive_poll() - is it over? Worker 0, when it has fetched what there was. Return: something
 * was done */
bool nvme_keep_alive_poll(struct nvme_controller *ctrl);

/** nvme_keep_alive_wait() - when to look again, in ns; -1: never */
int64_t nvme_keep_alive_wait(const struct nvme_controller *ctrl);

#endif
