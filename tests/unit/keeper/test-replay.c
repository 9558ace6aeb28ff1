// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>

#include "keeper/hand-over.h"
#include "keeper/pci-half.h"
#include "keeper/replay.h"
#include "tests/unit/test.h"

/* A function as our controller has it: a 64-bit BAR0, MSI-X at 0x60 with its table at 0x2000. */
#define MSIX  0x60
#define TABLE 0x81002000ull

static void put16(uint8_t *config, unsigned at, uint16_t value)
{
	config[at] = value;
	config[at + 1] = value >> 8;
}

static void set_config(struct pci_half *half, unsigned vectors, uint16_t command, uint16_t flags)
{
	uint8_t config[PCI_CONFIG_SIZE] = {};
	char hex[2 * PCI_CONFIG_SIZE + 1];
	size_t i;

	put16(config, 0x04, command);
	put16(config, 0x06, 0x10);
	put16(config, 0x10, 0x0004);
	put16(config, 0x12, 0x8100);
	config[0x34] = 0x40;
	config[0x40] = 1; /* power management */
	config[0x41] = MSIX;
	config[MSIX] = 0x11;
	put16(config, MSIX + 2, flags | (vectors - 1));
	put16(config, MSIX + 4, 0x2000);
	put16(config, MSIX + 8, 0x3000);
	for (i = 0; i < sizeof(config); i++)
		sprintf(hex + 2 * i, "%02x", config[i]);
	assert_int_equal(pci_half_set_config(half, hex, NULL), 0);
}

/* What xp prints: `used` vectors, the others as after a reset. */
static char *dump(unsigned vectors, unsigned first_used, unsigned used)
{
	char *text = malloc(vectors * 100 + 1), *at = text;
	unsigned i;

	for (i = 0; i < vectors; i++)
		at += sprintf(at, "%016llx: 0x%08x 0x00000000 0x%08x 0x%08x\r\n", TABLE + 16 * i,
			      i - first_used < used ? 0xfee01004 : 0,
			      i - first_used < used ? 0x4021 + i : 0,
			      i - first_used < used ? 0 : 1);
	return text;
}

static struct pci_half make_half(unsigned vectors, unsigned first_used, unsigned used)
{
	_cleanup_free_ char *text = dump(vectors, first_used, used);
	struct pci_half half = { .reachable = true, .bus = 1 };

	set_config(&half, vectors, 0x406, 0x8000);
	assert_int_equal(pci_half_set_table(&half, text, NULL), 0);
	return half;
}

static void finds_table(void **state)
{
	struct pci_half half = {};

	set_config(&half, 5, 0x406, 0x8000);
	assert_int_equal(half.vectors, 5);
	assert_true(pci_half_uses_msix(&half));
	assert_int_equal(pci_half_table_address(&half), TABLE);
	set_config(&half, 5, 0x404, 0x8000); /* memory is off */
	assert_int_equal(pci_half_table_address(&half), 0);
	set_config(&half, 5, 0x406, 0);
	assert_false(pci_half_uses_msix(&half));
}

static void believes_nothing(void **state)
{
	struct pci_half half = {};
	char hex[2 * PCI_CONFIG_SIZE + 1];
	unsigned seed = 1, round;
	struct error *err = NULL;

	assert_int_equal(pci_half_set_config(&half, "00", NULL), -EINVAL);
	assert_int_equal(pci_half_set_config(&half, NULL, NULL), -EINVAL);
	set_config(&half, 5, 0x406, 0x8000);
	assert_int_equal(pci_half_set_table(&half, "Cannot access memory", &err), -EINVAL);
	assert_non_null(strstr(err->message, "Cannot access memory"));
	assert_false(half.has_table);
	error_free(err);
	/* A QEMU that is not what it should be may answer null. */
	assert_int_equal(pci_half_set_table(&half, NULL, NULL), -EINVAL);
	for (round = 0; round < 5000; round++) {
		size_t i;

		for (i = 0; i < 2 * PCI_CONFIG_SIZE; i++)
			hex[i] = "0123456789abcdef"[rand_r(&seed) % 16];
		hex[i] = '\0';
		if (pci_half_set_config(&half, hex, NULL) == 0) {
			pci_half_table_address(&half);
			pci_half_uses_msix(&half);
		}
	}
}

