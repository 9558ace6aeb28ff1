// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/faults.h"

#include <fcntl.h>
#include <stdio.h>

#include "base/log.h"

size_t faults_open(const struct namespace_config *config, struct json_object *json, int *fds)
{
	static const char *const suffixes[FAULTS_MAX_FDS] = { "control", "stable" };
	const char *folder = secure_getenv("VIRTNVME_FAULTS");
	size_t count;

	if (!folder || !config->path)
		return 0;
	for (count = 0; count < FAULTS_MAX_FDS; count++) {
		_cleanup_free_ char *path = NULL;

		if (asprintf(&path, "%s%s.%s", folder, strrchr(config->path, '/'),
			     suffixes[count]) < 0) {
			path = NULL;
			break;
		}
		fds[count] = open(path, O_RDWR | O_CLOEXEC);
		if (fds[count] < 0)
			break;
	}
	if (count) {
		log_notice("%s: with faults, for a test", config->path);
		json_add_string(json, "type", "fault");
	}
	return count;
}
