/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_RESERVATIONS_H
#define KEEPER_RESERVATIONS_H

#include "keeper/config.h"

#define RESERVATIONS_FDS 3

/**
 * reservations_open() - the file in which all who share an image on this host keep its reservations
 * @image_fd: the image
 *
 * It is in a folder of root's on a file system that ends with the host, so that it is nobody's but ours
 * and the reservations end when the host loses power. What outlasts that is in another one, by the
 * image's inode and the time of its birth: the numbers of devices change when a host starts. Without
 * that time, or where the file cannot be made, nothing does. New descriptions each time.
 *
 * Return: 0, with the file, fd_watch_writes() of it and the other one; they are -1 when the configuration
 * has no folder for them; or -errno with a sentence.
 */
int reservations_open(const struct namespace_config *config, int image_fd,
		      int ret_fds[RESERVATIONS_FDS], struct error **errp);

#endif
