// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain-xml/domain.h"

#include <errno.h>
#include <stdio.h>

#include <uuid/uuid.h>

#include "domain-xml/boot.h"
#include "domain-xml/commandline.h"
#include "domain-xml/facts.h"
#include "domain-xml/memory.h"
#include "domain-xml/rewrite.h"
#include "domain-xml/size.h"
#include "domain-xml/xml.h"

static bool contains(const char *xml, size_t len, const char *text)
{
	return memmem(xml, len, text, strlen(text));
}

bool domain_xml_is_ours(const char *xml, size_t len)
{
	/* The ids as an XML attribute may hold them: in JSON the quotes are &quot;. */
	return contains(xml, len, METADATA_NAMESPACE) ||
	       contains(xml, len, REWRITE_RECORD_NAMESPACE) ||
	       contains(xml, len, REWRITE_VMSTATE_OBJECT);
}

enum domain_xml_machine facts_machine(const xmlNode *domain)
{
	const char *machine = xml_attribute(xml_find(domain, "os/type"), "machine");
	const char *arch = xml_attribute(xml_find(domain, "os/type"), "arch");
	const xmlNode *controller;

	if (arch && strcmp(arch, "x86_64") != 0 && strcmp(arch, "i686") != 0)
		return DOMAIN_XML_OTHER;
	/* The root bus says it whatever a distribution calls its machines. */
	xml_for_each(controller, xml_child(domain, NULL, "devices"), NULL, "controller")
	{
		if (xml_attribute_is(controller, "model", "pcie-root"))
			return DOMAIN_XML_Q35;
		if (xml_attribute_is(controller, "model", "pci-root"))
			return DOMAIN_XML_PC;
	}
	if (!machine || !strcmp(machine, "pc") || strstr(machine, "i440fx"))
		return DOMAIN_XML_PC;
	return strstr(machine, "q35") ? DOMAIN_XML_Q35 : DOMAIN_XML_OTHER;
}

bool facts_uuid(const xmlNode *domain, char ret[37])
{
	_cleanup_free_ char *text = xml_text(xml_child(domain, NULL, "uuid"));
	char compact[33];
	const char *p;
	size_t n = 0;
	uuid_t uuid;

	/* libvirt takes dashes anywhere, or none. */
	for (p = text ? text : ""; *p; p++) {
		if (*p == '-')
			continue;
		if (n == 32)
			return false;
		compact[n++] = *p;
	}
	compact[n] = '\0';
	if (n != 32)
		return false;
	snprintf(ret, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", compact, compact + 8, compact + 12,
		 compact + 16, compact + 20);
	if (uuid_parse(ret, uuid) < 0)
		return false;
	uuid_unparse_lower(uuid, ret);
	return true;
}

bool facts_user_interface(const xmlNode *domain)
{
	const xmlNode *interface;

	xml_for_each(interface, xml_child(domain, NULL, "devices"), NULL,
		     "interface") if (xml_attribute_is(interface, "type", "user") &&
				      !xml_attribute_is(xml_child(interface, NULL, "backend"),
							"type", "passt")) return true;
	return false;
}

int facts_foreign_vmstate(const xmlNode *domain, bool *ret)
{
	_cleanup_commandline_ struct commandline commandline = { 0 };
	size_t i;
	int r = commandline_read(domain, &commandline);

	*ret = false;
	for (i = 0; r == 0 && i < commandline.count; i++) {
		const struct commandline_option *option = &commandline.options[i];
		_cleanup_free_ char *word = NULL, *type = NULL;

		if (option->ours || strcmp(option->name, "-object") != 0)
			continue;
		word = commandline_property(option->value, "");
		type = commandline_property(option->value, "qom-type");
		if (string_equal(word, "dbus-vmstate") || string_equal(type, "dbus-vmstate"))
			*ret = true;
	}
	return r;
}

static char *copy(const char *text, bool *ok)
{
	char *copied = text ? strdup(text) : NULL;

	if (text && !copied)
		*ok = false;
	return copied;
}

/* <memory unit="KiB">: KiB is the default here, unlike elsewhere. */
static uint64_t memory_bytes(const xmlNode *memory)
{
	_cleanup_free_ char *text = xml_text(memory);
	const char *unit = xml_attribute(memory, "unit");
	uint64_t bytes;

	return text && size_parse(text, unit ? unit : "KiB", &bytes, NULL) == 0 ? bytes : 0;
}

