/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DAEMON_MIGRATION_RULES_H
#define DAEMON_MIGRATION_RULES_H

#include "domain-xml/domain.h"
#include "domain-xml/metadata.h"

/*
 * What stands against a domain's NVMe disks going along, as far as this host can tell: asked before
 * a migration (migrate-check), and when QEMU has begun one (permit.c).
 */
enum migration_operation {
	MIGRATION_LIVE, /* to another host, which needs the images */
	MIGRATION_SAVE, /* to a file; the images are where they are */
	MIGRATION_DUMP, /* to a file that nobody will load; the guest stays */
};

/** migration_operation_name() - as the keeper is told: "migration", "save", "dump" */
const char *migration_operation_name(enum migration_operation operation);

/* One rule, about @subject ("nvme0n1", or "" for the domain); @why: NULL when it is kept, else a
 * sentence that names the remedy. */
typedef void (*migration_rule_fn)(void *opaque, const char *rule, const char *subject,
				  const char *why);

/**
 * migration_rules_judge() - go through all rules that @operation has
 *
 * Disks that could not be attached are not in the guest and not judged. May wait for storage.
 */
void migration_rules_judge(enum migration_operation operation, const struct domain_xml_info *info,
			   const struct metadata *metadata, migration_rule_fn visit, void *opaque);

/**
 * migration_rules_versions() - can this libvirt migrate and save guests of this QEMU at all?
 * @libvirt, @qemu: as libvirt counts: 11003000 is 11.3.0
 *
 * Return: NULL, or a sentence why not. Debian has mended its 11.3, which cannot be told from others.
 */
const char *migration_rules_versions(unsigned long libvirt, unsigned long qemu);

#endif
