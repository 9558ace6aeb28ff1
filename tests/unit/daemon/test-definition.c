// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "daemon/definition.h"
#include "tests/unit/test.h"

/* A libvirt that has one definition. */
struct fake {
	char *xml;
	unsigned reads, defines;
	const char *changed_after_first_read; /* by somebody else */
};

static char *fake_read(void *opaque, struct error **errp)
{
	struct fake *fake = opaque;
	char *xml = strdup(fake->xml);

	if (fake->reads++ == 0 && fake->changed_after_first_read) {
		free(fake->xml);
		fake->xml = strdup(fake->changed_after_first_read);
	}
	return xml;
}

static int fake_define(void *opaque, const char *xml, struct error **errp)
{
	struct fake *fake = opaque;

	fake->defines++;
	free(fake->xml);
	fake->xml = strdup(xml);
	return 0;
}

#define HEAD                                                                                       \
	"<domain type='kvm'><name>x</name><uuid>11111111-2222-3333-4444-555555555555</uuid>"       \
	"<memory unit='MiB'>64</memory><vcpu>1</vcpu>"
#define OS "<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>"
#define OURS                                                                                       \
	HEAD "<metadata><nvme:devices xmlns:nvme='urn:virtnvme:domain:1'><nvme:controller "        \
	     "index='0'>"                                                                          \
	     "<nvme:disk type='file'><nvme:source file='/nowhere/a.raw'/>"                         \
	     "<nvme:target dev='nvme0n1' bus='nvme'/></nvme:disk></nvme:controller>"               \
	     "</nvme:devices></metadata>" OS

static void defines_once_and_then_never_again(void **state)
{
	struct fake fake = { .xml = strdup(OURS) };
	struct definition_access access = { fake_read, fake_define, &fake };
	unsigned i;

	for (i = 0; i < 5; i++) {
		_cleanup_metadata_ struct metadata *metadata = NULL;

		/* Its own event brings it back here. */
		assert_int_equal(definition_settle(&access, &metadata, NULL), i == 0);
		assert_non_null(metadata);
		assert_int_equal(fake.defines, 1);
	}
	assert_non_null(strstr(fake.xml, "virtnvme-nvme0"));
	free(fake.xml);
}

static void leaves_a_definition_that_changed_meanwhile(void **state)
{
	struct fake fake = { .xml = strdup(OURS), .changed_after_first_read = HEAD OS };
	struct definition_access access = { fake_read, fake_define, &fake };
	_cleanup_metadata_ struct metadata *metadata = NULL;
	_cleanup_error_ struct error *err = NULL;

	assert_int_equal(definition_settle(&access, &metadata, &err), -EAGAIN);
	assert_int_equal(fake.defines, 0);
	assert_string_equal(fake.xml, HEAD OS);
	free(fake.xml);
}

static void leaves_other_domains_alone(void **state)
{
	struct fake fake = { .xml = strdup(HEAD OS) };
	struct definition_access access = { fake_read, fake_define, &fake };
	struct metadata *metadata;

	assert_int_equal(definition_settle(&access, &metadata, NULL), 0);
	assert_null(metadata);
	assert_int_equal(fake.defines, 0);
	free(fake.xml);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(defines_once_and_then_never_again),
		cmocka_unit_test(leaves_a_definition_that_changed_meanwhile),
		cmocka_unit_test(leaves_other_domains_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
