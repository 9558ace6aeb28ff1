/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_MARKS_H
#define KEEPER_MARKS_H

#include "keeper/config.h"

/*
 * The file in which is kept what is marked of an image by Write Uncorrectable. It takes no
 * space until something is, and nothing here waits for a disk: a guest may be running, and stand still meanwhile.
 * The controller gives it its size, and makes that durable with what it writes, and so its name: the
 * file systems' journals have them in this order.
 */

/** marks_open() - a new description, of a new file where there is none; -1: none, then nothing can be
 * marked, and the log says why */
int marks_open(const struct namespace_config *config, int image_fd);

/** marks_close() - nobody uses it any more: remove it if nothing was ever written to it; @image_fd may be -1 */
void marks_close(const struct namespace_config *config, int image_fd);

#endif
