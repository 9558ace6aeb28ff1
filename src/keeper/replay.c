// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/replay.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdarg.h>
#include <stdio.h>

/*
 * Theory of operation
 *
 * QEMU takes 1,024 bytes of qtest a turn of its main loop, and few turns pass before the guest
 * runs: so the script is short (runs of used vectors, in base64) and sent whole. Each line has
 * one answer, "OK" or "OK VALUE".
 *
 * The order, for each controller: memory off and MSI-X off (if a script has run before, too early),
 * BARs, memory on, the table, MSI-X on, and bus master last. With MSI-X on, each vector
 * that is written would be a message to the controller and an answer; switched on at the end it is
 * one for all. What has just been switched on is after a reset off, and each write is a message
 * too: so the first script writes what is to be on.
 *
 * Then everything is read back. The table shows more than itself: that the BAR and the bridge in
 * front of it are mapped.
 *
 * The address register of PCI's configuration mechanism is the guest's as well: it may stand
 * between writing it and using it. Its value is the first answer, and is restored at the end.
 */
#define CONFIG_ADDRESS 0xcf8u
#define CONFIG_DATA    0xcfcu

/* What an answer must be. */
struct expectation {
	char *text;    /* base64; NULL: see below */
	bool is_value; /* a number */
	uint32_t value;
	const char *what; /* NULL: "OK", and no matter what else */
};

struct replay {
	struct blob script;
	struct expectation *lines;
	size_t count, room, answered;
	uint32_t config_address;
	bool has_address; /* what is there now is the last script's */
	const char *mismatch;
	bool again;  /* not after a reset */
	bool failed; /* out of memory */
};

struct replay *replay_new(bool again, const struct replay *last)
{
	struct replay *replay = calloc(1, sizeof(*replay));

	if (!replay)
		return NULL;
	replay->again = again;
	if (last) {
		replay->config_address = last->config_address;
		replay->has_address = true;
	}
	return replay;
}

void replay_free(struct replay *replay)
{
	size_t i;

	if (!replay)
		return;
	for (i = 0; i < replay->count; i++)
		free(replay->lines[i].text);
	free(replay->lines);
	blob_free(&replay->script);
	free(replay);
}

static void add_expectation(struct replay *replay, const struct expectation *line)
{
	if (replay->count == replay->room) {
		size_t room = MAX(replay->room * 2, 64u);
		struct expectation *larger = realloc(replay->lines, room * sizeof(*larger));

		if (!larger) {
			replay->failed = true;
			free(line->text);
			return;
		}
		replay->lines = larger;
		replay->room = room;
	}
	replay->lines[replay->count++] = *line;
}

/* One line and what must be answered; NULL: no matter what. */
static void __printf(3, 4)
	say(struct replay *replay, const struct expectation *expected, const char *format, ...)
{
	_cleanup_free_ char *line = NULL;
	va_list args;
	int n;

	va_start(args, format);
	n = vasprintf(&line, format, args);
	va_end(args);
	if (n < 0) {
		line = NULL;
		replay->failed = true;
		return;
	}
	if (blob_append(&replay->script, line, n) < 0 || blob_append(&replay->script, "\n", 1) < 0)
		replay->failed = true;
	add_expectation(replay, expected ? expected : &(struct expectation){});
}

static void select_register(struct replay *replay, const struct pci_half *half, unsigned at)
{
	say(replay, NULL, "outl %#x %#x", CONFIG_ADDRESS,
	    0x80000000 | half->bus << 16 | half->slot << 11 | half->function << 8 | (at & ~3u));
}

static void write16(struct replay *replay, const struct pci_half *half, unsigned at, uint16_t value)
{
	select_register(replay, half, at);
	say(replay, NULL, "outw %#x %#x", CONFIG_DATA + (at & 3), value);
}

static void write32(struct replay *replay, const struct pci_half *half, unsigned at, uint32_t value)
{
	select_register(replay, half, at);
	say(replay, NULL, "outl %#x %#x", CONFIG_DATA, value);
}

static char *base64(const uint8_t *bytes, size_t size)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *text = malloc(DIV_ROUND_UP(size, 3) * 4 + 1), *at = text;
	size_t i;

	for (i = 0; text && i < size; i += 3) {
		unsigned left = MIN(size - i, 3u);
		uint32_t three = bytes[i] << 16 | (left > 1 ? bytes[i + 1] << 8 : 0) |
				 (left > 2 ? bytes[i + 2] : 0);

		*at++ = digits[three >> 18];
		*at++ = digits[three >> 12 & 63];
		*at++ = left > 1 ? digits[three >> 6 & 63] : '=';
		*at++ = left > 2 ? digits[three & 63] : '=';
	}
	if (at)
		*at = '\0';
	return text;
}

