// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>

#include "domain-xml/attach.h"
#include "domain-xml/domain.h"
#include "domain-xml/rewrite.h"
#include "domain-xml/validate.h"
#include "tests/unit/test.h"

/* What golden files cannot show: refusals, facts, the check and plans for running domains. */

#define UUID	   "5f0a2d9e-7c1b-4d57-9a46-0c2f6a3b1e10"
#define OTHER_UUID "11111111-2222-4333-8444-555555555555"
#define NVME(inner)                                                                                \
	"<metadata><nvme:devices xmlns:nvme='urn:virtnvme:domain:1'>" inner                        \
	"</nvme:devices></metadata>"
#define DISK(number, body)                                                                         \
	"<nvme:controller index='" number "'><nvme:disk type='file'>"                              \
	"<nvme:source file='/srv/" number "'/><nvme:target dev='nvme" number "n1'/>" body          \
	"</nvme:disk></nvme:controller>"
#define DOMAIN(metadata, os, rest)                                                                 \
	"<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"              \
	"<name>d</name><uuid>" UUID "</uuid>" metadata "<memory>1048576</memory>" os rest          \
	"</domain>"
#define Q35    "<os><type arch='x86_64' machine='pc-q35-9.2'>hvm</type></os>"
#define PC     "<os><type arch='x86_64' machine='pc-i440fx-9.2'>hvm</type></os>"
#define SHARED "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"

static char *rewrite(const char *xml, const struct rewrite_options *options)
{
	_cleanup_error_ struct error *err = NULL;
	char *out = NULL;

	if (domain_xml_rewrite(xml, strlen(xml), options, &out, NULL, &err) < 0)
		fail_msg("%s", error_message(err));
	return out;
}

static enum domain_xml_block check(const char *xml, struct domain_xml_check *ret)
{
	_cleanup_error_ struct error *err = NULL;

	if (domain_xml_check_block(xml, strlen(xml), NULL, ret, &err) < 0)
		fail_msg("%s", error_message(err));
	free(ret->detail);
	ret->detail = NULL;
	return ret->block;
}

/* In a copy of @text every @from becomes @to. */
static char *replace(const char *text, const char *from, const char *to)
{
	char *out = NULL;
	const char *hit;
	size_t size;
	FILE *stream = open_memstream(&out, &size);

	while ((hit = strstr(text, from))) {
		fprintf(stream, "%.*s%s", (int)(hit - text), text, to);
		text = hit + strlen(from);
	}
	fputs(text, stream);
	fclose(stream);
	return out;
}

