// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/unit/test.h"

#include <errno.h>

#include "controller/namespace-spec.h"

static int parse(const char *text, struct namespace_spec *spec)
{
	return namespace_spec_parse(text, spec, NULL);
}

static void parses_what_the_man_page_shows(void **state)
{
	struct namespace_spec spec;

	assert_int_equal(parse("file:/a/b.raw", &spec), 0);
	assert_int_equal(spec.type, NAMESPACE_FILE);
	assert_string_equal(spec.path, "/a/b.raw");
	assert_int_equal(spec.file.cache, BLOCK_CACHE_NONE);
	assert_false(spec.nvme.read_only || spec.file.read_only || spec.file.discard);

	assert_int_equal(parse("block:/dev/x,cache=writeback,read-only,block-size=4096,"
			       "discard=unmap,shareable",
			       &spec),
			 0);
	assert_int_equal(spec.type, NAMESPACE_BLOCK);
	assert_string_equal(spec.path, "/dev/x");
	assert_int_equal(spec.file.cache, BLOCK_CACHE_WRITEBACK);
	assert_true(spec.nvme.read_only && spec.file.read_only && spec.file.discard &&
		    spec.nvme.shareable);
	assert_int_equal(spec.nvme.block_size, 4096);

	assert_int_equal(parse("memory:64M,read-only", &spec), 0);
	assert_int_equal(spec.bytes, 64 * MiB);
	assert_int_equal(parse("null:1T", &spec), 0);
	assert_int_equal(spec.bytes, 1ULL << 40);

	assert_int_equal(parse("fault:/a.raw,cache=writeback,control=/c,stable=/s", &spec), 0);
	assert_int_equal(spec.type, NAMESPACE_FAULT);
	assert_string_equal(spec.path, "/a.raw");
	assert_string_equal(spec.control, "/c");
	assert_string_equal(spec.stable, "/s");
}

static void a_comma_is_written_twice(void **state)
{
	struct namespace_spec spec;

	assert_int_equal(parse("file:,,a,,,,b,,,read-only", &spec), 0);
	assert_string_equal(spec.path, ",a,,b,");
	assert_true(spec.file.read_only);
}

static void refuses_nonsense(void **state)
{
	static const char *const wrong[] = {
		"",
		"file",
		"file:",
		"file:,read-only",
		"fil:/a",
		"files:/a",
		"memory:",
		"memory:x",
		"memory:1M,cache=none",
		"null:1M,discard=unmap",
		"file:/a,",
		"file:/a,readonly",
		"file:/a,cache=",
		"file:/a,cache=none,cache=some",
		"file:/a,block-size=0",
		"file:/a,control=/c",
		"fault:/a",
		"fault:/a,stable=/s",
		"file:/a,block-size=512,block-size=520",
	};
	struct namespace_spec spec;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		_cleanup_error_ struct error *err = NULL;

		if (namespace_spec_parse(wrong[i], &spec, &err) != -EINVAL)
			fail_msg("\"%s\" was taken", wrong[i]);
		assert_non_null(err);
	}
}

static void a_path_too_long_is_not_another_path(void **state)
{
	struct namespace_spec spec;
	char text[2 * sizeof(spec.path)];

	memset(text, 'a', sizeof(text));
	memcpy(text, "file:", 5);
	text[sizeof(text) - 1] = 0;
	assert_int_equal(parse(text, &spec), -EINVAL);
}

static void takes_the_keepers_words(void **state)
{
	static const char text[] =
		"{\"nsid\":3,\"type\":\"block\",\"cache\":\"writethrough\",\"discard\":true,"
		"\"read_only\":true,\"block_size\":4096,"
		"\"uuid\":\"6f1f2b1a-8a55-4f0e-9d7c-0A1B2C3D4E5F\"}";
	_cleanup_json_ struct json_object *object = json_parse(text, strlen(text), NULL);
	struct namespace_spec spec;
	unsigned char uuid[16] = { 0x6f, 0x1f, 0x2b, 0x1a, 0x8a, 0x55, 0x4f, 0x0e,
				   0x9d, 0x7c, 0x0a, 0x1b, 0x2c, 0x3d, 0x4e, 0x5f };

	assert_int_equal(namespace_spec_from_json(object, &spec, NULL), 0);
	assert_int_equal(spec.type, NAMESPACE_BLOCK);
	assert_int_equal(spec.nvme.nsid, 3);
	assert_int_equal(spec.nvme.block_size, 4096);
	assert_int_equal(spec.file.cache, BLOCK_CACHE_WRITETHROUGH);
	assert_true(spec.file.discard && spec.file.read_only && spec.nvme.read_only);
	assert_false(spec.file.in_memory);
	json_add_bool(object, "in_memory", true);
	assert_int_equal(namespace_spec_from_json(object, &spec, NULL), 0);
	assert_true(spec.file.in_memory);
	assert_memory_equal(spec.nvme.uuid, uuid, 16);
}

static void knows_the_error_policies(void **state)
{
	static const struct {
		const char *word;
		enum nvme_error_policy policy;
	} cases[] = {
		{ NULL, NVME_ERROR_REPORT },
		{ "report", NVME_ERROR_REPORT },
		{ "stop", NVME_ERROR_STOP },
		{ "enospace", NVME_ERROR_ENOSPACE },
	};
	_cleanup_json_ struct json_object *object = json_object_new_object();
	struct namespace_spec spec;
	size_t i;

	json_add_u64(object, "nsid", 1);
	json_add_string(object, "type", "file");
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		json_add_string(object, "error_policy", cases[i].word);
		assert_int_equal(namespace_spec_from_json(object, &spec, NULL), 0);
		assert_int_equal(spec.nvme.error_policy, cases[i].policy);
	}
	json_add_string(object, "error_policy", "ignore");
	assert_int_equal(namespace_spec_from_json(object, &spec, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_what_the_man_page_shows),
		cmocka_unit_test(a_comma_is_written_twice),
		cmocka_unit_test(refuses_nonsense),
		cmocka_unit_test(a_path_too_long_is_not_another_path),
		cmocka_unit_test(takes_the_keepers_words),
		cmocka_unit_test(knows_the_error_policies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
