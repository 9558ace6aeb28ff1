// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>

#include "daemon/keeper-config.h"
#include "daemon/keeper-status.h"
#include "tests/unit/test.h"

#define UUID "11111111-2222-3333-4444-555555555555"

static struct metadata *parse(const char *controllers)
{
	_cleanup_free_ char *text = NULL;
	struct metadata *metadata = NULL;

	assert_true(asprintf(&text,
			     "<nvme:devices xmlns:nvme='urn:virtnvme:domain:1'>%s</nvme:devices>",
			     controllers) > 0);
	assert_int_equal(metadata_parse(text, strlen(text), &metadata, NULL), 0);
	return metadata;
}

static void turns_metadata_into_a_configuration(void **state)
{
	_cleanup_metadata_ struct metadata *metadata =
		parse("<nvme:controller index='1' queues='2' "
		      "doorbells='trapped'><nvme:serial>S1</nvme:serial>"
		      "<nvme:disk type='file'>"
		      "<nvme:driver name='virtnvme' type='raw' cache='writeback' io='threads' "
		      "discard='unmap' error_policy='stop'/>"
		      "<nvme:source file='/nowhere/a.raw'/><nvme:target dev='nvme1n3' bus='nvme'/>"
		      "<nvme:blockio logical_block_size='4096'/>"
		      "<nvme:capacity unit='MiB'>1</nvme:capacity>"
		      "<nvme:iotune><nvme:read_iops_sec>70</nvme:read_iops_sec>"
		      "<nvme:read_iops_sec_max>80</nvme:read_iops_sec_max></nvme:iotune>"
		      "<nvme:wwn>00A1b2c3d4e5f607</nvme:wwn></nvme:disk>"
		      "<nvme:disk type='memory'><nvme:target dev='nvme1n4' bus='nvme'/>"
		      "<nvme:capacity unit='MiB'>2</nvme:capacity></nvme:disk></nvme:controller>");
	struct keeper_config_domain domain = { .uuid = UUID, .name = "x", .uid = 5, .gid = 6 };
	_cleanup_json_ struct json_object *config = NULL;
	struct json_object *controller, *disk, *iotune;
	struct source_list sources = {};

	config = keeper_config(&domain, metadata, &sources, NULL);
	assert_non_null(config);
	assert_string_equal(json_string_or(config, "peer_pidfile", ""), "/run/libvirt/qemu/x.pid");
	assert_string_equal(json_string_or(config, "runtime_dir", ""),
			    VIRTNVME_RUNTIME_DIR "/" UUID);
	assert_int_equal(json_u64_or(json_child(config, "owner", json_type_object), "uid", 0), 5);

	controller = keeper_status_controller(config, 1);
	assert_string_equal(json_string_or(controller, "serial", ""), "S1");
	assert_int_equal(json_u64_or(controller, "queues", 0), 2);
	assert_string_equal(json_string_or(controller, "doorbells", ""), "trapped");
	disk = keeper_status_namespace(controller, 3);
	assert_string_equal(json_string_or(disk, "target", ""), "nvme1n3");
	assert_string_equal(json_string_or(disk, "type", ""), "file");
	assert_string_equal(json_string_or(disk, "path", ""), "/nowhere/a.raw");
	assert_string_equal(json_string_or(disk, "cache", ""), "writeback");
	assert_string_equal(json_string_or(disk, "io", ""), "threads");
	assert_true(json_bool_or(disk, "discard", false));
	assert_string_equal(json_string_or(disk, "error_policy", ""), "stop");
	assert_int_equal(json_u64_or(disk, "block_size", 0), 4096);
	assert_int_equal(json_u64_or(disk, "capacity", 0), MiB);
	assert_int_equal(strlen(json_string_or(disk, "nguid", "")), 36);
	assert_string_equal(json_string_or(disk, "eui64", ""), "00a1b2c3d4e5f607");
	iotune = json_child(disk, "iotune", json_type_object);
	assert_int_equal(json_object_object_length(iotune), 2);
	assert_int_equal(json_u64_or(iotune, "read_iops_sec", 0), 70);
	assert_int_equal(json_u64_or(iotune, "read_iops_sec_max", 0), 80);
	disk = keeper_status_namespace(controller, 4);
	assert_string_equal(json_string_or(disk, "type", ""), "memory");
	assert_string_equal(json_string_or(disk, "error_policy", ""), "report");
	assert_int_equal(json_u64_or(disk, "bytes", 0), 2 * MiB);
	assert_null(json_string_or(disk, "eui64", NULL));

	assert_int_equal(sources.count, 1);
	assert_true(sources.items[0].writable);
	source_list_clear(&sources);
}

