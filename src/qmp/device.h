/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef QMP_DEVICE_H
#define QMP_DEVICE_H

#include "qmp/qmp.h"

struct qmp_version {
	unsigned major, minor, micro;
};

struct qmp_pci_address {
	unsigned bus, slot, function;
	/* Of the bridge the device is behind; empty on the root bus. */
	char bridge[64];
};

int qmp_query_version(const struct qmp_transport *qmp, struct qmp_version *ret,
		      struct error **errp);

/**
 * qmp_device_del_vfio_user() - unplug a controller; asks QEMU for its version first
 *
 * Return: 0 when the guest has been asked to let go, -EOPNOTSUPP, without having asked for
 * anything, on a QEMU not known to survive it, else -errno.
 */
int qmp_device_del_vfio_user(const struct qmp_transport *qmp, const char *id, struct error **errp);

/**
 * qmp_query_pci() - what sits on the PCI buses
 * @ret: the answer, for qmp_pci_find()
 */
int qmp_query_pci(const struct qmp_transport *qmp, struct json_object **ret, struct error **errp);

/** qmp_pci_find() - the device with that id; 0 or -ENOENT */
int qmp_pci_find(struct json_object *pci, const char *id, struct qmp_pci_address *ret);

#endif