static const struct {
	const char *xml;
	const char *sentence;
} refusals[] = {
	{ "<devices/>", "devices: this is not the XML of a domain" },
	{ "<domain>", "XML: line 1: Premature end of data in tag domain line 1" },
	{ "<!DOCTYPE d [<!ENTITY a 'aa'><!ENTITY b '&a;&a;'>]><domain>&b;</domain>",
	  "XML: a document type declaration is not accepted" },
	{ "<domain><name>d</name>" NVME(DISK("0", "")) Q35 "</domain>",
	  "domain: <uuid> is missing: add one (uuidgen), or define the domain first" },
	{ "<domain><uuid>x</uuid>" NVME(DISK("0", "")) Q35 "</domain>",
	  "domain/uuid: this is not a UUID" },
	{ DOMAIN(NVME("<nvme:disk/>"), Q35, ""), "devices/disk[0]: unknown element" },
	{ DOMAIN("<metadata><n:device xmlns:n='urn:virtnvme:domain:1'/></metadata>", Q35, ""),
	  "domain/metadata/device: unknown element: use <devices>" },
	{ DOMAIN("<metadata><n:devices xmlns:n='urn:virtnvme:domain:1'/>"
		 "<n:devices xmlns:n='urn:virtnvme:domain:1'/></metadata>",
		 Q35, ""),
	  "devices: given more than once" },
	{ DOMAIN(NVME(DISK("0", "")), "<os><type machine='microvm'>hvm</type></os>", ""),
	  "domain/os/type: a machine of this type has no place for NVMe controllers: use q35 or pc "
	  "on x86_64" },
	{ DOMAIN(NVME(DISK("0", "")), "<os><type arch='aarch64' machine='virt'>hvm</type></os>",
		 ""),
	  "domain/os/type: a machine of this type has no place for NVMe controllers: use q35 or pc "
	  "on x86_64" },
	{ DOMAIN(NVME(DISK("0", "")), Q35,
		 "<devices><memory model='nvdimm' access='private'/></devices>"),
	  "domain/devices/memory: access=\"private\" keeps the NVMe controllers out of this "
	  "memory: "
	  "make it \"shared\"" },
	{ DOMAIN(NVME(DISK("0", "")), Q35,
		 "<qemu:commandline><qemu:arg value='-object'/>"
		 "<qemu:arg value='dbus-vmstate,id=x,addr=unix:path=/x'/></qemu:commandline>"),
	  "domain/commandline: QEMU takes one dbus-vmstate object only, and virtnvme needs it: "
	  "remove "
	  "yours" },
	{ DOMAIN(NVME(DISK("0", "<nvme:boot order='1'/>")), Q35,
		 "<devices><disk><target dev='vda'/><boot order='1'/></disk></devices>"),
	  "domain/devices/disk[0]/boot: the boot order 1 is that of nvme0n1, too: give one of them "
	  "another" },
	{ DOMAIN(NVME(DISK("0", "<nvme:boot order='3'/>")), Q35,
		 "<qemu:commandline><qemu:arg value='-device'/>"
		 "<qemu:arg value='virtio-net-pci,bootindex=3'/></qemu:commandline>"),
	  "domain/commandline/arg[1]: bootindex 3 is the boot order of nvme0n1, too: give one of "
	  "them "
	  "another" },
};

static void refuses_with_a_sentence(void **state)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(refusals); i++) {
		_cleanup_error_ struct error *err = NULL;
		char *out = NULL;

		if (domain_xml_rewrite(refusals[i].xml, strlen(refusals[i].xml), NULL, &out, NULL,
				       &err) >= 0)
			fail_msg("accepted %s", refusals[i].xml);
		assert_string_equal(error_message(err), refusals[i].sentence);
		assert_null(out);
	}
}

static void slirp_is_refused_where_the_helper_is(void **state)
{
	static const char xml[] =
		DOMAIN(NVME(DISK("0", "")), Q35, "<devices><interface type='user'/></devices>");
	static const char passt[] = DOMAIN(
		NVME(DISK("0", "")), Q35,
		"<devices><interface type='user'><backend type='passt'/></interface></devices>");
	const struct rewrite_options options = { .has_slirp_helper = true };
	_cleanup_error_ struct error *err = NULL;
	char *out = NULL;

	free(rewrite(xml, NULL));
	free(rewrite(passt, &options));
	assert_int_equal(domain_xml_rewrite(xml, strlen(xml), &options, &out, NULL, &err), -EINVAL);
	assert_non_null(strstr(error_message(err), "passt"));
}

static void too_long_is_refused(void **state)
{
	_cleanup_free_ char *text = malloc(METADATA_MAX_XML + 1);
	char *out;

	memset(text, ' ', METADATA_MAX_XML + 1);
	assert_int_equal(domain_xml_rewrite(text, METADATA_MAX_XML + 1, NULL, &out, NULL, NULL),
			 -E2BIG);
}

static void full_buses_are_refused(void **state)
{
	_cleanup_error_ struct error *err = NULL;
	_cleanup_free_ char *xml = NULL;
	char *out = NULL;
	size_t size;
	FILE *stream = open_memstream(&xml, &size);
	int i;

	fprintf(stream, "<domain><name>d</name><uuid>%s</uuid>%s%s<devices>", UUID,
		NVME(DISK("0", "")), PC);
	for (i = 1; i < 32; i++)
		fprintf(stream, "<x><address type='pci' slot='0x%02x'/></x>", i);
	fprintf(stream, "</devices></domain>");
	fclose(stream);
	assert_int_equal(domain_xml_rewrite(xml, strlen(xml), NULL, &out, NULL, &err), -ENOSPC);
	assert_string_equal(error_message(err),
			    "no slot of pci.0 is free for an NVMe controller: remove a device");
}