#define PATH_TO_A(index, subsystem)                                                                \
	"<nvme:controller index='" index "' subsystem='" subsystem "'><nvme:serial>S" subsystem    \
	"</nvme:serial>"                                                                           \
	"<nvme:disk type='file'><nvme:driver name='virtnvme' type='raw'/>"                         \
	"<nvme:source file='/nowhere/a.raw'/>"                                                     \
	"<nvme:target dev='nvme" index "n1' bus='nvme'/><nvme:shareable/></nvme:disk>"             \
	"</nvme:controller>"

/* 2 is of another subsystem, where the number is another disk's. */
static void knows_another_path_with_another_source(void **state)
{
	_cleanup_metadata_ struct metadata *wish =
		parse(PATH_TO_A("0", "5") PATH_TO_A("1", "5") PATH_TO_A("2", "6"));
	_cleanup_json_ struct json_object *status = json_tokener_parse(
		"{\"controllers\": [{\"index\": 0, \"namespaces\": []},"
		"{\"index\": 1, \"namespaces\": [{\"nsid\": 1, \"source\": \"/nowhere/old.raw\"}]},"
		"{\"index\": 2, \"namespaces\": [{\"nsid\": 1, \"source\": "
		"\"/nowhere/b.raw\"}]}]}");
	const struct metadata_controller *all = wish->controllers;

	assert_non_null(status);
	assert_ptr_equal(keeper_status_other_source(status, wish, &all[0], 1, "/nowhere/a.raw"),
			 &all[1]);
	assert_null(keeper_status_other_source(status, wish, &all[0], 1, "/nowhere/old.raw"));
	assert_null(keeper_status_other_source(status, wish, &all[0], 2, "/nowhere/a.raw"));
	assert_null(keeper_status_other_source(status, wish, &all[1], 1, "/nowhere/a.raw"));
	assert_null(keeper_status_other_source(status, wish, &all[2], 1, "/nowhere/a.raw"));
}

static void leaves_out_a_disk_that_failed(void **state)
{
	_cleanup_metadata_ struct metadata *metadata =
		parse("<nvme:controller index='0'><nvme:disk type='file'>"
		      "<nvme:source file='/nowhere/a.raw'/>"
		      "<nvme:target dev='nvme0n1' bus='nvme'/></nvme:disk></nvme:controller>");
	struct keeper_config_domain domain = { .uuid = UUID, .name = "x" };
	_cleanup_json_ struct json_object *config = NULL;

	metadata->controllers[0].disks[0].state = METADATA_STATE_FAILED;
	config = keeper_config(&domain, metadata, NULL, NULL);
	assert_int_equal(keeper_status_namespace_count(keeper_status_controller(config, 0)), 0);
}

/* The most threads that a controller wants, and pins as the keeper takes them. */
static void threads_and_pins(void **state)
{
	_cleanup_metadata_ struct metadata *metadata =
		parse("<nvme:controller index='0' iothreads='3'/>"
		      "<nvme:controller index='1' iothreads='2'/>"
		      "<nvme:cputune><nvme:iothreadpin iothread='2' cpuset='4,5'/></nvme:cputune>");
	struct keeper_config_domain domain = { .uuid = UUID, .name = "x" };
	_cleanup_json_ struct json_object *config = keeper_config(&domain, metadata, NULL, NULL);

	assert_int_equal(json_u64_or(config, "io_threads", 0), 3);
	assert_string_equal(json_text(json_child(config, "iothreadpin", json_type_array)),
			    "[{\"iothread\":2,\"cpuset\":\"4-5\"}]");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(turns_metadata_into_a_configuration),
		cmocka_unit_test(threads_and_pins),
		cmocka_unit_test(leaves_out_a_disk_that_failed),
		cmocka_unit_test(knows_another_path_with_another_source),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
