/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_PROBE_H
#define DAEMON_PROBE_H

#include "base/error.h"
#include "domain-xml/rewrite.h"

/* What a QEMU binary can do; asked once for each binary, and again when it changed. */
struct probe {
	bool has_vfio_user;	 /* -device vfio-user-pci */
	bool has_monitor_object; /* -object monitor-qmp */
};

/**
 * probe_rewrite_options() - how the rewrite is to be made for a domain on this host
 * @xml: of the domain
 * @need_device: refuse a QEMU without the device
 *
 * Return: 0 or -errno with a sentence.
 */
int probe_rewrite_options(const char *xml, bool need_device, struct rewrite_options *ret,
			  struct error **errp);

#endif
