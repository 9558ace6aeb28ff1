// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>

#include "domain-xml/identity.h"
#include "domain-xml/metadata.h"
#include "domain-xml/size.h"
#include "tests/unit/test.h"

#define ROOT_BEGIN "<nvme:devices xmlns:nvme=\"urn:virtnvme:domain:1\">"
#define ROOT_END   "</nvme:devices>"

static struct metadata *parse(const char *text)
{
	_cleanup_error_ struct error *err = NULL;
	struct metadata *metadata = NULL;

	if (metadata_parse(text, strlen(text), &metadata, &err) < 0)
		fail_msg("%s", error_message(err));
	return metadata;
}

/* Everything that can be written, naked as libvirt hands it out. */
static const char everything[] =
	"<devices><controller index='3' queues='4' iothreads='2' doorbells='mapped'>"
	"<serial> a &amp; b </serial>"
	"<disk type='volume' device='disk'><source pool='p' volume='v'/>"
	"<driver name='virtnvme' type='raw' cache='writethrough' io='threads' discard='unmap' "
	"error_policy='stop'/>"
	"<target dev='nvme3n7' bus='nvme'/><blockio logical_block_size='4096'/><boot order='5'/>"
	"<capacity unit='MiB'>10</capacity><allocation>4096</allocation>"
	"<shareable/><iotune><read_iops_sec>7</read_iops_sec>"
	"<read_iops_sec_max>8</read_iops_sec_max></iotune>"
	"<uuid>00112233-4455-6677-8899-aabbccddeeff</uuid>"
	"<nguid>ffeeddccbbaa99887766554433221100</nguid><wwn>0123456789abcdef</wwn>"
	"<live state='failed' reason='no &quot;such&quot; file'/></disk>"
	"<disk type='block'><source dev='/dev/sdx'/><target dev='nvme3n2'/><readonly/>"
	"<live state='attached'/></disk>"
	"<live bus='virtnvme-port1' addr='0x1e.0x3' parked='yes'/>"
	"</controller><controller index='0'/>"
	"<cputune><iothreadpin iothread='16' cpuset='1023'/>"
	"<iothreadpin iothread='1' cpuset='0-3,^2'/></cputune></devices>";

static void reads_everything(void **state)
{
	_cleanup_metadata_ struct metadata *metadata = parse(everything);
	const struct metadata_controller *controller = metadata_controller(metadata, 3);
	const struct metadata_disk *disk = metadata_disk(metadata, 3, 7);

	assert_int_equal(metadata->controller_count, 2);
	assert_int_equal(metadata->controllers[0].index, 0);
	assert_int_equal(controller->queues, 4);
	assert_int_equal(controller->iothreads, 2);
	assert_int_equal(controller->doorbells, METADATA_DOORBELLS_MAPPED);
	assert_string_equal(controller->serial, "a & b");
	assert_string_equal(controller->live.bus, "virtnvme-port1");
	assert_int_equal(controller->live.slot, 0x1e);
	assert_int_equal(controller->live.function, 3);
	assert_true(controller->parked);
	assert_int_equal(controller->disk_count, 2);
	assert_int_equal(controller->disks[0].nsid, 2);
	assert_string_equal(controller->disks[0].source_path, "/dev/sdx");
	assert_true(controller->disks[0].readonly);
	assert_int_equal(controller->disks[0].state, METADATA_STATE_ATTACHED);
	assert_int_equal(disk->type, METADATA_DISK_VOLUME);
	assert_string_equal(disk->source_pool, "p");
	assert_string_equal(disk->source_volume, "v");
	assert_true(disk->capacity == 10 * MiB);
	assert_true(disk->has_allocation && disk->allocation == 4096);
	assert_int_equal(disk->cache, METADATA_CACHE_WRITETHROUGH);
	assert_int_equal(disk->io, METADATA_IO_THREADS);
	assert_int_equal(disk->discard, METADATA_DISCARD_UNMAP);
	assert_int_equal(disk->error_policy, METADATA_ERROR_POLICY_STOP);
	assert_int_equal(disk->logical_block_size, 4096);
	assert_int_equal(disk->boot_order, 5);
	assert_true(disk->shareable && !disk->readonly);
	assert_true(disk->has_iotune && disk->iotune.read_iops_sec == 7);
	assert_true(disk->iotune.read_iops_sec_max == 8);
	assert_int_equal(disk->uuid[15], 0xff);
	assert_int_equal(disk->nguid[0], 0xff);
	assert_int_equal(disk->eui64[7], 0xef);
	assert_string_equal(metadata->iothreadpin[0], "0-1,3");
	assert_null(metadata->iothreadpin[1]);
	assert_string_equal(metadata->iothreadpin[15], "1023");
	assert_int_equal(disk->state, METADATA_STATE_FAILED);
	assert_string_equal(disk->reason, "no \"such\" file");
}

