// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/monitor.h"

#include <libvirt/libvirt-qemu.h>

#include "base/i18n.h"
#include "daemon/libvirt.h"

static int execute(void *opaque, const char *command, char **ret_answer, struct error **errp)
{
	if (virDomainQemuMonitorCommand(opaque, command, ret_answer, 0) < 0)
		return libvirt_error(errp, _("cannot ask QEMU"));
	return 0;
}

struct qmp_transport monitor_transport(virDomainPtr dom)
{
	return (struct qmp_transport){ execute, dom };
}