static void travels(void **state)
{
	struct pci_half half = make_half(5, 0, 3), again;
	struct json_object *json = pci_half_to_json(&half);

	assert_int_equal(pci_half_from_json(json, &again, NULL), 0);
	assert_memory_equal(half.config, again.config, sizeof(half.config));
	assert_memory_equal(half.table, again.table, sizeof(half.table));
	assert_true(again.reachable && again.bus == 1);
	json_object_object_del(json, "msix_table");
	assert_int_equal(pci_half_from_json(json, &again, NULL), -EINVAL);
	json_object_put(json);
	half.reachable = false;
	json = pci_half_to_json(&half);
	assert_int_equal(pci_half_from_json(json, &again, NULL), 0);
	assert_false(again.reachable);
	json_object_put(json);
}

static const char *script_of(struct replay *replay, const struct pci_half *half)
{
	static char text[20000];
	const struct blob *script;

	assert_int_equal(replay_add(replay, half), 0);
	script = replay_script(replay);
	assert_true(script->size < sizeof(text));
	if (script->size)
		memcpy(text, script->data, script->size);
	text[script->size] = '\0';
	return text;
}

static size_t position(const char *text, const char *what)
{
	const char *at = strstr(text, what);

	assert_non_null(at);
	return at - text;
}

static void order_is_right(void **state)
{
	const struct pci_half half = make_half(5, 0, 3);
	struct replay *replay = replay_new(false, NULL);
	const char *text = script_of(replay, &half);
	size_t bar = position(text, "outl 0xcf8 0x80010010\noutl 0xcfc 0x81000004\n");
	size_t memory = position(text, "outl 0xcf8 0x80010004\noutw 0xcfc 0x402\n");
	size_t table = position(text, "b64write 0x81002000 0x30 ");
	size_t msix = position(text, "outl 0xcf8 0x80010060\noutw 0xcfe 0x8004\n");
	size_t master = position(text, "outl 0xcf8 0x80010004\noutw 0xcfc 0x406\n");

	assert_int_equal(position(text, "inl 0xcf8\n"), 0);
	/* Each write is a message for which the guest waits. */
	assert_null(strstr(text, "outw 0xcfe 0x4\n"));
	assert_true(bar < memory && memory < table && table < msix && msix < master);
	assert_true(master < position(text, "b64read 0x81002000 0x30\n"));
	replay_free(replay);
}

/* One has run before, too early. */
static void begins_with_all_off(void **state)
{
	const struct pci_half half = make_half(5, 0, 3);
	struct replay *replay = replay_new(true, NULL);
	const char *text = script_of(replay, &half);
	size_t memory = position(text, "outl 0xcf8 0x80010004\noutw 0xcfc 0x400\n");
	size_t msix = position(text, "outl 0xcf8 0x80010060\noutw 0xcfe 0x4\n");

	assert_true(memory < msix && msix < position(text, "outl 0xcf8 0x80010010\n"));
	replay_free(replay);
}

/* QEMU takes 1,024 bytes a turn. */
static void script_is_short(void **state)
{
	const struct pci_half half = make_half(65, 0, 65);
	struct replay *replay = replay_new(true, NULL);

	assert_true(strlen(script_of(replay, &half)) <= 2048);
	replay_free(replay);
}

static void only_used_vectors(void **state)
{
	const struct pci_half half = make_half(65, 3, 2);
	struct replay *replay = replay_new(false, NULL);
	const char *text = script_of(replay, &half);

	position(text, "b64write 0x81002030 0x20 ");
	assert_null(strstr(text, "b64write 0x81002000"));
	replay_free(replay);
}

/* Behind a bridge that has no number there is nothing, and 00:00.0 is another device. */
static void unreachable_is_left_alone(void **state)
{
	struct pci_half half = make_half(5, 0, 3);
	struct replay *replay = replay_new(false, NULL);

	half.reachable = false;
	assert_string_equal(script_of(replay, &half), "");
	replay_free(replay);
}