static void writes_what_it_reads(void **state)
{
	_cleanup_metadata_ struct metadata *metadata = parse(everything);
	_cleanup_metadata_ struct metadata *copy = metadata_copy(metadata);
	_cleanup_free_ char *text = metadata_format(metadata, NULL);
	_cleanup_metadata_ struct metadata *again = parse(text);
	_cleanup_free_ char *text_again = metadata_format(again, NULL);
	_cleanup_free_ char *text_copy = metadata_format(copy, NULL);

	assert_string_equal(text, text_again);
	assert_non_null(strstr(text, "<iothreadpin iothread=\"1\" cpuset=\"0-1,3\"/>"));
	assert_string_equal(text, text_copy);
	assert_true(metadata_disk_equal(metadata_disk(metadata, 3, 7), metadata_disk(again, 3, 7)));
	/* libvirt puts the namespace in, and refuses a text that has it. */
	assert_null(strstr(text, "xmlns"));
	metadata_disk(again, 3, 7)->readonly = true;
	assert_false(
		metadata_disk_equal(metadata_disk(metadata, 3, 7), metadata_disk(again, 3, 7)));
}

static void control_characters_are_not_written(void **state)
{
	_cleanup_metadata_ struct metadata *metadata = parse(everything);
	_cleanup_free_ char *text = NULL;

	metadata_disk(metadata, 3, 7)->reason[2] = '\x01';
	text = metadata_format(metadata, NULL);
	metadata_free(parse(text));
}

#define DISK(type, body)                                                                           \
	ROOT_BEGIN "<nvme:controller index='0'><nvme:disk type='" type "'>" body                   \
		   "</nvme:disk></nvme:controller>" ROOT_END
#define TARGET	   "<nvme:target dev='nvme0n1'/>"
#define FILE_A	   "<nvme:source file='/a'/>"
#define PINS(pins) ROOT_BEGIN "<nvme:cputune>" pins "</nvme:cputune>" ROOT_END
#define AT_PIN	   "devices/cputune/iothreadpin"
#define AT_DISK	   "devices/controller[0]/disk[0]"

