/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_REQUEST_H
#define DAEMON_REQUEST_H

#include <libvirt/libvirt.h>

#include "base/json.h"
#include "daemon/domain.h"

/* A domain that a request is about, by name or UUID, held by its `work`. */
struct request_domain {
	virConnectPtr conn;
	virDomainPtr dom;
	struct domain *domain;
	bool active, persistent;
};

/** request_domain_open() - 0 or -errno with a sentence; wait for the domain's turn */
int request_domain_open(struct request_domain *target, const char *name, struct error **errp);
void request_domain_close(struct request_domain *target);

/** request_flags() - which sides a request is about: what is given, else the running domain when it
 * runs, else its definition. 0 or -EINVAL with a sentence */
int request_flags(const struct request_domain *target, struct json_object *arguments,
		  bool *ret_live, bool *ret_config, struct error **errp);

#define _cleanup_request_domain_ _cleanup_(request_domain_close)

#endif
