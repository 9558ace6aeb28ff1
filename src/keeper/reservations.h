/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_RESERVATIONS_H
#define KEEPER_RESERVATIONS_H

#include "keeper/config.h"

/**
 * reservations_open() - the file in which all who share an image on this host keep its reservations
 * @image_fd: the image
 *
 * It is in a folder of root's on a file system that ends with the host, so that it is nobody's but ours
 * and the reservations end when the host loses power. A new description each time, and
 * fd_watch_writes() of it.
 *
 * Return: 0, @ret_fds are -1 when the configuration has no such folder; or -errno with a sentence.
 */
int reservations_open(const struct namespace_config *config, int image_fd, int ret_fds[2],
		      struct error **errp);

#endif