static const struct {
	const char *xml;
	const char *sentence;
} refusals[] = {
	{ "<x/>", "x: unknown element: use <devices>" },
	{ ROOT_BEGIN "<nvme:disk/>" ROOT_END, "devices/disk[0]: unknown element" },
	{ ROOT_BEGIN "<disk/>" ROOT_END,
	  "devices/disk[0]: the element is not in the namespace urn:virtnvme:domain:1" },
	{ ROOT_BEGIN "text" ROOT_END, "devices: text is not expected here" },
	{ "<devices a='1'/>", "devices: unknown attribute \"a\"" },
	{ ROOT_BEGIN "<nvme:controller/>" ROOT_END,
	  "devices/controller[0]: the attribute \"index\" is missing or empty" },
	{ ROOT_BEGIN "<nvme:controller index='16'/>" ROOT_END,
	  "devices/controller[0]: index=\"16\" is not a number from 0 to 15" },
	{ ROOT_BEGIN "<nvme:controller index='-1'/>" ROOT_END,
	  "devices/controller[0]: index=\"-1\" is not a number from 0 to 15" },
	{ ROOT_BEGIN "<nvme:controller index='1'/><nvme:controller index='1'/>" ROOT_END,
	  "devices/controller[1]: there is a controller 1 already" },
	{ ROOT_BEGIN "<nvme:controller index='0' queues='65'/>" ROOT_END,
	  "devices/controller[0]: queues=\"65\" is not a number from 1 to 64" },
	{ ROOT_BEGIN "<nvme:controller index='0' iothreads='0'/>" ROOT_END,
	  "devices/controller[0]: iothreads=\"0\" is not a number from 1 to 16" },
	{ ROOT_BEGIN "<nvme:controller index='0' doorbells='none'/>" ROOT_END,
	  "devices/controller[0]: doorbells=\"none\" is not supported: use auto, "
	  "trapped or mapped" },
	{ PINS("<nvme:iothreadpin cpuset='1'/>"),
	  AT_PIN ": the attribute \"iothread\" is missing or empty" },
	{ PINS("<nvme:iothreadpin iothread='1'/>"),
	  AT_PIN ": the attribute \"cpuset\" is missing or empty" },
	{ PINS("<nvme:iothreadpin iothread='17' cpuset='1'/>"),
	  AT_PIN ": iothread=\"17\" is not a number from 1 to 16" },
	{ PINS("<nvme:iothreadpin iothread='1' cpuset='3-1'/>"),
	  AT_PIN ": cpuset: \"3-1\" is not a list of processors such as \"0-3,^2,8\" (the "
		 "highest is 1023)" },
	{ PINS("<nvme:iothreadpin iothread='1' cpuset='1,^1'/>"),
	  AT_PIN ": cpuset: \"1,^1\" leaves no processor" },
	{ PINS("<nvme:iothreadpin iothread='1' cpuset='1'/>"
	       "<nvme:iothreadpin iothread='1' cpuset='2'/>"),
	  "devices/cputune/iothreadpin[1]: I/O thread 1 is pinned already" },
	{ PINS("<nvme:vcpupin vcpu='1' cpuset='1'/>"), "devices/cputune/vcpupin: unknown element" },
	{ ROOT_BEGIN "<nvme:controller index='0'><nvme:serial>123456789012345678901</nvme:serial>"
		     "</nvme:controller>" ROOT_END,
	  "devices/controller[0]/serial: a serial number has 1 to 20 characters, this one 21" },
	{ ROOT_BEGIN "<nvme:controller index='0'><nvme:serial>\xc3\xa9</nvme:serial>"
		     "</nvme:controller>" ROOT_END,
	  "devices/controller[0]/serial: a serial number has only printable ASCII characters" },
	{ ROOT_BEGIN "<nvme:controller index='0'><nvme:serial>a</nvme:serial>"
		     "<nvme:serial>a</nvme:serial></nvme:controller>" ROOT_END,
	  "devices/controller[0]/serial[1]: given more than once" },
	{ ROOT_BEGIN "<nvme:controller index='0'><nvme:live bus='a b' addr='0x1'/>"
		     "</nvme:controller>" ROOT_END,
	  "devices/controller[0]/live: this is not a place on a PCI bus" },
	{ ROOT_BEGIN "<nvme:controller index='0'><nvme:live bus='pci.0' addr='0x20'/>"
		     "</nvme:controller>" ROOT_END,
	  "devices/controller[0]/live: this is not a place on a PCI bus" },
	{ ROOT_BEGIN "<nvme:controller index='0'><nvme:disk>" TARGET
		     "</nvme:disk></nvme:controller>" ROOT_END,
	  AT_DISK ": the attribute \"type\" is missing or empty" },
	{ DISK("network", TARGET),
	  AT_DISK ": type=\"network\" is not supported: use file, block, volume or memory" },
	{ DISK("file", FILE_A), AT_DISK ": <target> is missing" },
	{ DISK("file", FILE_A "<nvme:target/>"),
	  AT_DISK "/target: the attribute \"dev\" is missing or empty" },
	{ DISK("file", FILE_A "<nvme:target dev='nvme0'/>"),
	  AT_DISK "/target: dev=\"nvme0\" has no namespace number: the first is nvme0n1" },
	{ DISK("file", FILE_A "<nvme:target dev='vda'/>"),
	  AT_DISK "/target: dev=\"vda\" is not of the form nvmeXnY" },
	{ DISK("file", FILE_A "<nvme:target dev='nvme00n1'/>"),
	  AT_DISK "/target: dev=\"nvme00n1\" is not of the form nvmeXnY" },
	{ DISK("file", FILE_A "<nvme:target dev='nvme0n01'/>"),
	  AT_DISK "/target: dev=\"nvme0n01\" is not of the form nvmeXnY" },
	{ DISK("file", FILE_A "<nvme:target dev='nvme0n0'/>"),
	  AT_DISK "/target: dev=\"nvme0n0\": namespaces are numbered from 1 to 64" },
	{ DISK("file", FILE_A "<nvme:target dev='nvme0n65'/>"),
	  AT_DISK "/target: dev=\"nvme0n65\": namespaces are numbered from 1 to 64" },
	{ DISK("file", FILE_A "<nvme:target dev='nvme0n1p1'/>"),
	  AT_DISK "/target: dev=\"nvme0n1p1\" is not of the form nvmeXnY" },
	{ DISK("file", FILE_A "<nvme:target dev='nvme99n1'/>"),
	  AT_DISK "/target: dev=\"nvme99n1\": controllers are numbered from 0 to 15" },
	{ DISK("file", FILE_A "<nvme:target dev='nvme1n1'/>"),
	  AT_DISK "/target: dev=\"nvme1n1\" is not of the controller with index 0 around it" },
	{ DISK("file", FILE_A "<nvme:target dev='nvme0n1' bus='scsi'/>"),
	  AT_DISK "/target: bus=\"scsi\" is not supported: use nvme" },
	{ DISK("file", TARGET), AT_DISK ": <source> is missing" },
	{ DISK("file", TARGET "<nvme:source file='a'/>"),
	  AT_DISK "/source: file=\"a\" is not an absolute path" },
	{ DISK("file", TARGET "<nvme:source file='/a&#10;b'/>"),
	  AT_DISK "/source: file has a control character" },
	{ DISK("file", TARGET "<nvme:source dev='/a'/>"),
	  AT_DISK "/source: unknown attribute \"dev\"" },
	{ DISK("volume", TARGET "<nvme:source pool='p'/>"),
	  AT_DISK "/source: the attribute \"volume\" is missing or empty" },
	{ DISK("memory", TARGET FILE_A),
	  AT_DISK "/source: a disk of type memory has no source, only a <capacity>" },
	{ DISK("memory", TARGET), AT_DISK ": a disk of type memory needs a <capacity>" },
	{ DISK("block", TARGET "<nvme:source dev='/a'/><nvme:capacity>512</nvme:capacity>"),
	  AT_DISK "/capacity: a block device has its own size: leave <capacity> out" },
	{ DISK("file", TARGET FILE_A "<nvme:capacity>513</nvme:capacity>"),
	  AT_DISK "/capacity: 513 bytes is not a multiple of the block size 512" },
	{ DISK("file", TARGET FILE_A "<nvme:capacity>512</nvme:capacity>"
				     "<nvme:blockio logical_block_size='4096'/>"),
	  AT_DISK "/capacity: 512 bytes is not a multiple of the block size 4096" },
	{ DISK("file", TARGET FILE_A "<nvme:capacity unit='bits'>512</nvme:capacity>"),
	  AT_DISK "/capacity: unknown unit \"bits\": use bytes, KiB, MiB, GiB or TiB" },
	{ DISK("file", TARGET FILE_A "<nvme:capacity>10 GiB</nvme:capacity>"),
	  AT_DISK "/capacity: \"10 GiB\" is not a number" },
	{ DISK("file", TARGET FILE_A "<nvme:capacity unit='EiB'>8</nvme:capacity>"),
	  AT_DISK "/capacity: 8 EiB is too large" },
	{ DISK("file", TARGET FILE_A "<nvme:allocation>512</nvme:allocation>"),
	  AT_DISK ": <allocation> needs a <capacity>" },
	{ DISK("file", TARGET FILE_A "<nvme:capacity>512</nvme:capacity>"
				     "<nvme:allocation>1024</nvme:allocation>"),
	  AT_DISK ": <allocation> is more than <capacity>" },
	{ DISK("file", TARGET FILE_A "<nvme:driver type='qcow2'/>"),
	  AT_DISK "/driver: type=\"qcow2\" is not supported: use raw (qemu-img convert)" },
	{ DISK("file", TARGET FILE_A "<nvme:driver name='qemu'/>"),
	  AT_DISK "/driver: name=\"qemu\" is not supported: use virtnvme" },
	{ DISK("file", TARGET FILE_A "<nvme:driver cache='unsafe'/>"),
	  AT_DISK "/driver: cache=\"unsafe\" is not supported: use none, writeback or "
		  "writethrough" },
	{ DISK("file", TARGET FILE_A "<nvme:driver io='native'/>"),
	  AT_DISK "/driver: io=\"native\" is not supported: use io_uring or threads" },
	{ DISK("file", TARGET FILE_A "<nvme:driver iothread='1'/>"),
	  AT_DISK "/driver: unknown attribute \"iothread\"" },
	{ DISK("file", TARGET FILE_A "<nvme:blockio logical_block_size='520'/>"),
	  AT_DISK "/blockio: logical_block_size=\"520\" is not supported: use 512 or 4096" },
	{ DISK("file", TARGET FILE_A "<nvme:boot/>"),
	  AT_DISK "/boot: the attribute \"order\" is missing or empty" },
	{ DISK("file", TARGET FILE_A "<nvme:boot order='0'/>"),
	  AT_DISK "/boot: order=\"0\" is not a number from 1 to 9999" },
	{ DISK("file", TARGET FILE_A "<nvme:readnly/>"), AT_DISK "/readnly: unknown element" },
	{ DISK("file", TARGET FILE_A "<nvme:readonly>yes</nvme:readonly>"),
	  AT_DISK "/readonly: text is not expected here" },
	{ DISK("file", TARGET FILE_A "<nvme:uuid>00000000-0000-0000-0000-000000000000</nvme:uuid>"),
	  AT_DISK "/uuid: \"00000000-0000-0000-0000-000000000000\" is not an id of 32 hexadecimal "
		  "digits" },
	{ DISK("file", TARGET FILE_A "<nvme:wwn>12</nvme:wwn>"),
	  AT_DISK "/wwn: \"12\" is not an id of 16 hexadecimal digits" },
	{ DISK("file", TARGET FILE_A "<nvme:iotune><nvme:total_iops_sec>1</nvme:total_iops_sec>"
				     "<nvme:read_iops_sec>1</nvme:read_iops_sec></nvme:iotune>"),
	  AT_DISK "/iotune: a total cannot be given beside read or write" },
	{ DISK("file", TARGET FILE_A "<nvme:iotune><nvme:read_iops_sec_max>1"
				     "</nvme:read_iops_sec_max></nvme:iotune>"),
	  AT_DISK "/iotune: read_iops_sec_max must not be below read_iops_sec" },
	{ DISK("file", TARGET FILE_A "<nvme:iotune><nvme:size_iops_sec>1</nvme:size_iops_sec>"
				     "</nvme:iotune>"),
	  AT_DISK "/iotune/size_iops_sec: unknown element" },
	{ ROOT_BEGIN "<nvme:controller index='0'><nvme:disk type='file'>" TARGET FILE_A
		     "</nvme:disk><nvme:disk type='file'>" TARGET FILE_A
		     "</nvme:disk></nvme:controller>" ROOT_END,
	  "devices/controller[0]/disk[1]/target: there is a disk nvme0n1 already" },
	{ ROOT_BEGIN "<nvme:controller index='0'><nvme:disk type='file'>" TARGET FILE_A
		     "</nvme:disk><nvme:disk type='file'><nvme:target dev='nvme0n2'/>" FILE_A
		     "<nvme:readonly/></nvme:disk></nvme:controller>" ROOT_END,
	  "devices/controller[0]/disk[1]: /a is the source of nvme0n1 already: make both "
	  "<readonly/> "
	  "or <shareable/>" },
	{ ROOT_BEGIN "<nvme:controller index='0'><nvme:disk type='file'>" TARGET FILE_A
		     "<nvme:boot order='1'/></nvme:disk></nvme:controller>"
		     "<nvme:controller index='1'><nvme:disk type='file'>"
		     "<nvme:target dev='nvme1n1'/><nvme:source file='/b'/><nvme:boot order='1'/>"
		     "</nvme:disk></nvme:controller>" ROOT_END,
	  "devices/controller[1]/disk[0]: the boot order 1 is that of nvme0n1 already" },
	{ ROOT_BEGIN "<nvme:controller index='0'><nvme:disk type='file'>" TARGET FILE_A
		     "<nvme:boot order='1'/></nvme:disk><nvme:disk type='file'>"
		     "<nvme:target dev='nvme0n2'/><nvme:source file='/b'/><nvme:boot order='2'/>"
		     "</nvme:disk></nvme:controller>" ROOT_END,
	  "devices/controller[0]/disk[1]: nvme0n1 has a boot order already, and the firmware sees "
	  "one for each controller: use another controller" },
	{ "<!DOCTYPE x [<!ENTITY a 'b'>]><devices/>",
	  "XML: a document type declaration is not accepted" },
	{ "<!DOCTYPE x SYSTEM 'file:///etc/passwd'><devices/>",
	  "XML: a document type declaration is not accepted" },
	{ "<devices>&a;</devices>", "XML: line 1: Entity 'a' not defined" },
	{ "<devices>\n<controller></devices>",
	  "XML: line 2: Opening and ending tag mismatch: controller line 2 and devices" },
	{ "", "XML: line 1: Document is empty" },
};

