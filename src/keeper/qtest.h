/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_QTEST_H
#define KEEPER_QTEST_H

#include "keeper/blob.h"
#include "keeper/monitor.h"

/*
 * QEMU's qtest protocol, made over the monitor on a descriptor that nobody else has: it is all of
 * the guest's memory. A QEMU has one in its life; a second one never answers.
 */
struct qtest;

struct qtest_ops {
	/* @line: without its end */
	void (*line)(void *opaque, const char *line);
};

/** qtest_new() - NULL with a sentence; whether QEMU plays along is in its log */
struct qtest *qtest_new(sd_event *event, struct monitor *monitor, const struct qtest_ops *ops,
			void *opaque, struct error **errp);
void qtest_free(struct qtest *qtest);

/** qtest_send() - lines; copied. 0 or -ENOMEM */
int qtest_send(struct qtest *qtest, const void *lines, size_t size);

#endif
