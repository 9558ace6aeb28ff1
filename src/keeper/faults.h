/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEEPER_FAULTS_H
#define KEEPER_FAULTS_H

#include "keeper/config.h"

/*
 * For tests: an image whose control file (block/fault.h) lies in the folder that the environment
 * names in VIRTNVME_FAULTS, as NAME.control and, where there is one, NAME.stable, NAME being the last
 * part of the image's path. The user's configuration knows nothing of it.
 */
#define FAULTS_MAX_FDS 2

/**
 * faults_open() - what the controller gets beside the image
 * @json: the namespace as it is sent there; its type becomes "fault" when there is anything
 *
 * Return: how many descriptors are in @fds; owned by the caller.
 */
size_t faults_open(const struct namespace_config *config, struct json_object *json, int *fds);

#endif
