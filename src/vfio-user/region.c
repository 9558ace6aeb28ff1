// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vfio-user/handlers.h"

int vfio_user_handle_region_read(struct vfio_user_server *server, struct vfio_user_message *message,
				 struct vfio_user_reply *reply)
{
	const struct vfio_user_region_access *access = message->payload;
	struct vfio_user_region_access *answer = server->scratch;

	*answer = (struct vfio_user_region_access){ .offset = access->offset,
						    .region = access->region,
						    .count = access->count };
	if (access->count) {
		memset(answer->data, 0, access->count);
		server->ops->region_read(server->device, access->region, access->offset,
					 answer->data, access->count);
	}
	reply->data = answer;
	reply->size = sizeof(*answer) + access->count;
	return 0;
}

int vfio_user_handle_region_write(struct vfio_user_server *server,
				  struct vfio_user_message *message, struct vfio_user_reply *reply)
{
	const struct vfio_user_region_access *access = message->payload;

	if (access->count)
		server->ops->region_write(server->device, access->region, access->offset,
					  access->data, access->count);
	reply->data = access;
	reply->size = sizeof(*access);
	return 0;
}

int vfio_user_handle_region_write_multi(struct vfio_user_server *server,
					struct vfio_user_message *message,
					struct vfio_user_reply *reply)
{
	const struct vfio_user_region_write_multi *multi = message->payload;
	uint64_t i;

	for (i = 0; i < multi->count; i++) {
		const struct vfio_user_region_write_one *one = &multi->writes[i];

		if (one->count)
			server->ops->region_write(server->device, one->region, one->offset,
						  one->data, one->count);
	}
	reply->data = multi;
	reply->size = sizeof(multi->count);
	return 0;
}
