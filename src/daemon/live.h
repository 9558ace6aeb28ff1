/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_LIVE_H
#define DAEMON_LIVE_H

#include <libvirt/libvirt.h>

#include "daemon/domain.h"

/*
 * The running domain: its live metadata is the wish, its keeper and QEMU are what is there. See
 * live.c.
 */

/**
 * live_reconcile() - make what is there what is wished
 * @domain: its `work` is held
 * @ret_ours: set to true when the running domain has something of ours
 *
 * A disk that cannot be had is marked failed in the live metadata; that is no error here.
 */
int live_reconcile(struct domain *domain, virDomainPtr dom, bool *ret_ours, struct error **errp);

/* Nothing may be changed while a guest comes or goes; the keeper says it in these words too. */
#define LIVE_MIGRATES _("a migration or save of the domain is under way; try again when it is over")

/** live_check_idle() - refuse a change of a running domain that comes or goes, also when only
 * libvirt knows it yet; 0 or -EBUSY with a sentence */
int live_check_idle(struct domain *domain, virDomainPtr dom, struct error **errp);

/** live_metadata() - our element of the running domain, record included; NULL with a sentence */
struct metadata *live_metadata(struct domain *domain, virDomainPtr dom, struct error **errp);

/**
 * live_attach() - one disk more
 * @wish: live_metadata() and the disk; taken over
 * @index, @nsid: which it is
 *
 * Return: 0; -errno with a sentence, and then nothing of it is left in the live metadata.
 */
int live_attach(struct domain *domain, virDomainPtr dom, struct metadata *wish, unsigned index,
		unsigned nsid, struct error **errp);

/** live_change() - @wish: live_metadata() without a disk, or with another <capacity>; taken over */
int live_change(struct domain *domain, virDomainPtr dom, struct metadata *wish,
		struct error **errp);

#endif