static void refuses_with_a_sentence(void **state)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(refusals); i++) {
		_cleanup_error_ struct error *err = NULL;
		struct metadata *metadata = NULL;

		if (metadata_parse(refusals[i].xml, strlen(refusals[i].xml), &metadata, &err) >= 0)
			fail_msg("accepted %s", refusals[i].xml);
		assert_string_equal(error_message(err), refusals[i].sentence);
		/* And without somewhere to put it. */
		assert_true(metadata_parse(refusals[i].xml, strlen(refusals[i].xml), &metadata,
					   NULL) < 0);
	}
}

static void shared_sources_are_accepted(void **state)
{
	static const char *const marks[] = { "<readonly/>", "<shareable/>" };
	char text[1024];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(marks); i++) {
		snprintf(text, sizeof(text),
			 "<devices><controller index='0'><disk type='file'><target dev='nvme0n1'/>"
			 "<source file='/a'/>%s</disk><disk type='block'><target dev='nvme0n2'/>"
			 "<source dev='/a'/>%s</disk></controller></devices>",
			 marks[i], marks[i]);
		metadata_free(parse(text));
	}
}

static void too_long_is_refused(void **state)
{
	_cleanup_free_ char *text = malloc(METADATA_MAX_TEXT + 1);
	_cleanup_error_ struct error *err = NULL;
	struct metadata *metadata = NULL;

	memset(text, ' ', METADATA_MAX_TEXT + 1);
	assert_int_equal(metadata_parse(text, METADATA_MAX_TEXT + 1, &metadata, &err), -E2BIG);
}

