/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_HOOKS_H
#define DAEMON_HOOKS_H

#include "base/json.h"

/**
 * hooks_answer() - one hook of libvirt's
 * @arguments: of the command `hook`, checked
 * @ret_result: the caller's
 *
 * Called in a thread of its own, with libvirtd holding the domain's lock: no libvirt call on
 * domains, and no lock that is held over one, may happen below here.
 *
 * Return: 0, or -errno with the sentence that libvirt shows to its user.
 */
int hooks_answer(struct json_object *arguments, struct json_object **ret_result,
		 struct error **errp);

#endif
