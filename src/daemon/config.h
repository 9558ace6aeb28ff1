/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include "base/error.h"

/* virtnvmed.conf(5): lines of `key = value`, a value being a number or a "string", as in libvirt's
 * own files. */
struct config {
	char *uri;	    /* libvirt connection, "qemu:///system" */
	char *socket_group; /* may talk to the daemon, "libvirt" */
	unsigned log_level; /* syslog's */
	/* Directories that other hosts have too although their file system does not say so; ended by
	 * NULL. NULL: none. */
	char **shared_filesystems;
};

/** config_init() - the defaults; 0 or -ENOMEM */
int config_init(struct config *config);

/**
 * config_load() - read a file over the defaults
 * @must_exist: a missing file is an error
 *
 * Return: 0 or -errno with "PATH:LINE: what is wrong".
 */
int config_load(struct config *config, const char *path, bool must_exist, struct error **errp);

void config_clear(struct config *config);

#endif