static void adds_and_removes(void **state)
{
	_cleanup_metadata_ struct metadata *metadata = metadata_new();
	_cleanup_error_ struct error *err = NULL;
	struct metadata_controller *controller;
	unsigned i;

	for (i = METADATA_MAX_CONTROLLERS; i-- > 0;)
		assert_non_null(metadata_add_controller(metadata, i, NULL));
	assert_null(metadata_add_controller(metadata, METADATA_MAX_CONTROLLERS, &err));
	for (i = 0; i < METADATA_MAX_CONTROLLERS; i++)
		assert_int_equal(metadata->controllers[i].index, i);
	controller = metadata_controller(metadata, 5);
	assert_non_null(metadata_add_disk(controller, 9, NULL));
	assert_non_null(metadata_add_disk(controller, 3, NULL));
	assert_null(metadata_add_disk(controller, 3, NULL));
	assert_int_equal(controller->disks[0].nsid, 3);
	assert_true(metadata_remove_disk(controller, 3));
	assert_false(metadata_remove_disk(controller, 3));
	assert_int_equal(controller->disks[0].nsid, 9);
	assert_true(metadata_remove_controller(metadata, 4));
	assert_false(metadata_remove_controller(metadata, 4));
	assert_non_null(metadata_disk(metadata, 5, 9));
}

