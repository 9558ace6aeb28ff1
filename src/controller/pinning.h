/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CONTROLLER_PINNING_H
#define CONTROLLER_PINNING_H

#include <sched.h>

/*
 * Theory of operation
 *
 * An I/O thread pins itself, before it allocates anything: what it touches first is then memory of
 * the processors that it runs on, and threads that it makes inherit them.
 *
 * A pin is a wish. Processors go offline, cgroups are changed, a guest arrives on a smaller host, and
 * a successor of a dead controller must serve the guest in any case: so what cannot be had is said
 * in the log and in `virt-nvme info`, and the thread runs where it may.
 */

/** pinning_apply() - the calling thread, the @number-th that does I/O (from 1), runs on @wanted */
void pinning_apply(unsigned number, const cpu_set_t *wanted);

#endif