static void a_given_uuid_is_added(void **state)
{
	static const char xml[] = "<domain><name>d</name>" NVME(DISK("0", "")) Q35 "</domain>";
	const struct rewrite_options options = { .uuid = OTHER_UUID };
	_cleanup_free_ char *out = rewrite(xml, &options);

	assert_non_null(strstr(out, "<uuid>" OTHER_UUID "</uuid>"));
	assert_non_null(strstr(out, "/run/virtnvme/" OTHER_UUID "/nvme0.sock"));
}

static void a_given_uuid_is_one(void **state)
{
	static const char *const xmls[] = {
		"<domain><name>d</name>" NVME(DISK("0", "")) Q35 "</domain>",
		DOMAIN(NVME(DISK("0", "")), Q35, ""),
	};
	const struct rewrite_options options = { .uuid = "zzz" };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(xmls); i++) {
		_cleanup_error_ struct error *err = NULL;
		char *out = NULL;

		assert_int_equal(domain_xml_rewrite(xmls[i], strlen(xmls[i]), &options, &out, NULL,
						    &err),
				 -EINVAL);
		assert_string_equal(error_message(err), "\"zzz\" is not a UUID");
	}
}

static void any_uuid_spelling_is_one_path(void **state)
{
	static const char xml[] =
		"<domain><name>d</name><uuid>5F0A2D9E7C1B4D579A460C2F6A3B1E10</uuid>" NVME(
			DISK("0", "")) Q35 "</domain>";
	_cleanup_free_ char *out = rewrite(xml, NULL);

	assert_non_null(strstr(out, "/run/virtnvme/" UUID "/nvme0.sock"));
}

static void the_document_keeps_its_form(void **state)
{
	static const char xml[] =
		"<?xml version='1.0' encoding='UTF-8'?>\n<!-- caf\xc3\xa9 -->\n" DOMAIN(
			NVME(DISK("0", "")), Q35,
			"<description>a &lt; b\xe2\x80\xa6</description>");
	_cleanup_free_ char *out = rewrite(xml, NULL);

	assert_true(string_has_prefix(out, "<?xml"));
	assert_non_null(strstr(out, "<!-- caf\xc3\xa9 -->"));
	assert_non_null(strstr(out, "<description>a &lt; b\xe2\x80\xa6</description>"));
}

static void many_controllers_fill_several_slots(void **state)
{
	_cleanup_free_ char *xml = NULL, *out = NULL, *again = NULL;
	size_t size;
	FILE *stream = open_memstream(&xml, &size);
	int i;

	fprintf(stream,
		"<domain><name>d</name><uuid>%s</uuid><metadata>"
		"<nvme:devices xmlns:nvme='urn:virtnvme:domain:1'>",
		UUID);
	for (i = 0; i < METADATA_MAX_CONTROLLERS; i++)
		fprintf(stream, "<nvme:controller index='%d'/>", i);
	fprintf(stream, "</nvme:devices></metadata>%s</domain>", Q35);
	fclose(stream);
	out = rewrite(xml, NULL);
	assert_non_null(strstr(out, "virtnvme-port17"));
	assert_null(strstr(out, "virtnvme-port18"));
	assert_non_null(strstr(out, "&quot;addr&quot;:&quot;0x1c.0x7&quot;"));
	assert_non_null(strstr(out, "&quot;addr&quot;:&quot;0x19&quot;,&quot;multifunction"));
	assert_non_null(strstr(out, "&quot;addr&quot;:&quot;0x18.0x1&quot;"));
	again = rewrite(out, NULL);
	assert_string_equal(out, again);
}