static void a_new_wish_keeps_the_record(void **state)
{
	_cleanup_metadata_ struct metadata *before = parse(
		"<devices><controller index='0'><serial>S</serial><disk type='file'>"
		"<source file='/a'/><target dev='nvme0n1'/><live state='attached'/></disk>"
		"<disk type='file'><source file='/b'/><target dev='nvme0n2'/>"
		"<live state='attached'/></disk>"
		"<live bus='pci.0' addr='0x1e'/></controller>"
		"<controller index='1' queues='3'><live bus='pci.0' addr='0x1d'/></controller>"
		"<controller index='2'/></devices>");
	_cleanup_metadata_ struct metadata *wish =
		parse("<devices><controller index='0'><disk type='file'><source file='/a'/>"
		      "<target dev='nvme0n1'/></disk><disk type='file'><source file='/new'/>"
		      "<target dev='nvme0n2'/></disk></controller></devices>");

	assert_int_equal(metadata_carry_live(wish, before), 0);
	assert_int_equal(wish->controller_count, 2);
	assert_int_equal(metadata_controller(wish, 0)->live.slot, 0x1e);
	assert_false(metadata_controller(wish, 0)->parked);
	assert_int_equal(metadata_disk(wish, 0, 1)->state, METADATA_STATE_ATTACHED);
	/* Another source: another disk. */
	assert_int_equal(metadata_disk(wish, 0, 2)->state, METADATA_STATE_NONE);
	/* In the guest, and not wished any more. */
	assert_true(metadata_controller(wish, 1)->parked);
	assert_int_equal(metadata_controller(wish, 1)->live.slot, 0x1d);
	assert_int_equal(metadata_controller(wish, 1)->queues, 3);
}

