// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>

#include "qmp/device.h"
#include "qmp/object.h"
#include "tests/unit/test.h"

/* A monitor with prepared answers; what it was asked is kept. */
struct canned {
	const char *answers[4];
	unsigned asked;
	char commands[4][512];
};

static int canned_execute(void *opaque, const char *command, char **ret_answer, struct error **errp)
{
	struct canned *canned = opaque;
	const char *answer = canned->answers[canned->asked];

	assert_true(canned->asked < ARRAY_SIZE(canned->answers));
	snprintf(canned->commands[canned->asked++], sizeof(canned->commands[0]), "%s", command);
	if (!answer)
		return error_set(errp, EIO, "monitor gone");
	*ret_answer = strdup(answer);
	return 0;
}

#define MONITOR(...)                                                                               \
	struct canned canned = { .answers = { __VA_ARGS__ } };                                     \
	struct qmp_transport qmp = { canned_execute, &canned }

#define VERSION_11_1_3                                                                             \
	"{\"return\":{\"qemu\":{\"micro\":3,\"minor\":1,\"major\":11},\"package\":\"Debian\"}}"
#define NOTHING "{\"return\":{},\"id\":\"libvirt-7\"}"

static void reports_qemus_own_sentence(void **state)
{
	MONITOR("{\"error\":{\"class\":\"GenericError\",\"desc\":\"Bus 'x' not found\"}}");
	_cleanup_error_ struct error *err = NULL;

	assert_int_equal(qmp_execute(&qmp, "device_add", NULL, NULL, &err), -EREMOTEIO);
	assert_non_null(strstr(error_message(err), "Bus 'x' not found"));
}

static void refuses_answers_without_sense(void **state)
{
	static const char *const wrong[] = { "", "[]", "{}", "{\"return\":", "7", "{\"a\":1}" };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(qmp_parse_answer(wrong[i], NULL, NULL), -EPROTO);
}

static void sends_arguments(void **state)
{
	MONITOR(NOTHING);
	struct json_object *arguments = json_object_new_object();

	json_add_string(arguments, "id", "x\"y");
	assert_int_equal(qmp_execute(&qmp, "device_add", arguments, NULL, NULL), 0);
	assert_string_equal(canned.commands[0],
			    "{\"execute\":\"device_add\",\"arguments\":{\"id\":\"x\\\"y\"}}");
}

static void passes_on_a_lost_monitor(void **state)
{
	MONITOR(NULL);
	struct qmp_version version;

	assert_int_equal(qmp_query_version(&qmp, &version, NULL), -EIO);
}

static void never_unplugs_from_a_qemu_with_the_bug(void **state)
{
	MONITOR(VERSION_11_1_3, NOTHING);
	_cleanup_error_ struct error *err = NULL;

	assert_int_equal(qmp_device_del_vfio_user(&qmp, "virtnvme-nvme0", &err), -EOPNOTSUPP);
	assert_int_equal(canned.asked, 1);
	assert_non_null(strstr(error_message(err), "11.1.3"));
}

static void finds_devices_on_the_buses(void **state)
{
	MONITOR("{\"return\":[{\"bus\":0,\"devices\":["
		"{\"bus\":0,\"slot\":30,\"function\":0,\"qdev_id\":\"virtnvme-port0\",\"pci_"
		"bridge\":"
		"{\"bus\":{},\"devices\":[{\"bus\":4,\"slot\":0,\"function\":0,"
		"\"qdev_id\":\"virtnvme-nvme0\"}]}},"
		"{\"bus\":0,\"slot\":30,\"function\":1,\"qdev_id\":\"virtnvme-port1\",\"pci_"
		"bridge\":"
		"{\"bus\":{}}}]}]}");
	_cleanup_json_ struct json_object *pci = NULL;
	struct qmp_pci_address address;

	assert_int_equal(qmp_query_pci(&qmp, &pci, NULL), 0);
	assert_int_equal(qmp_pci_find(pci, "virtnvme-nvme0", &address), 0);
	assert_int_equal(address.bus, 4);
	assert_string_equal(address.bridge, "virtnvme-port0");
	assert_int_equal(qmp_pci_find(pci, "virtnvme-nvme1", &address), -ENOENT);
}

static void memory_is_shared_only_when_all_of_it_is(void **state)
{
	MONITOR("{\"return\":[{\"id\":\"pc.ram\",\"share\":true}]}",
		"{\"return\":[{\"id\":\"a\",\"share\":true},{\"id\":\"b\",\"share\":false}]}",
		"{\"return\":[]}");

	assert_int_equal(qmp_memory_is_shared(&qmp, NULL), 1);
	assert_int_equal(qmp_memory_is_shared(&qmp, NULL), 0);
	assert_int_equal(qmp_memory_is_shared(&qmp, NULL), 0);
}

static void knows_objects_by_name(void **state)
{
	MONITOR("{\"return\":[{\"name\":\"type\",\"type\":\"string\"},"
		"{\"name\":\"virtnvme-vmstate\",\"type\":\"child<dbus-vmstate>\"}]}",
		"{\"return\":[]}");

	assert_int_equal(qmp_object_exists(&qmp, "virtnvme-vmstate", NULL), 1);
	assert_int_equal(qmp_object_exists(&qmp, "virtnvme-vmstate", NULL), 0);
}

static void knows_character_devices_by_label(void **state)
{
	MONITOR("{\"return\":[{\"frontend-open\":true,\"filename\":\"unix:/x\",\"label\":"
		"\"virtnvme-qmp\"}]}",
		"{\"return\":[{\"filename\":\"virtnvme-qmp\",\"label\":\"charserial0\"}]}",
		"{\"return\":{}}");

	assert_int_equal(qmp_chardev_exists(&qmp, "virtnvme-qmp", NULL), 1);
	assert_int_equal(qmp_chardev_exists(&qmp, "virtnvme-qmp", NULL), 0);
	assert_int_equal(qmp_chardev_exists(&qmp, "virtnvme-qmp", NULL), -EPROTO);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(reports_qemus_own_sentence),
		cmocka_unit_test(refuses_answers_without_sense),
		cmocka_unit_test(sends_arguments),
		cmocka_unit_test(passes_on_a_lost_monitor),
		cmocka_unit_test(never_unplugs_from_a_qemu_with_the_bug),
		cmocka_unit_test(finds_devices_on_the_buses),
		cmocka_unit_test(memory_is_shared_only_when_all_of_it_is),
		cmocka_unit_test(knows_objects_by_name),
		cmocka_unit_test(knows_character_devices_by_label),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
