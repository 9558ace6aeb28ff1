// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/incoming.h"

#include "domain-xml/attach.h"

int incoming_metadata(const char *xml, struct metadata *metadata, struct error **errp)
{
	size_t i = 0, j;
	int r;

	r = attach_current(xml, strlen(xml), metadata, errp);
	if (r < 0)
		return r;
	while (i < metadata->controller_count) {
		struct metadata_controller *controller = &metadata->controllers[i];

		if (!*controller->live.bus) {
			metadata_remove_controller(metadata, controller->index);
			continue;
		}
		for (j = 0; j < controller->disk_count; j++)
			if (controller->disks[j].type != METADATA_DISK_MEMORY)
				controller->disks[j].capacity = 0;
		i++;
	}
	return 0;
}
