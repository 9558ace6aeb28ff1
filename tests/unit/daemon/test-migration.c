// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <libvirt/libvirt.h>
#include <stdio.h>

#include "daemon/domain.h"
#include "daemon/incoming.h"
#include "daemon/migration-rules.h"
#include "daemon/permit.h"
#include "daemon/shared-storage.h"
#include "tests/unit/test.h"

#define DOMAIN                                                                                     \
	"<domain type='kvm'><name>d</name><uuid>11111111-2222-3333-4444-555555555555</uuid>"       \
	"<metadata><nvme:devices xmlns:nvme='urn:virtnvme:domain:1'>%s</nvme:devices></metadata>"  \
	"<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>%s</devices></domain>"

#define DISK(n, extra)                                                                             \
	"<nvme:disk type='file'><nvme:driver name='virtnvme' type='raw' " extra "/>"               \
	"<nvme:source file='/tmp/" #n ".raw'/><nvme:target dev='nvme0n" #n "' bus='nvme'/>"        \
	"<nvme:capacity unit='MiB'>1</nvme:capacity></nvme:disk>"
#define MEMORY                                                                                     \
	"<nvme:disk type='memory'><nvme:target dev='nvme0n9' bus='nvme'/>"                         \
	"<nvme:capacity unit='MiB'>2</nvme:capacity></nvme:disk>"
#define LIVE "<nvme:live bus='virtnvme-port0' addr='0x0'/>"

static char *domain(const char *controllers, const char *devices)
{
	char *xml;

	assert_true(asprintf(&xml, DOMAIN, controllers, devices) > 0);
	return xml;
}

/* What stands against it: the sentences, one a line. */
static void gather(void *opaque, const char *rule, const char *subject, const char *why)
{
	char **text = opaque, *longer;

	assert_non_null(rule);
	assert_non_null(subject);
	if (!why)
		return;
	assert_true(asprintf(&longer, "%s%s\n", *text ? *text : "", why) > 0);
	free(*text);
	*text = longer;
}

static char *judge(enum migration_operation operation, const char *disks, const char *devices)
{
	_cleanup_domain_xml_info_ struct domain_xml_info *info = NULL;
	_cleanup_metadata_ struct metadata *metadata = NULL;
	_cleanup_free_ char *controllers = NULL;
	_cleanup_free_ char *xml = NULL;
	char *text = NULL;

	assert_true(asprintf(&controllers, "<nvme:controller index='0'>%s</nvme:controller>",
			     disks) > 0);
	xml = domain(controllers, devices);
	assert_int_equal(domain_xml_info(xml, strlen(xml), &info, NULL), 0);
	assert_int_equal(metadata_parse_domain(xml, strlen(xml), &metadata, NULL), 0);
	migration_rules_judge(operation, info, metadata, gather, &text);
	return text;
}

static void wants_shared_storage_for_a_migration_only(void **state)
{
	_cleanup_free_ char *live = judge(MIGRATION_LIVE, DISK(1, ""), "");
	_cleanup_free_ char *save = judge(MIGRATION_SAVE, DISK(1, ""), "");
	char *shared[] = { (char[]){ "/tmp" }, NULL };

	assert_non_null(live);
	assert_non_null(strstr(live, "nvme0n1: /tmp/1.raw is on storage that other hosts"));
	assert_non_null(strstr(live, "shared_filesystems"));
	assert_null(save);
	shared_storage_init(shared);
	assert_null(judge(MIGRATION_LIVE, DISK(1, "") DISK(2, "cache='none'"), ""));
	shared_storage_init(NULL);
}

static void refuses_caches_that_are_not_coherent(void **state)
{
	char *shared[] = { (char[]){ "/tmp" }, NULL };
	_cleanup_free_ char *text = NULL;

	shared_storage_init(shared);
	text = judge(MIGRATION_LIVE, DISK(1, "cache='writeback'") DISK(2, "cache='writethrough'"),
		     "");
	assert_non_null(text);
	assert_non_null(strstr(text, "nvme0n1 has cache=\"writeback\""));
	assert_non_null(strstr(text, "nvme0n2 has cache=\"writethrough\""));
	assert_null(judge(MIGRATION_SAVE, DISK(1, "cache='writeback'"), ""));
	shared_storage_init(NULL);
}

