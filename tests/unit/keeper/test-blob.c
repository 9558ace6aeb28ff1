// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "keeper/blob.h"
#include "keeper/hand-over-internal.h"
#include "tests/unit/test.h"

static void checksum_is_the_standard_one(void **state)
{
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

static void checksum_is_the_same_everywhere(void **state)
{
	unsigned char data[100];
	size_t from, size;

	for (from = 0; from < sizeof(data); from++)
		data[from] = from * 167 + 13;
	for (from = 0; from < 9; from++)
		for (size = 0; size <= sizeof(data) - from; size++)
			assert_int_equal(crc32c(size, data + from, size),
					 crc32c_by_table(size, data + from, size));
}

static void free_parts(struct blob parts[BLOB_PARTS])
{
	unsigned i;

	for (i = 0; i < BLOB_PARTS; i++)
		blob_free(&parts[i]);
}

static void fill(struct blob *blob, size_t size)
{
	size_t i;

	blob->data = malloc(size + 1);
	blob->size = blob->room = size;
	for (i = 0; i < size; i++)
		blob->data[i] = i * 2654435761u >> 24;
}

static void travels_whole(void **state)
{
	const size_t sizes[] = { 0, 1, 100000, BLOB_PART_MAX, blob_capacity(BLOB_PARTS) };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct blob whole = {}, parts[BLOB_PARTS] = {}, again = {};
		unsigned number;

		fill(&whole, sizes[i]);
		assert_int_equal(blob_split(&whole, parts, BLOB_PARTS, NULL), 0);
		for (number = 0; number < BLOB_PARTS; number++) {
			assert_true(parts[number].size <= BLOB_PART_MAX);
			assert_int_equal(blob_check_part(parts[number].data, parts[number].size,
							 number, NULL),
					 BLOB_PARTS);
		}
		assert_int_equal(blob_join(parts, BLOB_PARTS, &again, NULL), 0);
		assert_int_equal(again.size, whole.size);
		assert_true(whole.size == 0 || !memcmp(again.data, whole.data, whole.size));
		free_parts(parts);
		blob_free(&whole);
		blob_free(&again);
	}
}

static void too_much_is_a_sentence(void **state)
{
	struct blob whole = {}, parts[BLOB_PARTS] = {};
	struct error *err = NULL;

	fill(&whole, blob_capacity(BLOB_PARTS) + 1);
	assert_int_equal(blob_split(&whole, parts, BLOB_PARTS, &err), -E2BIG);
	assert_non_null(strstr(err->message, "less load"));
	error_free(err);
	free_parts(parts);
	blob_free(&whole);
}

static void may_have_fewer_parts(void **state)
{
	unsigned count, number;

	for (count = 1; count < BLOB_PARTS; count++) {
		struct blob whole = {}, parts[BLOB_PARTS] = {}, again = {};

		fill(&whole, blob_capacity(count) - count);
		assert_int_equal(blob_split(&whole, parts, count, NULL), 0);
		for (number = 0; number < count; number++)
			assert_int_equal(blob_check_part(parts[number].data, parts[number].size,
							 number, NULL),
					 count);
		assert_int_equal(parts[count].size, 0);
		assert_int_equal(blob_join(parts, count, &again, NULL), 0);
		assert_int_equal(again.size, whole.size);
		assert_memory_equal(again.data, whole.data, whole.size);
		/* One that does not say so is not believed. */
		if (count < BLOB_PARTS) {
			struct blob pad = {};

			assert_int_equal(blob_pad(&parts[0], count, &pad, NULL), 0);
			assert_int_equal(blob_check_part(pad.data, pad.size, count, NULL), 0);
			assert_int_equal(blob_check_part(pad.data, pad.size, 0, NULL), -EINVAL);
			blob_free(&pad);
		}
		assert_int_equal(blob_check_part(parts[0].data, parts[0].size, count, NULL),
				 -EINVAL);
		free_parts(parts);
		blob_free(&again);
		blob_free(&whole);
	}
}