static void single_disks_are_read(void **state)
{
	static const char text[] =
		"<disk type='file'><source file='/a'/><target dev='nvme2n3'/></disk>";
	struct metadata_disk *disk;
	unsigned index;

	assert_int_equal(metadata_parse_disk(text, strlen(text), &index, &disk, NULL), 0);
	assert_int_equal(index, 2);
	assert_int_equal(disk->nsid, 3);
	assert_string_equal(disk->source_path, "/a");
	metadata_disk_free(disk);
}

static void ids_follow_the_domain(void **state)
{
	static const char domain_a[] = "5f0a2d9e-7c1b-4d57-9a46-0c2f6a3b1e10";
	static const char domain_b[] = "5f0a2d9e-7c1b-4d57-9a46-0c2f6a3b1e11";
	const struct metadata_controller controller = { .index = 0 };
	uint8_t a[16], b[16], other[16], uuid[16], nguid[16];
	char serial[IDENTITY_SERIAL_SIZE], serial_b[IDENTITY_SERIAL_SIZE], text[37];

	assert_int_equal(identity_controller_uuid(domain_a, 0, a), 0);
	assert_int_equal(identity_controller_uuid(domain_b, 0, b), 0);
	assert_int_equal(identity_controller_uuid(domain_a, 1, other), 0);
	assert_memory_not_equal(a, b, 16);
	assert_memory_not_equal(a, other, 16);
	assert_int_equal(identity_controller_serial(domain_a, &controller, serial), 0);
	assert_int_equal(identity_controller_serial(domain_b, &controller, serial_b), 0);
	assert_int_equal(strlen(serial), METADATA_MAX_SERIAL);
	assert_string_not_equal(serial, serial_b);
	identity_namespace_uuid(a, 1, uuid);
	identity_namespace_nguid(a, 1, nguid);
	assert_memory_not_equal(uuid, nguid, 16);
	identity_namespace_uuid(a, 2, other);
	assert_memory_not_equal(uuid, other, 16);
	assert_int_equal(identity_controller_uuid("no uuid", 0, a), -EINVAL);
	/* ABI: a guest finds its root by these. */
	identity_format_uuid(uuid, text);
	assert_string_equal(text, "1134f61e-0ca5-5502-8099-4be8a1bbe980");
	assert_string_equal(serial, "VN1B23CA130DB759F9BF");
}

