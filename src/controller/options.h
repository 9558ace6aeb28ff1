/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_OPTIONS_H
#define CONTROLLER_OPTIONS_H

#include <sched.h>

#include "controller/io-thread.h"
#include "controller/namespace-spec.h"

/* The command line of virtnvme-controller. */
struct options {
	const char *socket; /* standalone */
	struct namespace_spec *namespaces;
	unsigned namespace_count;
	unsigned long queues;
	enum nvme_doorbells doorbells;
	const char *serial;

	unsigned long control_fd; /* under a keeper */
	bool under_keeper;

	unsigned long io_threads, poll_max;
	cpu_set_t pins[IO_THREADS_MAX]; /* by thread from 0; empty: not pinned */
	enum block_ring_kind ring;
	const char *user;
	unsigned long log_level;
	bool print_capabilities;
};

/**
 * controller_options_parse() - judge the command line
 *
 * Return: 0, 1 when it has been answered (--help), or -EINVAL with a sentence.
 */
int controller_options_parse(int argc, char **argv, struct options *ret, struct error **errp);

void controller_options_clear(struct options *options);

#endif
