// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>

#include "domain-xml/pci.h"
#include "domain-xml/words.h"

/*
 * From the struct to text. Written by hand and not with libxml2: the form is fixed, and it shall be
 * readable in `virsh dumpxml`.
 */

static void put_escaped(FILE *out, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '&':
			fputs("&amp;", out);
			break;
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		default:
			/* Control characters are not XML; a reason can come from anywhere. */
			fputc((unsigned char)*text < 0x20 ? ' ' : *text, out);
		}
	}
}

static void put_attribute(FILE *out, const char *name, const char *value)
{
	if (!value || !*value)
		return;
	fprintf(out, " %s=\"", name);
	put_escaped(out, value);
	fputc('"', out);
}

static void put_number(FILE *out, const char *name, unsigned value)
{
	if (value)
		fprintf(out, " %s=\"%u\"", name, value);
}

static void put_hex(FILE *out, const char *name, const uint8_t *bytes, size_t len)
{
	size_t i;

	fprintf(out, "      <%s>", name);
	for (i = 0; i < len; i++)
		fprintf(out, "%02x", bytes[i]);
	fprintf(out, "</%s>\n", name);
}

static void put_driver(FILE *out, const struct metadata_disk *disk)
{
	fputs("      <driver name=\"virtnvme\" type=\"raw\"", out);
	put_attribute(out, "cache", words_cache[disk->cache]);
	put_attribute(out, "io", words_io[disk->io]);
	put_attribute(out, "discard", words_discard[disk->discard]);
	put_attribute(out, "error_policy", words_error_policy[disk->error_policy]);
	fputs("/>\n", out);
}

static void put_source(FILE *out, const struct metadata_disk *disk)
{
	if (disk->type == METADATA_DISK_MEMORY)
		return;
	fputs("      <source", out);
	if (disk->type == METADATA_DISK_VOLUME) {
		put_attribute(out, "pool", disk->source_pool);
		put_attribute(out, "volume", disk->source_volume);
	} else {
		put_attribute(out, disk->type == METADATA_DISK_BLOCK ? "dev" : "file",
			      disk->source_path);
	}
	fputs("/>\n", out);
}

static void put_limit(void *opaque, const char *name, uint64_t value)
{
	fprintf(opaque, "        <%s>%llu</%s>\n", name, (unsigned long long)value, name);
}

static void put_iotune(FILE *out, const struct metadata_iotune *iotune)
{
	fputs("      <iotune>\n", out);
	metadata_iotune_each(iotune, put_limit, out);
	fputs("      </iotune>\n", out);
}

static void put_disk(FILE *out, unsigned index, const struct metadata_disk *disk)
{
	fprintf(out, "    <disk type=\"%s\">\n", words_disk_type[disk->type]);
	put_driver(out, disk);
	put_source(out, disk);
	fprintf(out, "      <target dev=\"nvme%un%u\" bus=\"nvme\"/>\n", index, disk->nsid);
	if (disk->logical_block_size)
		fprintf(out, "      <blockio logical_block_size=\"%u\"/>\n",
			disk->logical_block_size);
	if (disk->boot_order)
		fprintf(out, "      <boot order=\"%u\"/>\n", disk->boot_order);
	if (disk->capacity)
		fprintf(out, "      <capacity unit=\"bytes\">%llu</capacity>\n",
			(unsigned long long)disk->capacity);
	if (disk->has_allocation)
		fprintf(out, "      <allocation unit=\"bytes\">%llu</allocation>\n",
			(unsigned long long)disk->allocation);
	if (disk->readonly)
		fputs("      <readonly/>\n", out);
	if (disk->shareable)
		fputs("      <shareable/>\n", out);
	if (disk->has_iotune)
		put_iotune(out, &disk->iotune);
	if (disk->has_uuid)
		put_hex(out, "uuid", disk->uuid, sizeof(disk->uuid));
	if (disk->has_nguid)
		put_hex(out, "nguid", disk->nguid, sizeof(disk->nguid));
	if (disk->has_eui64)
		put_hex(out, "wwn", disk->eui64, sizeof(disk->eui64));
	if (disk->state != METADATA_STATE_NONE) {
		fprintf(out, "      <live state=\"%s\"", words_state[disk->state]);
		if (disk->state == METADATA_STATE_FAILED)
			put_attribute(out, "reason", disk->reason);
		fputs("/>\n", out);
	}
	fputs("    </disk>\n", out);
}

static void put_controller(FILE *out, const struct metadata_controller *controller)
{
	char address[16];
	size_t i;

	fprintf(out, "  <controller index=\"%u\"", controller->index);
	put_number(out, "queues", controller->queues);
	put_number(out, "iothreads", controller->iothreads);
	put_attribute(out, "doorbells", words_doorbells[controller->doorbells]);
	if (controller->has_subsystem)
		fprintf(out, " subsystem=\"%u\"", controller->subsystem);
	fputs(">\n", out);
	if (controller->serial) {
		fputs("    <serial>", out);
		put_escaped(out, controller->serial);
		fputs("</serial>\n", out);
	}
	for (i = 0; i < controller->disk_count; i++)
		put_disk(out, controller->index, &controller->disks[i]);
	if (controller->live.bus[0]) {
		pci_format_address(&controller->live, address);
		fputs("    <live", out);
		put_attribute(out, "bus", controller->live.bus);
		put_attribute(out, "addr", address);
		if (controller->parked)
			put_attribute(out, "parked", "yes");
		fputs("/>\n", out);
	}
	fputs("  </controller>\n", out);
}

static void put_cputune(FILE *out, const struct metadata *metadata)
{
	bool open = false;
	unsigned i;

	for (i = 0; i < METADATA_MAX_IOTHREADS; i++) {
		if (!metadata->iothreadpin[i])
			continue;
		if (!open)
			fputs("  <cputune>\n", out);
		open = true;
		fprintf(out, "    <iothreadpin iothread=\"%u\" cpuset=\"%s\"/>\n", i + 1,
			metadata->iothreadpin[i]);
	}
	if (open)
		fputs("  </cputune>\n", out);
}

char *metadata_format(const struct metadata *metadata, struct error **errp)
{
	char *text = NULL;
	size_t size, i;
	FILE *out = open_memstream(&text, &size);

	if (!out) {
		error_set_errno(errp, ENOMEM, "metadata");
		return NULL;
	}
	fputs("<devices>\n", out);
	put_cputune(out, metadata);
	for (i = 0; i < metadata->controller_count; i++)
		put_controller(out, &metadata->controllers[i]);
	fputs("</devices>\n", out);
	if (fclose(out) != 0) {
		free(text);
		error_set_errno(errp, ENOMEM, "metadata");
		return NULL;
	}
	return text;
}
