// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain-xml/identity.h"

#include <errno.h>
#include <stdio.h>

#include <uuid/uuid.h>

static void derive(const uint8_t from[16], const char *what, unsigned number, uint8_t ret[16])
{
	char name[64];
	int len = snprintf(name, sizeof(name), "virtnvme/%s/%u", what, number);

	uuid_generate_sha1(ret, from, name, (size_t)len);
}

int identity_controller_uuid(const char *domain_uuid, unsigned index, uint8_t ret[16])
{
	uuid_t domain;

	if (uuid_parse(domain_uuid, domain) < 0)
		return -EINVAL;
	derive(domain, "controller", index, ret);
	return 0;
}

int identity_subsystem_uuid(const char *domain_uuid, const struct metadata_controller *controller,
			    uint8_t ret[16])
{
	uuid_t domain;

	if (!controller->has_subsystem)
		return identity_controller_uuid(domain_uuid, controller->index, ret);
	if (uuid_parse(domain_uuid, domain) < 0)
		return -EINVAL;
	derive(domain, "subsystem", controller->subsystem, ret);
	return 0;
}

/* "VN" and 18 upper-case hexadecimal digits: exactly 20 characters. */
static void identity_serial(const uint8_t from[16], char ret[IDENTITY_SERIAL_SIZE])
{
	uint8_t hash[16];
	int i;

	derive(from, "serial", 0, hash);
	memcpy(ret, "VN", 2);
	for (i = 0; i < 9; i++)
		snprintf(ret + 2 + i * 2, 3, "%02X", hash[i]);
}

void identity_namespace_uuid(const uint8_t from[16], unsigned nsid, uint8_t ret[16])
{
	derive(from, "namespace", nsid, ret);
}

void identity_namespace_nguid(const uint8_t from[16], unsigned nsid, uint8_t ret[16])
{
	derive(from, "nguid", nsid, ret);
}

int identity_controller_serial(const char *domain_uuid,
			       const struct metadata_controller *controller,
			       char ret[IDENTITY_SERIAL_SIZE])
{
	uint8_t uuid[16];
	int r = identity_subsystem_uuid(domain_uuid, controller, uuid);

	if (r < 0)
		return r;
	if (controller->serial)
		snprintf(ret, IDENTITY_SERIAL_SIZE, "%s", controller->serial);
	else
		identity_serial(uuid, ret);
	return 0;
}

int identity_disk_ids(const char *domain_uuid, const struct metadata_controller *controller,
		      const struct metadata_disk *disk, uint8_t ret_uuid[16], uint8_t ret_nguid[16])
{
	uint8_t from[16];
	int r = identity_subsystem_uuid(domain_uuid, controller, from);

	if (r < 0)
		return r;
	if (disk->has_uuid)
		memcpy(ret_uuid, disk->uuid, 16);
	else
		identity_namespace_uuid(from, disk->nsid, ret_uuid);
	if (disk->has_nguid)
		memcpy(ret_nguid, disk->nguid, 16);
	else
		identity_namespace_nguid(from, disk->nsid, ret_nguid);
	return 0;
}

void identity_format_uuid(const uint8_t uuid[16], char ret[37])
{
	uuid_unparse_lower(uuid, ret);
}
