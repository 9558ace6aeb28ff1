/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_PERMIT_H
#define DAEMON_PERMIT_H

#include <libvirt/libvirt.h>

#include "base/json.h"

/** permit_init() - 0 or -ENOMEM */
int permit_init(void);

/**
 * permit_event() - QEMU has begun to migrate: find out what for, and tell the keeper
 * @seconds, @micros: QEMU's time of the MIGRATION event, by which the keeper knows which one
 *
 * From libvirt's event thread; the work is done by another one.
 */
void permit_event(const char *uuid, long long seconds, unsigned micros);

/** permit_judge_job() - what libvirt's job statistics say QEMU is doing
 * @operation: VIR_DOMAIN_JOB_OPERATION_*
 * @ret: an enum migration_operation
 *
 * Return: 0, or -EINVAL with the sentence of the refusal. */
int permit_judge_job(int operation, unsigned *ret, struct error **errp);

#endif
