/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMP_QMP_H
#define QMP_QMP_H

#include "base/json.h"

/*
 * Asking QEMU. How the text gets to the monitor and back is the caller's business: the daemon goes
 * through libvirt (virDomainQemuMonitorCommand), the keeper through a monitor of its own.
 */
struct qmp_transport {
	/**
	 * execute() - one command, one answer
	 * @command: a JSON object, one line
	 * @ret_answer: the whole answer object as text, malloc()ed
	 *
	 * Return: 0 when there is an answer (QEMU's error is one), else -errno with a sentence.
	 */
	int (*execute)(void *opaque, const char *command, char **ret_answer, struct error **errp);
	void *opaque;
};

/**
 * qmp_execute() - a command with its answer's "return"
 * @arguments: reference taken over; may be NULL
 * @ret: owned by the caller; may be NULL
 *
 * Return: 0; -EREMOTEIO with QEMU's sentence when QEMU refused; -EPROTO when the answer makes no
 * sense; else what the transport says.
 */
int qmp_execute(const struct qmp_transport *qmp, const char *command, struct json_object *arguments,
		struct json_object **ret, struct error **errp);

/** qmp_parse_answer() - the other half of qmp_execute(): errors as there */
int qmp_parse_answer(const char *answer, struct json_object **ret, struct error **errp);

#endif