static void ids_of_the_user_win(void **state)
{
	_cleanup_metadata_ struct metadata *metadata = parse(everything);
	static const char domain[] = "5f0a2d9e-7c1b-4d57-9a46-0c2f6a3b1e10";
	uint8_t uuid[16], nguid[16];
	char serial[IDENTITY_SERIAL_SIZE];

	assert_int_equal(identity_disk_ids(domain, metadata_controller(metadata, 3),
					   metadata_disk(metadata, 3, 7), uuid, nguid),
			 0);
	assert_int_equal(uuid[1], 0x11);
	assert_int_equal(nguid[1], 0xee);
	assert_int_equal(identity_disk_ids(domain, metadata_controller(metadata, 3),
					   metadata_disk(metadata, 3, 2), uuid, nguid),
			 0);
	assert_int_equal(uuid[6] >> 4, 5);
	assert_int_equal(
		identity_controller_serial(domain, metadata_controller(metadata, 3), serial), 0);
	assert_string_equal(serial, "a & b");
}

static void sizes_are_libvirts(void **state)
{
	static const struct {
		const char *number, *unit;
		uint64_t bytes;
	} sizes[] = {
		{ "5", NULL, 5 },
		{ "5", "", 5 },
		{ "5", "b", 5 },
		{ "5", "bytes", 5 },
		{ "1", "KB", 1000 },
		{ "1", "k", 1024 },
		{ "1", "KiB", 1024 },
		{ "2", "MiB", 2 * MiB },
		{ "3", "gb", 3000000000 },
		{ "3", "G", 3 * GiB },
		{ "1", "TiB", 1024 * GiB },
		{ "7", "EiB", 7ULL << 60 },
		{ "9223372036854775807", "B", INT64_MAX },
	};
	static const char *const bad[] = { "Ki", "iB", "KiBs", "X", "Bk" };
	uint64_t bytes;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_int_equal(size_parse(sizes[i].number, sizes[i].unit, &bytes, NULL), 0);
		assert_true(bytes == sizes[i].bytes);
	}
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(size_parse("1", bad[i], &bytes, NULL), -EINVAL);
	assert_int_equal(size_parse("", NULL, &bytes, NULL), -EINVAL);
	assert_int_equal(size_parse("-1", NULL, &bytes, NULL), -EINVAL);
	assert_int_equal(size_parse("9223372036854775808", NULL, &bytes, NULL), -ERANGE);
	assert_int_equal(size_parse("18446744073709551617", NULL, &bytes, NULL), -ERANGE);
	assert_int_equal(size_parse("16", "EiB", &bytes, NULL), -ERANGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_everything),
		cmocka_unit_test(writes_what_it_reads),
		cmocka_unit_test(control_characters_are_not_written),
		cmocka_unit_test(refuses_with_a_sentence),
		cmocka_unit_test(shared_sources_are_accepted),
		cmocka_unit_test(too_long_is_refused),
		cmocka_unit_test(adds_and_removes),
		cmocka_unit_test(a_new_wish_keeps_the_record),
		cmocka_unit_test(single_disks_are_read),
		cmocka_unit_test(ids_follow_the_domain),
		cmocka_unit_test(ids_of_the_user_win),
		cmocka_unit_test(sizes_are_libvirts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