static void the_check_tells_what_is_wrong(void **state)
{
	static const char plain[] = DOMAIN("", Q35, "");
	static const char absent[] = DOMAIN(NVME(DISK("0", "")), Q35, SHARED);
	_cleanup_free_ char *good = rewrite(absent, NULL);
	_cleanup_free_ char *clone = replace(good, "<uuid>" UUID, "<uuid>" OTHER_UUID);
	_cleanup_free_ char *stale = replace(good, "0x1c", "0x8");
	_cleanup_free_ char *moved = replace(good, "120000", "5000");
	_cleanup_free_ char *private = replace(good, "mode=\"shared\"", "mode=\"private\"");
	_cleanup_free_ char *grown =
		replace(good, "</nvme:devices>", DISK("1", "") "</nvme:devices>");
	_cleanup_free_ char *bare = replace(good, "urn:virtnvme:domain:1", "urn:other");
	struct domain_xml_check result;

	assert_int_equal(check(plain, &result), DOMAIN_XML_BLOCK_NONE);
	assert_int_equal(check(absent, &result), DOMAIN_XML_BLOCK_ABSENT);
	assert_true(result.memory_shared);
	assert_int_equal(check(good, &result), DOMAIN_XML_BLOCK_OK);
	assert_true(result.memory_shared);
	assert_int_equal(check(clone, &result), DOMAIN_XML_BLOCK_FOREIGN);
	/* Another slot is a place like any other; another time-out is not what we would write. */
	assert_int_equal(check(stale, &result), DOMAIN_XML_BLOCK_OK);
	assert_int_equal(check(moved, &result), DOMAIN_XML_BLOCK_STALE);
	assert_int_equal(check(grown, &result), DOMAIN_XML_BLOCK_STALE);
	assert_int_equal(check(private, &result), DOMAIN_XML_BLOCK_OK);
	assert_false(result.memory_shared);
	assert_int_equal(check(bare, &result), DOMAIN_XML_BLOCK_STALE);
}

static void the_check_looks_for_places(void **state)
{
#define PORT(index) "<controller type='pci' index='" index "' model='pcie-root-port'/>"
#define TAKEN(bus)  "<x><address type='pci' bus='0x0" bus "' slot='0'/></x>"
	static const struct {
		const char *xml;
		bool can_attach;
	} cases[] = {
		{ DOMAIN(NVME(DISK("0", "")), Q35, ""), false },
		{ DOMAIN(NVME(DISK("0", "")), Q35, "<devices>" PORT("1") "</devices>"), true },
		{ DOMAIN(NVME(DISK("0", "")), Q35, "<devices>" PORT("1") TAKEN("1") "</devices>"),
		  false },
		{ DOMAIN(NVME(DISK("0", "") DISK("1", "")), Q35,
			 "<devices>" PORT("1") "</devices>"),
		  false },
		{ DOMAIN(NVME(DISK("0", "") DISK("1", "")), Q35,
			 "<devices>" PORT("1") PORT("2") "</devices>"),
		  true },
		{ DOMAIN(NVME(DISK("0", "") DISK("1", "")), PC, ""), true },
	};
	struct domain_xml_check result;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(check(cases[i].xml, &result), DOMAIN_XML_BLOCK_ABSENT);
		if (result.can_attach != cases[i].can_attach)
			fail_msg("%s", cases[i].xml);
	}
}

static void what_came_from_elsewhere_is_in_order(void **state)
{
	const struct rewrite_options incoming = { .mode = REWRITE_INCOMING };
	static const char live[] =
		DOMAIN(NVME("<nvme:controller index='0'><nvme:live bus='pci.7' addr='0x0'/>"
			    "</nvme:controller>"),
		       Q35, SHARED);
	_cleanup_free_ char *out = rewrite(live, &incoming);
	struct domain_xml_check result;

	assert_int_equal(check(out, &result), DOMAIN_XML_BLOCK_OK);
}

