// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/pci-half.h"

#include <assert.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>

#include "base/i18n.h"

#define MAX_CAPABILITIES 32

static_assert(PCI_VECTOR_SIZE == PCI_MSIX_ENTRY_SIZE, "PCI");

uint16_t pci_half_get16(const struct pci_half *half, unsigned offset)
{
	return half->config[offset] | half->config[offset + 1] << 8;
}

uint32_t pci_half_get32(const struct pci_half *half, unsigned offset)
{
	return pci_half_get16(half, offset) | (uint32_t)pci_half_get16(half, offset + 2) << 16;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Exactly @size bytes. */
static bool parse_hex(const char *hex, uint8_t *bytes, size_t size)
{
	size_t i;

	if (strlen(hex) != 2 * size)
		return false;
	for (i = 0; i < size; i++) {
		int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		bytes[i] = high << 4 | low;
	}
	return true;
}

static char *format_hex(const uint8_t *bytes, size_t size)
{
	char *hex = malloc(2 * size + 1);
	size_t i;

	for (i = 0; hex && i < size; i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
	if (hex && size == 0)
		*hex = '\0';
	return hex;
}

static unsigned find_capability(const struct pci_half *half, uint8_t id)
{
	unsigned at = half->config[PCI_CAPABILITY_LIST] & ~3u, i;

	for (i = 0; at && i < MAX_CAPABILITIES; i++) {
		if (half->config[at] == id)
			return at;
		at = half->config[at + 1] & ~3u;
	}
	return 0;
}

int pci_half_set_config(struct pci_half *half, const char *hex, struct error **errp)
{
	unsigned at;

	if (!hex || !parse_hex(hex, half->config, sizeof(half->config)))
		return error_set(errp, EINVAL, _("a PCI configuration space is damaged"));
	at = find_capability(half, PCI_CAP_ID_MSIX);
	half->msix = at <= PCI_CONFIG_SIZE - PCI_CAP_MSIX_SIZEOF ? at : 0;
	half->vectors = 0;
	if (half->msix)
		half->vectors =
			(pci_half_get16(half, half->msix + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) +
			1;
	if (half->vectors > PCI_MAX_VECTORS)
		return error_set(errp, EINVAL, _("a controller has too many interrupt vectors: %u"),
				 half->vectors);
	return 0;
}

bool pci_half_uses_msix(const struct pci_half *half)
{
	return half->msix &&
	       (pci_half_get16(half, half->msix + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_ENABLE);
}

bool pci_half_asserts_intx(const struct pci_half *half)
{
	return pci_half_get16(half, PCI_STATUS) & PCI_STATUS_INTERRUPT;
}

uint64_t pci_half_table_address(const struct pci_half *half)
{
	uint32_t location, bar;
	unsigned at;
	uint64_t address;

	if (!half->msix || !(pci_half_get16(half, PCI_COMMAND) & PCI_COMMAND_MEMORY))
		return 0;
	location = pci_half_get32(half, half->msix + PCI_MSIX_TABLE);
	at = PCI_BASE_ADDRESS_0 + 4 * (location & PCI_MSIX_TABLE_BIR);
	if (at > PCI_BASE_ADDRESS_5)
		return 0;
	bar = pci_half_get32(half, at);
	address = bar & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK;
	if ((bar & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64 &&
	    at < PCI_BASE_ADDRESS_5)
		address |= (uint64_t)pci_half_get32(half, at + 4) << 32;
	return address ? address + (location & (uint32_t)PCI_MSIX_TABLE_OFFSET) : 0;
}

/* Lines of "0000000081002000: 0xfee01004 0x00000000 0x00004021 0x00000000". */
int pci_half_set_table(struct pci_half *half, const char *dump, struct error **errp)
{
	size_t words = half->vectors * PCI_VECTOR_SIZE / 4, i = 0;
	const char *at = dump;

	half->has_table = false;
	while (at && i < words) {
		unsigned long value;
		char *end;

		at = strstr(at, " 0x");
		if (!at)
			break;
		value = strtoul(at + 1, &end, 16);
		if (value > UINT32_MAX || end == at + 3)
			break;
		memcpy(half->table + 4 * i++, &(uint32_t){ value }, 4);
		at = end;
	}
	if (i < words)
		return error_set(errp, EINVAL, _("QEMU does not show the MSI-X table: %.80s"),
				 dump ? dump : "");
	half->has_table = true;
	return 0;
}

bool pci_half_vector_is_used(const struct pci_half *half, unsigned vector)
{
	static const uint8_t reset[PCI_VECTOR_SIZE] = {
		[PCI_MSIX_ENTRY_VECTOR_CTRL] = PCI_MSIX_ENTRY_CTRL_MASKBIT,
	};

	return memcmp(half->table + vector * PCI_VECTOR_SIZE, reset, sizeof(reset));
}

struct json_object *pci_half_to_json(const struct pci_half *half)
{
	_cleanup_free_ char *config = format_hex(half->config, sizeof(half->config));
	_cleanup_free_ char *table = format_hex(half->table, half->vectors * PCI_VECTOR_SIZE);
	struct json_object *json = json_object_new_object();

	if (half->reachable) {
		json_add_u64(json, "bus", half->bus);
		json_add_u64(json, "slot", half->slot);
		json_add_u64(json, "function", half->function);
	}
	json_add_string(json, "config", config);
	if (half->has_table)
		json_add_string(json, "msix_table", table);
	return json;
}

int pci_half_from_json(struct json_object *json, struct pci_half *half, struct error **errp)
{
	const char *table = json_string_or(json, "msix_table", NULL);
	uint64_t bus = json_u64_or(json, "bus", 0), slot = json_u64_or(json, "slot", 0);
	uint64_t function = json_u64_or(json, "function", 0);

	*half = (struct pci_half){ .reachable = json_object_object_get_ex(json, "bus", NULL) };
	if (pci_half_set_config(half, json_string_or(json, "config", NULL), errp) < 0)
		return -EINVAL;
	if (bus > 255 || slot > 31 || function > 7)
		return error_set(errp, EINVAL, _("a PCI address is damaged"));
	half->bus = bus;
	half->slot = slot;
	half->function = function;
	half->has_table = table;
	if (table && !parse_hex(table, half->table, half->vectors * PCI_VECTOR_SIZE))
		return error_set(errp, EINVAL, _("an MSI-X table is damaged"));
	if (pci_half_uses_msix(half) && !table)
		return error_set(errp, EINVAL, _("an MSI-X table is missing"));
	return 0;
}
