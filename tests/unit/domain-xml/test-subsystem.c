// SPDX-License-Identifier: LGPL-2.1-or-later
/* Controllers of one subsystem: what their disks must have in common, and what ids they have. */
#include <errno.h>
#include <stdio.h>

#include "domain-xml/identity.h"
#include "tests/unit/test.h"

#define DOMAIN	      "5f0a2d9e-7c1b-4d57-9a46-0c2f6a3b1e10"

#define PATH(n, more) "<disk type='file'><source file='/a'/><target dev='" n "'/>" more "</disk>"
#define SHARED(n)     PATH(n, "<shareable/>")
#define CONTROLLER(n, subsystem, disks)                                                            \
	"<controller index='" n "' " subsystem ">" disks "</controller>"
#define TWO(disks0, disks1)                                                                        \
	"<devices>" CONTROLLER("0", "subsystem='0'", disks0)                                       \
		CONTROLLER("1", "subsystem='0'", disks1) "</devices>"

static struct metadata *parse(const char *text)
{
	_cleanup_error_ struct error *err = NULL;
	struct metadata *metadata = NULL;

	if (metadata_parse(text, strlen(text), &metadata, &err) < 0)
		fail_msg("%s: %s", text, error_message(err));
	return metadata;
}

static void is_read_and_written(void **state)
{
	_cleanup_metadata_ struct metadata *metadata = parse(TWO(SHARED("nvme0n1"), ""));
	_cleanup_metadata_ struct metadata *copy = metadata_copy(metadata);
	_cleanup_free_ char *text = metadata_format(copy, NULL);
	_cleanup_metadata_ struct metadata *again = parse(text);
	_cleanup_metadata_ struct metadata *alone =
		parse("<devices>" CONTROLLER("0", "", "") CONTROLLER("1", "", "") "</devices>");

	assert_true(again->controllers[0].has_subsystem);
	assert_int_equal(again->controllers[0].subsystem, 0);
	assert_true(metadata_same_subsystem(&again->controllers[0], &again->controllers[1]));
	assert_false(metadata_same_subsystem(&alone->controllers[0], &alone->controllers[1]));
	again->controllers[1].subsystem = 1;
	assert_false(metadata_same_subsystem(&again->controllers[0], &again->controllers[1]));
}

static void paths_are_accepted(void **state)
{
	/* What concerns a path alone may differ. */
	metadata_free(parse(
		TWO(PATH("nvme0n1", "<shareable/><boot order='1'/>"),
		    PATH("nvme1n1", "<shareable/><boot order='2'/><driver error_policy='stop'/>"
				    "<iotune><read_iops_sec>9</read_iops_sec></iotune>"))));
	/* A private one has a number of its own. */
	metadata_free(parse(TWO(SHARED("nvme0n1"),
				SHARED("nvme1n1") "<disk type='file'><source file='/b'/>"
						  "<target dev='nvme1n2'/></disk>")));
	/* Another subsystem. */
	metadata_free(
		parse("<devices>" CONTROLLER("0", "subsystem='0'", SHARED("nvme0n1"))
			      CONTROLLER("1", "subsystem='1'",
					 "<disk type='memory'><target dev='nvme1n1'/>"
					 "<capacity>1048576</capacity></disk>") "</devices>"));
}

#define PATHS                                                                                      \
	"devices/controller[1]/disk[0]: its controller is of the same subsystem as that of "       \
	"nvme0n1, so both are paths to one disk and need the same "
#define OTHERWISE ": or take another number"

