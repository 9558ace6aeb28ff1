/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DOMAIN_XML_IDENTITY_H
#define DOMAIN_XML_IDENTITY_H

#include "domain-xml/metadata.h"

/*
 * Ids that the XML does not give are derived, never written back: a clone has another domain UUID
 * and so gets its own. UUIDv5 (RFC 4122): the controller's from the domain's UUID, a namespace's
 * from its subsystem's, which is the controller's own where it is alone in it. The names that are hashed are ABI: a guest finds its root by these ids.
 */

#define IDENTITY_SERIAL_SIZE (METADATA_MAX_SERIAL + 1)

/**
 * identity_controller_uuid() - of the controller @index of a domain
 * @domain_uuid: 36 characters
 *
 * Return: 0, or -EINVAL when @domain_uuid is not a UUID.
 */
int identity_controller_uuid(const char *domain_uuid, unsigned index, uint8_t ret[16]);

/**
 * identity_subsystem_uuid() - what the ids of a controller and its namespaces come from
 *
 * The controller's own where it is alone. Return: 0 or -EINVAL as identity_controller_uuid().
 */
int identity_subsystem_uuid(const char *domain_uuid, const struct metadata_controller *controller,
			    uint8_t ret[16]);

/** identity_namespace_uuid() - what Identify's namespace descriptor list shows as UUID */
void identity_namespace_uuid(const uint8_t from[16], unsigned nsid, uint8_t ret[16]);

/** identity_namespace_nguid() - different from the UUID */
void identity_namespace_nguid(const uint8_t from[16], unsigned nsid, uint8_t ret[16]);

/** identity_controller_serial() - what the controller shows: its <serial>, else the derived one.
 * 0 or -EINVAL as identity_controller_uuid(). */
int identity_controller_serial(const char *domain_uuid,
			       const struct metadata_controller *controller,
			       char ret[IDENTITY_SERIAL_SIZE]);

/** identity_disk_ids() - what the namespace shows: the disk's own ids, else the derived ones. 0 or
 * -EINVAL as identity_controller_uuid(). */
int identity_disk_ids(const char *domain_uuid, const struct metadata_controller *controller,
		      const struct metadata_disk *disk, uint8_t ret_uuid[16],
		      uint8_t ret_nguid[16]);

/** identity_format_uuid() - 36 characters and NUL, lower case */
void identity_format_uuid(const uint8_t uuid[16], char ret[37]);

#endif
