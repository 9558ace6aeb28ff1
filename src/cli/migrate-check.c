// SPDX-License-Identifier: LGPL-2.1-or-later
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdio.h>

#include "base/i18n.h"
#include "cli/check.h"
#include "cli/client.h"

/*
 * Theory of operation
 *
 * What this host knows of the domain is virtnvmed's to say. The other host is asked through libvirt,
 * by us: the user's own keys and passwords open that connection, as they open that of virsh migrate.
 * libvirt shows neither hooks nor files that are in no pool: what cannot be seen is said to be so,
 * and not taken for right.
 */

#define OLDEST_LIBVIRT 9000000ul  /* 9.0 */
#define OLDEST_QEMU    10001000ul /* 10.1: vfio-user-pci */

static bool as_json;

static const struct option_spec options[] = {
	{ "json", 0, OPTION_FLAG, NULL, N_("print JSON"), &as_json },
	{},
};

static const struct option_program program = {
	.name = "virt-nvme migrate-check",
	.arguments = "DOMAIN [DESTURI]",
	.summary = N_("say what would stand against migrating a domain"),
	.options = options,
	.min_arguments = 1,
	.max_arguments = 2,
};

static void add(struct check_report *report, const char *what, enum check_verdict verdict,
		const char *why)
{
	struct check check = { .what = what };

	check_result(&check, verdict, why);
	check_report_add(report, &check);
}

static enum check_verdict parse_verdict(const char *word)
{
	if (string_equal(word, "pass"))
		return CHECK_PASS;
	return string_equal(word, "warn") ? CHECK_WARN : CHECK_FAIL;
}

static void add_source(struct check_report *report, struct json_object *result)
{
	struct json_object *list = json_child(result, "checks", json_type_array);
	size_t i;

	for (i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *entry = json_object_array_get_idx(list, i);

		add(report, json_string_or(entry, "check", ""),
		    parse_verdict(json_string_or(entry, "verdict", "")),
		    json_string_or(entry, "reason", ""));
	}
}

/* libvirt would print every error to stderr. */
static void ignore_error(void *opaque, virErrorPtr err)
{
}

static void check_host(struct check_report *report, virConnectPtr conn, struct json_object *source)
{
	const char *uuid = json_string_or(source, "host_uuid", "no uuid");
	char *capabilities = virConnectGetCapabilities(conn);
	bool same = capabilities && strstr(capabilities, uuid);

	free(capabilities);
	add(report, _("destination: it is another host"), same ? CHECK_FAIL : CHECK_PASS,
	    same ? _("it is this one") : "");
}

static void check_versions(struct check_report *report, virConnectPtr conn)
{
	unsigned long version = 0;

	if (virConnectGetLibVersion(conn, &version) < 0 || version < OLDEST_LIBVIRT)
		add(report, _("destination: its libvirt is new enough"), CHECK_FAIL,
		    _("install libvirt 9.0 or newer there"));
	else
		add(report, _("destination: its libvirt is new enough"), CHECK_PASS, "");
	version = 0;
	if (virConnectGetVersion(conn, &version) < 0 || version < OLDEST_QEMU)
		add(report, _("destination: its QEMU is new enough"), CHECK_FAIL,
		    _("install QEMU 10.1 or newer there"));
	else
		add(report, _("destination: its QEMU is new enough"), CHECK_PASS, "");
}

static void check_machine(struct check_report *report, virConnectPtr conn,
			  struct json_object *source)
{
	char *capabilities =
		virConnectGetDomainCapabilities(conn, json_string_or(source, "emulator", NULL),
						json_string_or(source, "arch", NULL),
						json_string_or(source, "machine", NULL),
						json_string_or(source, "type", NULL), 0);

	add(report, _("destination: it has the domain's emulator and machine"),
	    capabilities ? CHECK_PASS : CHECK_FAIL, capabilities ? "" : virGetLastErrorMessage());
	free(capabilities);
}