/* So that it can be told from one that boots, whoever saved it, and when. */
static void what_comes_from_elsewhere_has_a_record(void **state)
{
	const struct rewrite_options incoming = { .mode = REWRITE_INCOMING };
	static const char before[] = DOMAIN(NVME(DISK("0", "") DISK("1", "")), Q35, SHARED);
	static const char after[] = DOMAIN(NVME(DISK("0", "")), Q35, SHARED);
	_cleanup_free_ char *config = rewrite(before, NULL);
	_cleanup_free_ char *wish = NULL, *out = NULL, *same = NULL;
	_cleanup_metadata_ struct metadata *metadata = NULL;
	const char *block = strstr(config, "<qemu:commandline");
	struct domain_xml_check result;

	assert_int_equal(metadata_parse_domain(config, strlen(config), &metadata, NULL), 0);
	assert_false(metadata_has_live(metadata));
	metadata_free(steal_pointer(metadata));
	/* Saved at once, and one of its controllers is not wished any more. */
	assert_true(asprintf(&wish, "%.*s%s", (int)(strstr(after, "</domain>") - after), after,
			     block) > 0);
	out = rewrite(wish, &incoming);
	assert_int_equal(check(out, &result), DOMAIN_XML_BLOCK_OK);
	assert_int_equal(metadata_parse_domain(out, strlen(out), &metadata, NULL), 0);
	assert_int_equal(metadata->controller_count, 2);
	assert_true(metadata_controller(metadata, 0)->live.bus[0]);
	assert_false(metadata_controller(metadata, 0)->parked);
	assert_true(metadata_controller(metadata, 1)->parked);
	same = rewrite(out, &incoming);
	assert_string_equal(same, out);
}

static void the_check_knows_who_boots(void **state)
{
	static const struct {
		const char *xml;
		bool ours;
	} cases[] = {
		{ DOMAIN(NVME(DISK("0", "<nvme:boot order='1'/>")), Q35,
			 "<devices><disk/></devices>"),
		  true },
		{ DOMAIN(NVME(DISK("0", "")), Q35, "<devices><disk/></devices>"), false },
		{ DOMAIN(NVME(DISK("0", "")), Q35, ""), true },
		{ DOMAIN(NVME(DISK("0", "")), "<os><type>hvm</type><kernel>/k</kernel></os>", ""),
		  false },
		{ DOMAIN(NVME(DISK("0", "")), "<os><type>hvm</type><boot dev='network'/></os>", ""),
		  false },
		{ DOMAIN("", Q35, ""), false },
	};
	struct domain_xml_check result;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		check(cases[i].xml, &result);
		if (result.boots_from_ours != cases[i].ours)
			fail_msg("%s", cases[i].xml);
	}
}

static void unmanage_leaves_what_was_there(void **state)
{
	static const char xml[] = "<domain type='kvm'><name>d</name><uuid>" UUID
				  "</uuid>" NVME(DISK("0", "")) Q35 "</domain>";
	_cleanup_free_ char *out = rewrite(xml, NULL);
	_cleanup_free_ char *back = NULL, *same = NULL;
	bool changed;

	assert_int_equal(domain_xml_unmanage(out, strlen(out), false, &back, &changed, NULL), 0);
	assert_true(changed);
	assert_null(strstr(back, "virtnvme"));
	assert_null(strstr(back, "memfd"));
	assert_null(strstr(back, "metadata"));
	assert_null(strstr(back, "qemu"));
	assert_int_equal(domain_xml_unmanage(back, strlen(back), false, &same, &changed, NULL), 0);
	assert_false(changed);
	assert_string_equal(back, same);
}

static void unmanage_takes_broken_metadata_away(void **state)
{
	static const char xml[] = DOMAIN(NVME("<nvme:nonsense/>"), Q35, "");
	_cleanup_free_ char *back = NULL;

	assert_int_equal(domain_xml_unmanage(xml, strlen(xml), false, &back, NULL, NULL), 0);
	assert_null(strstr(back, "nonsense"));
}