static unsigned read_vcpus(const xmlNode *domain)
{
	_cleanup_free_ char *text = xml_text(xml_child(domain, NULL, "vcpu"));
	unsigned long vcpus;

	return text && xml_unsigned(text, 65535, &vcpus) == 0 && vcpus ? (unsigned)vcpus : 1;
}

static void read_hugepages(const xmlNode *domain, struct domain_xml_info *info)
{
	const xmlNode *hugepages = xml_find(domain, "memoryBacking/hugepages");
	const xmlNode *page = xml_child(hugepages, NULL, "page");
	const char *size = xml_attribute(page, "size");
	const char *unit = xml_attribute(page, "unit");

	info->hugepages = hugepages;
	if (size)
		size_parse(size, unit ? unit : "KiB", &info->hugepage_size, NULL);
}

static bool read_dac(const xmlNode *domain, struct domain_xml_info *info)
{
	const xmlNode *seclabel;
	unsigned uid, gid;
	char end;

	xml_for_each(seclabel, domain, NULL, "seclabel")
	{
		const xmlNode *label = xml_child(seclabel, NULL, "label");

		if (!xml_attribute_is(seclabel, "model", "dac") || !label)
			continue;
		info->dac_label = xml_text(label);
		if (!info->dac_label)
			return false;
		if (strspn(info->dac_label, "+0123456789:") == strlen(info->dac_label) &&
		    (sscanf(info->dac_label, "+%9u:+%9u%c", &uid, &gid, &end) == 2 ||
		     sscanf(info->dac_label, "%9u:%9u%c", &uid, &gid, &end) == 2)) {
			info->dac_numeric = true;
			info->dac_uid = uid;
			info->dac_gid = gid;
		}
		return true;
	}
	return true;
}

static bool read_info(const xmlNode *domain, struct domain_xml_info *info)
{
	const xmlNode *type = xml_find(domain, "os/type");
	_cleanup_free_ char *name = xml_text(xml_child(domain, NULL, "name"));
	_cleanup_free_ char *emulator = xml_text(xml_find(domain, "devices/emulator"));
	bool ok = name && emulator;

	if (!ok)
		return false;
	info->name = steal_pointer(name);
	if (*emulator)
		info->emulator = steal_pointer(emulator);
	if (!facts_uuid(domain, info->uuid))
		info->uuid[0] = '\0';
	info->type = copy(xml_attribute(domain, "type"), &ok);
	info->arch = copy(xml_attribute(type, "arch"), &ok);
	info->machine_name = copy(xml_attribute(type, "machine"), &ok);
	info->machine = facts_machine(domain);
	info->vcpus = read_vcpus(domain);
	info->memory = memory_bytes(xml_child(domain, NULL, "memory"));
	info->memory_why = memory_private(domain, &info->memory_shared);
	info->memory_source = memory_source(domain);
	read_hugepages(domain, info);
	info->boots_by_device = boot_by_device(domain);
	info->has_user_interface = facts_user_interface(domain);
	info->has_iommu = xml_find(domain, "devices/iommu");
	return ok && read_dac(domain, info) &&
	       facts_foreign_vmstate(domain, &info->has_foreign_vmstate) == 0 &&
	       (info->memory_shared || info->memory_why);
}

int domain_xml_info(const char *xml, size_t len, struct domain_xml_info **ret, struct error **errp)
{
	_cleanup_domain_xml_info_ struct domain_xml_info *info = NULL;
	_cleanup_xml_doc_ xmlDoc *doc = NULL;
	int r = xml_parse_domain(xml, len, NULL, &doc, errp);

	if (r < 0)
		return r;
	info = calloc(1, sizeof(*info));
	if (!info || !read_info(xmlDocGetRootElement(doc), info))
		return error_set_errno(errp, ENOMEM, "XML");
	*ret = steal_pointer(info);
	return 0;
}

void domain_xml_info_free(struct domain_xml_info *info)
{
	if (!info)
		return;
	free(info->name);
	free(info->type);
	free(info->arch);
	free(info->machine_name);
	free(info->emulator);
	free(info->memory_why);
	free(info->dac_label);
	free(info);
}