/* Each bit of header and data that is turned over, and each length that is too short. */
static void damage_is_seen(void **state)
{
	struct blob whole = {}, parts[BLOB_PARTS] = {};
	size_t i;

	fill(&whole, 300);
	assert_int_equal(blob_split(&whole, parts, BLOB_PARTS, NULL), 0);
	for (i = 0; i < parts[0].size * 8; i++) {
		parts[0].data[i / 8] ^= 1 << i % 8;
		assert_int_equal(blob_check_part(parts[0].data, parts[0].size, 0, NULL), -EINVAL);
		parts[0].data[i / 8] ^= 1 << i % 8;
	}
	for (i = 0; i < parts[0].size; i++)
		assert_int_equal(blob_check_part(parts[0].data, i, 0, NULL), -EINVAL);
	assert_int_equal(blob_check_part(parts[0].data, parts[0].size, 1, NULL), -EINVAL);
	assert_int_equal(blob_check_part(parts[0].data, parts[0].size, 0, NULL), BLOB_PARTS);
	free_parts(parts);
	blob_free(&whole);
}

static void other_versions_are_named(void **state)
{
	struct blob whole = {}, parts[BLOB_PARTS] = {};
	struct error *err = NULL;

	assert_int_equal(blob_split(&whole, parts, BLOB_PARTS, NULL), 0);
	parts[0].data[8]++; /* version */
	assert_int_equal(blob_check_part(parts[0].data, parts[0].size, 0, &err), -EINVAL);
	assert_non_null(strstr(err->message, "same version on both hosts"));
	error_free(err);
	free_parts(parts);
}

/* Each of them is good, and they are of two saves. */
static void parts_of_two_states_do_not_mix(void **state)
{
	struct blob one = {}, other = {}, parts[BLOB_PARTS] = {}, others[BLOB_PARTS] = {};
	struct blob whole = {};

	fill(&one, 1000);
	fill(&other, 1000);
	other.data[0]++;
	assert_int_equal(blob_split(&one, parts, BLOB_PARTS, NULL), 0);
	assert_int_equal(blob_split(&other, others, BLOB_PARTS, NULL), 0);
	blob_free(&parts[5]);
	parts[5] = others[5];
	others[5] = (struct blob){};
	assert_int_equal(blob_join(parts, BLOB_PARTS, &whole, NULL), -EINVAL);
	blob_free(&whole);
	free_parts(parts);
	free_parts(others);
	blob_free(&one);
	blob_free(&other);
}

static void description_comes_first(void **state)
{
	struct json_object *json = json_object_new_object(), *again = NULL;
	struct blob whole = {};
	const char *data;
	size_t size, i;

	json_add_string(json, "program", "virtnvme");
	blob_begin(&whole, json);
	blob_append(&whole, "rest", 4);
	assert_int_equal(blob_open(&whole, &again, &data, &size, NULL), 0);
	assert_string_equal(json_string_or(again, "program", ""), "virtnvme");
	assert_int_equal(size, 4);
	assert_memory_equal(data, "rest", 4);
	json_object_put(again);
	for (i = 0; i < whole.size - 4; i++) {
		struct blob shorter = { .data = whole.data, .size = i };

		assert_int_equal(blob_open(&shorter, &again, &data, &size, NULL), -EINVAL);
	}
	json_object_put(json);
	blob_free(&whole);
}

/* A memfd. */
static int make_memory(size_t size, char **ret)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, size), 0);
	*ret = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return fd;
}

static void memory_travels_without_zero_pages(void **state)
{
	const size_t size = 100 * 4096 + 100;
	char *again = calloc(1, size), *memory;
	struct blob blob = {};
	int fd = make_memory(size, &memory);

	memory[0] = 1;
	memory[50 * 4096 - 1] = 2;
	memory[50 * 4096] = 3;
	memory[size - 1] = 4;
	assert_int_equal(blob_append_memory(&blob, fd, size), 0);
	assert_true(blob.size < 5 * 4096);
	assert_int_equal(blob_memory_size(blob.data, blob.size, NULL), size);
	blob_read_memory(blob.data, again);
	assert_memory_equal(memory, again, size);
	blob_free(&blob);
	memset(memory, 0, size);
	blob_append_memory(&blob, fd, size);
	assert_int_equal(blob_memory_size(blob.data, blob.size, NULL), size);
	blob_free(&blob);
	munmap(memory, size);
	close(fd);
	free(again);
}

