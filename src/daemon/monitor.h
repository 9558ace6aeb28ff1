/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_MONITOR_H
#define DAEMON_MONITOR_H

#include <libvirt/libvirt.h>

#include "qmp/qmp.h"

/** monitor_transport() - QMP to a running domain through libvirt; valid as long as @dom */
struct qmp_transport monitor_transport(virDomainPtr dom);

#endif
