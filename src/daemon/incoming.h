/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_INCOMING_H
#define DAEMON_INCOMING_H

#include "domain-xml/metadata.h"

/*
 * A guest that arrives, by migration or from a file: its controllers and disks are those that it
 * had, and everything they need is there already.
 */

/**
 * incoming_metadata() - what an arriving guest has, of what its metadata wishes
 * @xml: the domain as `prepare` sees it
 * @metadata: changed: what never came into the guest goes, a controller that only the block names
 *	comes (parked); no image or volume is to be created, since an empty one would be another disk
 *
 * Return: 0, or -errno with a sentence.
 */
int incoming_metadata(const char *xml, struct metadata *metadata, struct error **errp);

#endif