/* The guest stands still meanwhile, and the host's memory is not ours to fill. */
static void memory_that_is_not_there_stays_so(void **state)
{
	const size_t size = 1000 * 4096;
	struct blob blob = {};
	struct stat st;
	char *memory;
	int fd = make_memory(size, &memory);

	memory[100 * 4096] = 1;
	assert_int_equal(blob_append_memory(&blob, fd, size), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_blocks * 512 < 10 * 4096);
	blob_free(&blob);
	munmap(memory, size);
	close(fd);
}

/* Whatever is accepted may be read: the address sanitizer says if not. */
static void nonsense_is_not_read(void **state)
{
	const size_t size = 20 * 4096;
	char *memory;
	struct blob blob = {};
	unsigned seed = 1, round;
	int fd = make_memory(size, &memory);

	memory[4096] = 1;
	memory[10 * 4096] = 1;
	blob_append_memory(&blob, fd, size);
	for (round = 0; round < 20000; round++) {
		size_t length = rand_r(&seed) % 4 ? blob.size : rand_r(&seed) % blob.size;
		char *copy = malloc(length + 1);
		int64_t found;

		memcpy(copy, blob.data, length);
		for (int i = rand_r(&seed) % 3; length && i >= 0; i--)
			copy[rand_r(&seed) % MIN(length, 40u)] = rand_r(&seed);
		found = blob_memory_size(copy, length, NULL);
		if (found >= 0) {
			char *target = calloc(1, found + 1);

			blob_read_memory(copy, target);
			free(target);
		}
		free(copy);
	}
	/* Two runs that overlap. */
	{
		const uint64_t words[] = { 0, 8, 0, 4, 8, 0, 12, 0 };

		assert_true(blob_memory_size((const char *)words, sizeof(words), NULL) < 0);
	}
	blob_free(&blob);
	munmap(memory, size);
	close(fd);
}

/* QEMU is told how many parts there will be before the description is made. */
static void the_longest_description_is_counted(void **state)
{
	static const char one[] = "{\"nsid\":64,\"uuid\":\"01234567-89ab-cdef-0123-456789abcdef\","
				  "\"capacity\":1099511627776,\"block_size\":4096,"
				  "\"read_only\":false}";
	struct device_namespace namespaces[64] = {};
	struct device device = { .config = { .serial = "VN0001", .doorbells = "auto" },
				 .namespaces = namespaces };
	struct json_object *json = json_object_new_object();

	json_add_string(json, "uuid", "01234567-89ab-cdef-0123-456789abcdef");
	for (unsigned i = 0; i < ARRAY_SIZE(namespaces); i++) {
		namespaces[i].next = i + 1 < ARRAY_SIZE(namespaces) ? &namespaces[i + 1] : NULL;
		namespaces[i].json = json;
		namespaces[i].config.nsid = 64;
		namespaces[i].config.block_size = 4096;
		namespaces[i].capacity = 1ULL << 40;
	}
	assert_true(hand_over_description_bytes(&device) >=
		    64 * strlen(one) + 2 * (PCI_CONFIG_SIZE + PCI_MAX_VECTORS * PCI_VECTOR_SIZE));
	json_object_put(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checksum_is_the_standard_one),
		cmocka_unit_test(checksum_is_the_same_everywhere),
		cmocka_unit_test(travels_whole),
		cmocka_unit_test(may_have_fewer_parts),
		cmocka_unit_test(too_much_is_a_sentence),
		cmocka_unit_test(damage_is_seen),
		cmocka_unit_test(other_versions_are_named),
		cmocka_unit_test(parts_of_two_states_do_not_mix),
		cmocka_unit_test(description_comes_first),
		cmocka_unit_test(memory_travels_without_zero_pages),
		cmocka_unit_test(memory_that_is_not_there_stays_so),
		cmocka_unit_test(nonsense_is_not_read),
		cmocka_unit_test(the_longest_description_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
