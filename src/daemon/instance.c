// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

#include "base/i18n.h"

int instance_lock(const char *path, struct error **errp)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return error_set_errno(errp, errno, "%s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return error_set_errno(errp, errno, "%s", path);
		return error_set(errp, EBUSY,
				 _("another virtnvmed runs on this host (%s is locked)"), path);
	}
	return steal_fd(&fd);
}