static void unmanage_keeps_shared_memory_of_the_user(void **state)
{
	static const char xml[] = DOMAIN(NVME(DISK("0", "")), Q35, SHARED);
	_cleanup_free_ char *out = rewrite(xml, NULL);
	_cleanup_free_ char *back = NULL;

	assert_int_equal(domain_xml_unmanage(out, strlen(out), false, &back, NULL, NULL), 0);
	assert_non_null(strstr(back, "type=\"memfd\""));
	assert_non_null(strstr(back, "mode=\"shared\""));
}

static void other_domains_cost_a_look(void **state)
{
	static const char plain[] = DOMAIN("", Q35, "");
	static const char ours[] = DOMAIN(NVME(""), Q35, "");

	assert_false(domain_xml_is_ours(plain, strlen(plain)));
	assert_true(domain_xml_is_ours(ours, strlen(ours)));
	assert_false(domain_xml_is_ours(ours, 20));
	assert_true(domain_xml_is_ours("\"virtnvme-vmstate\"", 18));
}

static void facts_are_read(void **state)
{
	static const char xml[] =
		"<domain type='qemu' xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'>"
		"<name> n </name><uuid>" UUID "</uuid><memory unit='GiB'>2</memory>"
		"<memoryBacking><hugepages><page size='2' unit='M'/></hugepages>"
		"<access mode='shared'/></memoryBacking><vcpu>3</vcpu>"
		"<os><type arch='x86_64' machine='ubuntu'>hvm</type></os>"
		"<cpu><numa><cell memAccess='private'/></numa></cpu>"
		"<devices><emulator>/usr/bin/q</emulator><controller type='pci' model='pcie-root'/>"
		"<disk><boot order='1'/></disk><interface type='user'/><iommu "
		"model='intel'/></devices>"
		"<seclabel type='dynamic' model='apparmor'><label>x</label></seclabel>"
		"<seclabel type='dynamic' model='dac'><label>+64055:+109</label></seclabel>"
		"<q:commandline><q:arg value='-object'/>"
		"<q:arg value='{\"qom-type\":\"dbus-vmstate\",\"id\":\"x\"}'/></q:commandline>"
		"</domain>";
	_cleanup_domain_xml_info_ struct domain_xml_info *info = NULL;
	_cleanup_domain_xml_info_ struct domain_xml_info *least = NULL;

	assert_int_equal(domain_xml_info(xml, strlen(xml), &info, NULL), 0);
	assert_string_equal(info->name, "n");
	assert_string_equal(info->uuid, UUID);
	assert_string_equal(info->type, "qemu");
	assert_int_equal(info->machine, DOMAIN_XML_Q35);
	assert_string_equal(info->emulator, "/usr/bin/q");
	assert_int_equal(info->vcpus, 3);
	assert_true(info->memory == 2 * GiB);
	assert_false(info->memory_shared);
	assert_string_equal(info->memory_why, "domain/cpu/numa/cell: memAccess=\"private\"");
	assert_true(info->hugepages && info->hugepage_size == 2 * MiB);
	assert_string_equal(info->dac_label, "+64055:+109");
	assert_true(info->dac_numeric && info->dac_uid == 64055 && info->dac_gid == 109);
	assert_true(info->boots_by_device && info->has_user_interface);
	assert_true(info->has_foreign_vmstate && info->has_iommu);

	assert_int_equal(domain_xml_info("<domain/>", 9, &least, NULL), 0);
	assert_string_equal(least->name, "");
	assert_string_equal(least->uuid, "");
	assert_int_equal(least->machine, DOMAIN_XML_PC);
	assert_false(least->dac_label || least->memory_shared || least->has_iommu);
}

