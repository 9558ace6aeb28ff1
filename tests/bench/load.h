/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "bench/driver.h"
#include "bench/histogram.h"
#include "bench/server.h"

/* Commands of one kind, kept in flight at a depth for a time. */

enum load_pattern {
	LOAD_RANDOM_READ,
	LOAD_RANDOM_WRITE,
	LOAD_READ,
	LOAD_WRITE,
	LOAD_MIXED, /* random, half of it reads */
};

struct load_options {
	enum load_pattern pattern;
	unsigned block_size, depth;
	uint64_t span; /* bytes from the beginning of the namespace; 0: all of it */
	double seconds, warm_up;
	bool verify;
	uint32_t nsid;
};

struct load_result {
	uint64_t commands;
	double seconds;
	uint64_t client_cpu_ns, client_system_calls, sleeps;
	struct histogram ticks; /* latencies */
	struct server_sample server;
};

struct load_slot {
	struct nvme_command command;
	void *buffer;
	uint64_t started; /* ticks */
	uint64_t index;	  /* of its block in the span */
	uint32_t sequence;
};

struct load {
	struct driver *driver;
	struct load_options options;
	uint64_t blocks; /* of block_size */
	unsigned shift;	 /* namespace blocks in a block, as a shift of its index */
	struct load_slot *slots;
	uint64_t random;
	uint64_t next;		  /* sequential: one stream over all queues */
	uint64_t in_flight, left; /* left: commands yet to start */
	uint32_t *sequences;	  /* verify: of each block, 0: not written yet */
	uint8_t *busy;
	bool failed;
};

/** load_memory() - guest memory that load_open() needs */
uint64_t load_memory(const struct load_options *options, unsigned queues);

int load_open(struct load *load, struct driver *driver, const struct load_options *options,
	      struct error **errp);
void load_close(struct load *load);

/** load_fill() - write every block of the span once */
int load_fill(struct load *load, struct error **errp);

/** load_run() - measure */
int load_run(struct load *load, const struct server *server, struct load_result *ret,
	     struct error **errp);

#endif
