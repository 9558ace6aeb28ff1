/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_CAPABILITIES_H
#define DAEMON_CAPABILITIES_H

#include <sys/types.h>

/**
 * capabilities_dac_owner() - who libvirt runs QEMU as
 * @xml: virConnectGetCapabilities()
 *
 * Return: 0, or -ENOENT when the XML does not say.
 */
int capabilities_dac_owner(const char *xml, uid_t *ret_uid, gid_t *ret_gid);

/** capabilities_host_uuid() - malloc()ed; NULL when the XML does not say */
char *capabilities_host_uuid(const char *xml);

/** capabilities_dac_label() - "+64055:+64055" or "user:group" to numbers; 0 or -EINVAL */
int capabilities_dac_label(const char *label, uid_t *ret_uid, gid_t *ret_gid);

#endif