static void validate_names_file_and_line(void **state)
{
	static const char xml[] = "<domain>\n<name>d</name>\n" NVME(
		"\n<nvme:controller index='0'>\n<nvme:serial/></nvme:controller>") "</domain>";
	static const char clash[] =
		"<domain><name>d</name>\n" NVME(DISK("0", "<nvme:boot order='1'/>")) Q35
		"\n<devices>\n<disk><boot order='1'/></disk></devices></domain>";
	static const char good[] = "<domain><name>d</name>" NVME(DISK("0", "")) Q35 "</domain>";
	_cleanup_error_ struct error *err = NULL, *broken = NULL, *clashing = NULL;

	assert_int_equal(domain_xml_validate(xml, strlen(xml), "f.xml", &err), -EINVAL);
	assert_string_equal(error_message(err),
			    "f.xml:5: devices/controller[0]/serial: a serial number has 1 to 20 "
			    "characters, this one 0");
	assert_int_equal(domain_xml_validate("<domain>\n<x>", 12, "f.xml", &broken), -EINVAL);
	assert_true(string_has_prefix(error_message(broken), "f.xml:2: XML: "));
	assert_int_equal(domain_xml_validate(clash, strlen(clash), "f.xml", &clashing), -EINVAL);
	assert_true(string_has_prefix(error_message(clashing),
				      "f.xml:4: domain/devices/disk[0]/boot: "));
	assert_int_equal(domain_xml_validate(good, strlen(good), "f.xml", NULL), 0);
}

static void plans_for_a_running_pc(void **state)
{
	static const char xml[] = DOMAIN(
		NVME(DISK("0", "<nvme:boot order='2'/>") DISK(
			"1", "") "<nvme:controller index='2'><nvme:live bus='pci.0' addr='0x1f'/>"
				 "</nvme:controller>"),
		PC, SHARED "<devices><x><address type='pci' slot='0x1e'/></x></devices>");
	const struct rewrite_options options = { .has_monitor_object = true };
	const struct metadata_placement taken = { .bus = "pci.0", .slot = 0x1d };
	_cleanup_attach_plan_ struct attach_plan *plan = NULL;
	struct metadata_placement place;

	assert_int_equal(attach_plan(xml, strlen(xml), &options, &plan, NULL), 0);
	assert_string_equal(json_string(plan->vmstate, "qom-type", NULL), "dbus-vmstate");
	assert_string_equal(json_string(plan->chardev, "id", NULL), REWRITE_MONITOR_CHARDEV);
	assert_string_equal(json_string(plan->monitor, "chardev", NULL), REWRITE_MONITOR_CHARDEV);
	assert_int_equal(plan->controller_count, 2);
	assert_int_equal(plan->controllers[0].placement.slot, 0x1d);
	assert_int_equal(plan->controllers[1].placement.slot, 0x1c);
	assert_string_equal(json_text(plan->controllers[0].device),
			    "{\"driver\":\"vfio-user-pci\",\"id\":\"virtnvme-nvme0\","
			    "\"bus\":\"pci.0\",\"addr\":\"0x1d\",\"socket\":{\"type\":\"unix\","
			    "\"path\":\"/run/virtnvme/" UUID "/nvme0.sock\"},"
			    "\"x-msg-timeout\":120000,\"bootindex\":2}");
	assert_int_equal(attach_place(xml, strlen(xml), &taken, 1, &place, NULL), 0);
	assert_int_equal(place.slot, 0x1c);
}

static void plans_for_a_running_q35(void **state)
{
	static const char xml[] =
		DOMAIN(NVME(DISK("0", "") DISK("1", "")), Q35,
		       SHARED "<devices><controller type='pci' index='4' model='pcie-root-port'/>"
			      "<controller type='pci' index='6' model='pcie-root-port'/>"
			      "<controller type='pci' index='7' model='pcie-root-port'/>"
			      "<controller type='pci' index='8' model='pcie-root-port'>"
			      "<target hotplug='off'/></controller>"
			      "<x><address type='pci' bus='0x07' slot='0'/></x></devices>");
	_cleanup_attach_plan_ struct attach_plan *plan = NULL;
	_cleanup_error_ struct error *err = NULL;
	struct metadata_placement taken[2], place;

	assert_int_equal(attach_plan(xml, strlen(xml), NULL, &plan, NULL), 0);
	assert_null(plan->monitor);
	assert_null(plan->chardev);
	assert_string_equal(plan->controllers[0].placement.bus, "pci.6");
	assert_string_equal(plan->controllers[1].placement.bus, "pci.4");
	taken[0] = plan->controllers[0].placement;
	taken[1] = plan->controllers[1].placement;
	assert_int_equal(attach_place(xml, strlen(xml), taken, 2, &place, &err), -ENOSPC);
	assert_true(string_has_prefix(error_message(err), "no PCIe root port is free"));
}