static void leaves_no_memory_behind(void **state)
{
	_cleanup_free_ char *live = judge(MIGRATION_LIVE, MEMORY, "");
	_cleanup_free_ char *save = judge(MIGRATION_SAVE, MEMORY, "");

	assert_non_null(strstr(live, "nvme0n9 is in this host's memory"));
	assert_string_equal(live, save);
	/* The guest stays where it is, and its disk too. */
	assert_null(judge(MIGRATION_DUMP, MEMORY, ""));
}

static void refuses_an_iommu(void **state)
{
	_cleanup_free_ char *text = judge(MIGRATION_SAVE, "", "<iommu model='intel'/>");

	assert_non_null(strstr(text, "<iommu>"));
}

static void does_not_judge_what_is_not_in_the_guest(void **state)
{
	assert_null(judge(MIGRATION_LIVE,
			  "<nvme:disk type='memory'><nvme:target dev='nvme0n9' bus='nvme'/>"
			  "<nvme:capacity unit='MiB'>2</nvme:capacity>"
			  "<nvme:live state='failed' reason='x'/></nvme:disk>",
			  ""));
}

static void knows_migrations_from_snapshots(void **state)
{
	_cleanup_error_ struct error *snapshot = NULL;
	_cleanup_error_ struct error *nobody = NULL;
	unsigned operation = 99;

	assert_int_equal(permit_judge_job(VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT, &operation, NULL),
			 0);
	assert_int_equal(operation, MIGRATION_LIVE);
	assert_int_equal(permit_judge_job(VIR_DOMAIN_JOB_OPERATION_SAVE, &operation, NULL), 0);
	assert_int_equal(operation, MIGRATION_SAVE);
	assert_int_equal(permit_judge_job(VIR_DOMAIN_JOB_OPERATION_DUMP, &operation, NULL), 0);
	assert_int_equal(operation, MIGRATION_DUMP);
	assert_int_equal(permit_judge_job(VIR_DOMAIN_JOB_OPERATION_SNAPSHOT, &operation, &snapshot),
			 -EINVAL);
	assert_non_null(strstr(error_message(snapshot), "snapshot"));
	assert_int_equal(permit_judge_job(0, &operation, &nobody), -EINVAL);
	assert_non_null(strstr(error_message(nobody), "libvirt has not begun"));
}

static void takes_what_the_guest_had(void **state)
{
	_cleanup_free_ char *xml = domain("<nvme:controller index='0'>" LIVE DISK(1, "") MEMORY
					  "</nvme:controller>"
					  "<nvme:controller index='1'/>",
					  "");
	_cleanup_metadata_ struct metadata *metadata = NULL;

	assert_int_equal(metadata_parse_domain(xml, strlen(xml), &metadata, NULL), 0);
	assert_int_equal(incoming_metadata(xml, metadata, NULL), 0);
	/* Wished, and never in the guest. */
	assert_int_equal(metadata->controller_count, 1);
	/* An image that is missing is not to be made: it would be an empty one. */
	assert_int_equal(metadata_disk(metadata, 0, 1)->capacity, 0);
	assert_int_equal(metadata_disk(metadata, 0, 9)->capacity, 2 * MiB);
}

static void knows_a_libvirt_that_is_too_old_for_the_emulator(void **state)
{
	assert_non_null(migration_rules_versions(9000000, 11001003));
	assert_non_null(migration_rules_versions(11002000, 11001000));
	assert_null(migration_rules_versions(11003000, 11001003));
	assert_null(migration_rules_versions(12008000, 11001002));
	assert_null(migration_rules_versions(9000000, 10001000));
}

static void an_arrival_is_expected_once(void **state)
{
	_cleanup_domain_ struct domain *domain = domain_get("11111111-2222-3333-4444-555555555555");

	assert_false(domain_take_incoming(domain));
	domain_expect_incoming(domain);
	assert_true(domain_take_incoming(domain));
	assert_false(domain_take_incoming(domain));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wants_shared_storage_for_a_migration_only),
		cmocka_unit_test(refuses_caches_that_are_not_coherent),
		cmocka_unit_test(leaves_no_memory_behind),
		cmocka_unit_test(refuses_an_iommu),
		cmocka_unit_test(does_not_judge_what_is_not_in_the_guest),
		cmocka_unit_test(knows_migrations_from_snapshots),
		cmocka_unit_test(takes_what_the_guest_had),
		cmocka_unit_test(knows_a_libvirt_that_is_too_old_for_the_emulator),
		cmocka_unit_test(an_arrival_is_expected_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