static void check_domain(struct check_report *report, virConnectPtr conn,
			 struct json_object *source)
{
	virDomainPtr dom = virDomainLookupByUUIDString(conn, json_string_or(source, "uuid", ""));
	bool active = dom && virDomainIsActive(dom) == 1;

	if (dom)
		virDomainFree(dom);
	add(report, _("destination: the domain does not run there"),
	    active ? CHECK_FAIL : CHECK_PASS, active ? _("it does; end it there first") : "");
}

/* 1: it is there, 0: it is not, -1: who knows? */
static int find_image(virConnectPtr conn, struct json_object *disk)
{
	const char *pool_name = json_string_or(disk, "pool", NULL);
	virStorageVolPtr volume = NULL;
	virStoragePoolPtr pool;
	int found = -1;

	if (pool_name) {
		pool = virStoragePoolLookupByName(conn, pool_name);
		if (!pool)
			return 0;
		volume = virStorageVolLookupByName(pool, json_string_or(disk, "volume", ""));
		found = virStoragePoolIsActive(pool) == 1 && !volume ? 0 : -1;
		virStoragePoolFree(pool);
	} else {
		volume = virStorageVolLookupByPath(conn, json_string_or(disk, "path", ""));
	}
	if (!volume)
		return found;
	virStorageVolFree(volume);
	return 1;
}

static void check_images(struct check_report *report, virConnectPtr conn,
			 struct json_object *source)
{
	struct json_object *disks = json_child(source, "disks", json_type_array);
	size_t i;

	for (i = 0; disks && i < json_object_array_length(disks); i++) {
		struct json_object *disk = json_object_array_get_idx(disks, i);
		const char *path = json_string_or(disk, "path", "");
		int found = find_image(conn, disk);
		struct check check = {};
		char what[128];

		snprintf(what, sizeof(what), _("destination: it has the image of %s"),
			 json_string_or(disk, "target", ""));
		check.what = what;
		if (found == 0)
			check_result_about(&check, CHECK_FAIL, _("the volume of %s is not there"),
					   path);
		else if (found < 0)
			check_result_about(&check, CHECK_WARN,
					   _("%s is in no storage pool there, so it cannot be seen "
					     "from here"),
					   path);
		check_report_add(report, &check);
	}
}

static void add_destination(struct check_report *report, const char *uri,
			    struct json_object *source)
{
	virConnectPtr conn;

	virSetErrorFunc(NULL, ignore_error);
	conn = virConnectOpenAuth(uri, virConnectAuthPtrDefault, 0);
	add(report, _("destination: its libvirt answers"), conn ? CHECK_PASS : CHECK_FAIL,
	    conn ? "" : virGetLastErrorMessage());
	if (!conn)
		return;
	check_host(report, conn, source);
	check_versions(report, conn);
	check_machine(report, conn, source);
	check_domain(report, conn, source);
	check_images(report, conn, source);
	add(report, _("destination: virtnvmed runs there"), CHECK_WARN,
	    _("libvirt does not show it; run there: virt-nvme host-validate"));
	virConnectClose(conn);
}

static int run(int argc, char **argv)
{
	_cleanup_json_ struct json_object *result = NULL;
	struct json_object *arguments;
	struct check_report report;
	struct error *err = NULL;
	int first, code;

	if (!cli_parse(&program, argc, argv, &first, &code))
		return code;
	arguments = json_object_new_object();
	json_add_string(arguments, "domain", argv[first]);
	if (client_call("migrate-check", arguments, CLIENT_TIMEOUT_MS, &result, &err) < 0)
		return cli_fail(err);
	check_report_begin(&report, as_json);
	add_source(&report, result);
	if (argv[first + 1])
		add_destination(&report, argv[first + 1], result);
	return check_report_end(&report);
}

const struct cli_command cli_migrate_check = { "migrate-check", run, &program };
