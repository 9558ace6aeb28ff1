// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/client.h"

#include <errno.h>

#include "base/i18n.h"
#include "control/channel.h"

#define DAEMON_SOCKET VIRTNVME_RUNTIME_DIR "/virtnvmed.sock"

int client_call(const char *command, struct json_object *arguments, int timeout_ms,
		struct json_object **ret_result, struct error **errp)
{
	_cleanup_json_ struct json_object *owned = arguments;
	_cleanup_close_ int fd = -1;
	int r;

	r = control_connect(DAEMON_SOCKET, &fd);
	if (r == -ENOENT || r == -ECONNREFUSED)
		return error_set(errp, ECONNREFUSED,
				 _("virtnvmed is not running; start it with: systemctl start "
				   "virtnvmed.socket"));
	if (r == -EACCES)
		return error_set(errp, EACCES,
				 _("no permission to talk to virtnvmed; be root or in the group "
				   "libvirt"));
	if (r < 0)
		return error_set_errno(errp, -r, "%s", DAEMON_SOCKET);
	return control_call(fd, command, owned, timeout_ms, ret_result, errp);
}