static const struct {
	const char *xml, *sentence;
} refusals[] = {
	{ "<devices>" CONTROLLER("0", "subsystem='16'", "") "</devices>",
	  "devices/controller[0]: subsystem=\"16\" is not a number from 0 to 15" },
	{ "<devices>" CONTROLLER("1", "subsystem='3'", "<serial>A</serial>")
		  CONTROLLER("4", "subsystem='3'", "") "</devices>",
	  "devices/controller[1]: it is of the same subsystem as controller 1 and needs the same "
	  "<serial>, or both none" },
	{ TWO(PATH("nvme0n1", "<readonly/>"), PATH("nvme1n1", "<readonly/>")),
	  PATHS "<shareable/>" OTHERWISE },
	{ TWO(SHARED("nvme0n1"), "<disk type='file'><source file='/b'/><target dev='nvme1n1'/>"
				 "<shareable/></disk>"),
	  PATHS "<source>" OTHERWISE },
	{ TWO("<disk type='memory'><target dev='nvme0n1'/><capacity>1048576</capacity>"
	      "<shareable/></disk>",
	      "<disk type='memory'><target dev='nvme1n1'/><capacity>1048576</capacity>"
	      "<shareable/></disk>"),
	  PATHS "<source>" OTHERWISE },
	{ TWO(SHARED("nvme0n1"), PATH("nvme1n1", "<shareable/><readonly/>")),
	  PATHS "<readonly/>" OTHERWISE },
	{ TWO(SHARED("nvme0n1"), PATH("nvme1n1", "<shareable/><driver cache='writeback'/>")),
	  PATHS "<driver> (cache, discard)" OTHERWISE },
	{ TWO(SHARED("nvme0n1"),
	      PATH("nvme1n1", "<shareable/><blockio logical_block_size='4096'/>")),
	  PATHS "<blockio>" OTHERWISE },
	{ TWO(SHARED("nvme0n1"), PATH("nvme1n1", "<shareable/><wwn>0123456789abcdef</wwn>")),
	  PATHS "<uuid>, <nguid>, <wwn>" OTHERWISE },
};

static void what_differs_is_refused(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		_cleanup_error_ struct error *err = NULL;
		struct metadata *metadata = NULL;

		if (metadata_parse(refusals[i].xml, strlen(refusals[i].xml), &metadata, &err) >= 0)
			fail_msg("accepted %s", refusals[i].xml);
		assert_string_equal(error_message(err), refusals[i].sentence);
	}
}

static void ids_are_of_the_subsystem(void **state)
{
	_cleanup_metadata_ struct metadata *metadata =
		parse(TWO(SHARED("nvme0n1"), SHARED("nvme1n1")));
	struct metadata_controller *a = &metadata->controllers[0], *b = &metadata->controllers[1];
	char serial_a[IDENTITY_SERIAL_SIZE], serial_b[IDENTITY_SERIAL_SIZE], text[37];
	uint8_t uuid[2][16], nguid[2][16];

	assert_int_equal(identity_controller_serial(DOMAIN, a, serial_a), 0);
	assert_int_equal(identity_controller_serial(DOMAIN, b, serial_b), 0);
	assert_string_equal(serial_a, serial_b);
	assert_int_equal(identity_disk_ids(DOMAIN, a, &a->disks[0], uuid[0], nguid[0]), 0);
	assert_int_equal(identity_disk_ids(DOMAIN, b, &b->disks[0], uuid[1], nguid[1]), 0);
	assert_memory_equal(uuid[0], uuid[1], 16);
	assert_memory_equal(nguid[0], nguid[1], 16);
	/* ABI, as all of them. */
	assert_int_equal(identity_subsystem_uuid(DOMAIN, b, uuid[0]), 0);
	identity_format_uuid(uuid[0], text);
	assert_string_equal(text, "76a1b35c-d7f7-59da-8b6f-5325f345eacf");
	assert_int_equal(identity_subsystem_uuid("no uuid", b, uuid[0]), -EINVAL);

	a->has_subsystem = false;
	assert_int_equal(identity_disk_ids(DOMAIN, a, &a->disks[0], uuid[0], nguid[0]), 0);
	assert_memory_not_equal(uuid[0], uuid[1], 16);
	assert_int_equal(identity_subsystem_uuid(DOMAIN, a, uuid[0]), 0);
	assert_int_equal(identity_controller_uuid(DOMAIN, 0, uuid[1]), 0);
	assert_memory_equal(uuid[0], uuid[1], 16);
}

/* The next disk of a controller that is still in the guest is its subsystem's. */
static void a_parked_one_keeps_it(void **state)
{
	_cleanup_metadata_ struct metadata *before =
		parse("<devices><controller index='0' subsystem='2'><live bus='pci.1' addr='0x0'/>"
		      "</controller></devices>");
	_cleanup_metadata_ struct metadata *wish = parse("<devices></devices>");

	assert_int_equal(metadata_carry_live(wish, before), 0);
	assert_true(wish->controllers[0].has_subsystem);
	assert_int_equal(wish->controllers[0].subsystem, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_read_and_written),
		cmocka_unit_test(paths_are_accepted),
		cmocka_unit_test(what_differs_is_refused),
		cmocka_unit_test(ids_are_of_the_subsystem),
		cmocka_unit_test(a_parked_one_keeps_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
