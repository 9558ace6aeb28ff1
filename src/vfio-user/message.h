/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VFIO_USER_MESSAGE_H
#define VFIO_USER_MESSAGE_H

#include "vfio-user/server.h"

/**
 * vfio_user_message_judge() - may this command be handled?
 * @negotiated: VERSION has been answered
 *
 * The one place that looks at a command with suspicion: its size, argsz, flags, ranges and number
 * of descriptors. Handlers assume that what passed is sane. What depends on state that only the
 * part itself knows (does the DMA range overlap another?) is the handler's.
 *
 * Return: 0, or the -errno to answer.
 */
int vfio_user_message_judge(const struct vfio_user_device_info *info, bool negotiated,
			    const struct vfio_user_message *message);

#endif