static void a_failed_wish_needs_no_place(void **state)
{
	static const char xml[] =
		DOMAIN(NVME(DISK("0", "<nvme:live state='failed' reason='x'/>") DISK("1", "")), Q35,
		       SHARED "<devices><controller type='pci' index='4' model='pcie-root-port'/>"
			      "</devices>");
	_cleanup_attach_plan_ struct attach_plan *plan = NULL;

	assert_int_equal(attach_plan(xml, strlen(xml), NULL, &plan, NULL), 0);
	assert_int_equal(plan->controller_count, 1);
	assert_int_equal(plan->controllers[0].index, 1);
}

static void a_rewritten_domain_lacks_nothing(void **state)
{
	static const char xml[] = DOMAIN(NVME(DISK("0", "")), Q35, SHARED);
	_cleanup_free_ char *out = rewrite(xml, NULL);
	_cleanup_free_ char *grown =
		replace(out, "</nvme:devices>", DISK("1", "") "</nvme:devices>");
	_cleanup_attach_plan_ struct attach_plan *plan = NULL, *more = NULL;
	_cleanup_metadata_ struct metadata *metadata = metadata_new();
	const struct metadata_placement taken = { .bus = "virtnvme-port1" };
	struct metadata_placement place;

	assert_int_equal(attach_plan(out, strlen(out), NULL, &plan, NULL), 0);
	assert_true(!plan->vmstate && !plan->chardev && !plan->monitor && !plan->controller_count);
	/* The spare ports are for those that come later. */
	assert_int_equal(attach_plan(grown, strlen(grown), NULL, &more, NULL), 0);
	assert_int_equal(more->controller_count, 1);
	assert_string_equal(more->controllers[0].placement.bus, "virtnvme-port1");
	assert_int_equal(attach_place(out, strlen(out), &taken, 1, &place, NULL), 0);
	assert_string_equal(place.bus, "virtnvme-port2");
	/* Not wished any more, but the guest has it. */
	assert_int_equal(attach_current(out, strlen(out), metadata, NULL), 0);
	assert_int_equal(metadata->controller_count, 1);
	assert_true(metadata->controllers[0].parked);
	assert_string_equal(metadata->controllers[0].live.bus, "virtnvme-port0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_with_a_sentence),
		cmocka_unit_test(slirp_is_refused_where_the_helper_is),
		cmocka_unit_test(too_long_is_refused),
		cmocka_unit_test(full_buses_are_refused),
		cmocka_unit_test(a_given_uuid_is_added),
		cmocka_unit_test(a_given_uuid_is_one),
		cmocka_unit_test(any_uuid_spelling_is_one_path),
		cmocka_unit_test(the_document_keeps_its_form),
		cmocka_unit_test(many_controllers_fill_several_slots),
		cmocka_unit_test(the_check_tells_what_is_wrong),
		cmocka_unit_test(the_check_looks_for_places),
		cmocka_unit_test(what_came_from_elsewhere_is_in_order),
		cmocka_unit_test(what_comes_from_elsewhere_has_a_record),
		cmocka_unit_test(the_check_knows_who_boots),
		cmocka_unit_test(unmanage_leaves_what_was_there),
		cmocka_unit_test(unmanage_takes_broken_metadata_away),
		cmocka_unit_test(unmanage_keeps_shared_memory_of_the_user),
		cmocka_unit_test(other_domains_cost_a_look),
		cmocka_unit_test(facts_are_read),
		cmocka_unit_test(validate_names_file_and_line),
		cmocka_unit_test(plans_for_a_running_pc),
		cmocka_unit_test(plans_for_a_running_q35),
		cmocka_unit_test(a_failed_wish_needs_no_place),
		cmocka_unit_test(a_rewritten_domain_lacks_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