/* A QEMU that does what it is told, as far as the script goes. */
static const char *play(struct replay *replay, const struct pci_half *half, bool good_table,
			uint32_t config_address)
{
	const struct blob *script = replay_script(replay);
	_cleanup_free_ char *text = strndup(script->data, script->size);
	char answer[4000], table[4000] = "";
	unsigned at = 0;
	char *line, *rest = text;
	int last = 0;

	while ((line = strsep(&rest, "\n")) && *line) {
		unsigned long long a, b;

		assert_false(last);
		strcpy(answer, "OK");
		if (string_equal(line, "inl 0xcf8"))
			sprintf(answer, "OK %#06x", config_address);
		else if (sscanf(line, "outl 0xcf8 %llx", &a) == 1)
			at = a & 0xfc;
		else if (sscanf(line, "b64write %llx %llx %3999s", &a, &b, table) == 3)
			;
		else if (sscanf(line, "b64read %llx %llx", &a, &b) == 2)
			sprintf(answer, "OK %s", good_table ? table : "AAAA");
		else if (sscanf(line, "inw %llx", &a) == 1)
			sprintf(answer, "OK %#06x", pci_half_get16(half, at + (a & 3)));
		else if (sscanf(line, "inl %llx", &a) == 1)
			sprintf(answer, "OK %#06x", pci_half_get32(half, at));
		last = replay_answer(replay, answer);
	}
	assert_true(last);
	return replay_mismatch(replay);
}

static void verifies(void **state)
{
	const struct pci_half half = make_half(5, 0, 3);
	struct pci_half moved = half;
	struct replay *replay = replay_new(false, NULL), *again;
	char end[32];

	moved.config[0x13] = 0;
	script_of(replay, &half);
	assert_string_equal(play(replay, &moved, true, 0x80000810), "a BAR");
	again = replay_new(true, replay);
	replay_free(replay);
	script_of(again, &half);
	assert_string_equal(play(again, &half, false, 0), "an MSI-X table");
	replay = replay_new(true, again);
	replay_free(again);
	/* Again, and all is well. */
	script_of(replay, &half);
	assert_null(play(replay, &half, true, 0));
	/* The guest may stand between writing the address register and using it; what the others
	 * found is the script's. */
	replay_end(replay, end);
	assert_string_equal(end, "outl 0xcf8 0x80000810\n");
	replay_free(replay);
}

static void a_command_that_fails_is_seen(void **state)
{
	const struct pci_half half = make_half(5, 0, 3);
	struct replay *replay = replay_new(false, NULL);

	script_of(replay, &half);
	while (!replay_answer(replay, "FAIL Unknown command"))
		;
	assert_non_null(replay_mismatch(replay));
	replay_free(replay);
}

static int judge(const char *text, struct error **errp)
{
	struct json_object *json = json_tokener_parse(text);
	int r = hand_over_judge_capabilities(json, errp);

	json_object_put(json);
	return r;
}

static void capabilities_are_known_ones(void **state)
{
	struct error *err = NULL;

	assert_int_equal(judge("[{\"capability\":\"events\",\"state\":true},"
			       "{\"capability\":\"multifd\",\"state\":true},"
			       "{\"capability\":\"postcopy-ram\",\"state\":false}]",
			       NULL),
			 0);
	assert_int_equal(judge("[{\"capability\":\"postcopy-ram\",\"state\":true}]", &err),
			 -EOPNOTSUPP);
	assert_non_null(strstr(err->message, "postcopy-ram"));
	error_free(err);
	assert_int_equal(judge("[{\"capability\":\"background-snapshot\",\"state\":true}]", NULL),
			 -EOPNOTSUPP);
	assert_int_equal(judge("[{\"capability\":\"of-the-future\",\"state\":true}]", NULL),
			 -EOPNOTSUPP);
	assert_int_equal(judge("[]", NULL), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_table),
		cmocka_unit_test(believes_nothing),
		cmocka_unit_test(travels),
		cmocka_unit_test(order_is_right),
		cmocka_unit_test(begins_with_all_off),
		cmocka_unit_test(script_is_short),
		cmocka_unit_test(only_used_vectors),
		cmocka_unit_test(unreachable_is_left_alone),
		cmocka_unit_test(verifies),
		cmocka_unit_test(a_command_that_fails_is_seen),
		cmocka_unit_test(capabilities_are_known_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