/* Each run of used vectors; what is between them is as after a reset. */
static void for_runs(struct replay *replay, const struct pci_half *half, bool verify)
{
	uint64_t table = pci_half_table_address(half);
	unsigned first, end;

	for (first = 0; table && first < half->vectors; first = end) {
		const uint8_t *bytes = half->table + first * PCI_VECTOR_SIZE;
		uint64_t address = table + first * PCI_VECTOR_SIZE;
		size_t size;
		char *text;

		end = first + 1;
		if (!pci_half_vector_is_used(half, first))
			continue;
		while (end < half->vectors && pci_half_vector_is_used(half, end))
			end++;
		size = (end - first) * PCI_VECTOR_SIZE;
		text = base64(bytes, size);
		if (!text) {
			replay->failed = true;
			return;
		}
		if (verify) {
			const struct expectation expected = { .text = text,
							      .what = "an MSI-X table" };

			say(replay, &expected, "b64read %#llx %#zx", (unsigned long long)address,
			    size);
		} else {
			say(replay, NULL, "b64write %#llx %#zx %s", (unsigned long long)address,
			    size, text);
			free(text);
		}
	}
}

static void expect(struct replay *replay, const struct pci_half *half, unsigned at, unsigned size,
		   uint32_t value, const char *what)
{
	const struct expectation expected = { .is_value = true, .value = value, .what = what };

	select_register(replay, half, at);
	say(replay, &expected, "in%c %#x", size == 2 ? 'w' : 'l', CONFIG_DATA + (at & 3));
}

int replay_add(struct replay *replay, const struct pci_half *half)
{
	const uint16_t command = pci_half_get16(half, PCI_COMMAND);
	const unsigned flags_at = half->msix + PCI_MSIX_FLAGS;
	const uint16_t flags = half->msix ? pci_half_get16(half, flags_at) : 0;
	const bool has_table = half->has_table && pci_half_uses_msix(half);
	unsigned at;

	if (!half->reachable)
		return 0;
	if (!replay->count)
		say(replay, NULL, "inl %#x", CONFIG_ADDRESS);
	if (replay->again)
		write16(replay, half, PCI_COMMAND,
			command & ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER));
	if (replay->again && half->msix)
		write16(replay, half, flags_at, flags & ~PCI_MSIX_FLAGS_ENABLE);
	for (at = PCI_BASE_ADDRESS_0; at <= PCI_BASE_ADDRESS_5; at += 4)
		if (pci_half_get32(half, at))
			write32(replay, half, at, pci_half_get32(half, at));
	write16(replay, half, PCI_COMMAND, command & ~PCI_COMMAND_MASTER);
	if (has_table)
		for_runs(replay, half, false);
	if (flags & PCI_MSIX_FLAGS_ENABLE)
		write16(replay, half, flags_at, flags);
	if (command & PCI_COMMAND_MASTER)
		write16(replay, half, PCI_COMMAND, command);

	expect(replay, half, PCI_COMMAND, 2, command, "a command register");
	for (at = PCI_BASE_ADDRESS_0; at <= PCI_BASE_ADDRESS_5; at += 4)
		if (pci_half_get32(half, at))
			expect(replay, half, at, 4, pci_half_get32(half, at), "a BAR");
	if (half->msix)
		expect(replay, half, flags_at, 2, flags, "an MSI-X control register");
	if (has_table)
		for_runs(replay, half, true);
	return replay->failed ? -ENOMEM : 0;
}

const struct blob *replay_script(const struct replay *replay)
{
	return &replay->script;
}

int replay_answer(struct replay *replay, const char *line)
{
	size_t number = replay->answered;
	const struct expectation *expected;
	bool good;

	if (number >= replay->count)
		return 1;
	expected = &replay->lines[number];
	good = string_equal(line, "OK") || string_has_prefix(line, "OK ");
	if (good && number == 0 && !replay->has_address)
		replay->config_address = strtoul(line + 2, NULL, 16);
	if (good && expected->text)
		good = string_equal(line + 2 + (line[2] == ' '), expected->text);
	if (good && expected->is_value)
		good = line[2] == ' ' && strtoul(line + 3, NULL, 16) == expected->value;
	if (!good && !replay->mismatch)
		replay->mismatch = expected->what ? expected->what : "a command";
	replay->answered++;
	return replay->answered == replay->count;
}

void replay_end(const struct replay *replay, char ret[32])
{
	snprintf(ret, 32, "outl %#x %#x\n", CONFIG_ADDRESS, replay->config_address);
}

const char *replay_mismatch(const struct replay *replay)
{
	return replay->mismatch;
}
