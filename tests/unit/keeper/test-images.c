// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/util.h"
#include "keeper/images.h"
#include "tests/unit/test.h"

static char directory[32], path[64];

static int setup(void **state)
{
	strcpy(directory, "/tmp/test-images.XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/a.raw", directory);
	return 0;
}

static int teardown(void **state)
{
	unlink(path);
	return rmdir(directory);
}

static struct namespace_config file_config(void)
{
	return (struct namespace_config){
		.nsid = 1,
		.type = NAMESPACE_FILE,
		.path = path,
		.cache = BLOCK_CACHE_WRITEBACK,
	};
}

static void wants_a_capacity_for_a_missing_image(void **state)
{
	struct namespace_config config = file_config();
	struct image image = IMAGE_NONE;
	struct error *err = NULL;

	assert_int_equal(image_acquire(&image, &config, &err), -ENOENT);
	assert_non_null(strstr(err->message, "does not exist; create it, or give its <capacity>"));
	error_free(err);
	assert_int_equal(access(path, F_OK), -1);
	config.capacity = 1 * MiB;
	config.read_only = true;
	assert_int_equal(image_acquire(&image, &config, NULL), -ENOENT);
	config.read_only = false;
	assert_int_equal(image_acquire(&image, &config, NULL), 0);
	image_release(&image);
}

static void holds_the_lock_without_the_controllers_descriptor(void **state)
{
	struct namespace_config config = file_config();
	struct image image = IMAGE_NONE, other = IMAGE_NONE;
	struct error *err = NULL;
	int fd;

	config.capacity = 1 * MiB;
	assert_int_equal(image_acquire(&image, &config, NULL), 0);
	assert_int_equal(image_open(&image, &config, &fd, NULL), 0);
	close(fd); /* the controller is gone */
	assert_int_equal(image_acquire(&other, &config, &err), -EAGAIN);
	assert_non_null(strstr(err->message, path));
	error_free(err);
	assert_int_equal(other.lock_fd, -1);
	image_release(&image);
	assert_int_equal(image_acquire(&other, &config, NULL), 0);
	image_release(&other);
}

static void is_held_without_the_lock(void **state)
{
	struct namespace_config config = file_config();
	struct image image = IMAGE_NONE, other = IMAGE_NONE;
	struct error *err = NULL;
	int fd;

	config.capacity = 1 * MiB;
	assert_int_equal(image_hold(&image, &config, NULL), -ENOENT);
	assert_int_equal(image_acquire(&other, &config, NULL), 0);
	assert_int_equal(image_hold(&image, &config, NULL), 0);
	assert_int_equal(image_open(&image, &config, &fd, NULL), 0);
	close(fd);
	assert_int_equal(image_lock(&image, &config, &err), -EAGAIN);
	assert_non_null(strstr(err->message, path));
	error_free(err);
	image_unlock(&other);
	assert_int_equal(image_lock(&image, &config, NULL), 0);
	assert_int_equal(image_lock(&other, &config, NULL), -EAGAIN);
	image_unlock(&image);
	assert_int_equal(image_lock(&other, &config, NULL), 0);
	image_release(&image);
	image_release(&other);
}

static void shareable_is_shared(void **state)
{
	struct namespace_config config = file_config();
	struct image image = IMAGE_NONE, other = IMAGE_NONE;

	config.capacity = 1 * MiB;
	config.shareable = true;
	assert_int_equal(image_acquire(&image, &config, NULL), 0);
	assert_int_equal(image_acquire(&other, &config, NULL), 0);
	image_release(&image);
	image_release(&other);
}

static void opens_a_description_of_its_own(void **state)
{
	struct namespace_config config = file_config();
	struct image image = IMAGE_NONE;
	int first, second;

	config.capacity = 1 * MiB;
	assert_int_equal(image_acquire(&image, &config, NULL), 0);
	assert_int_equal(image_open(&image, &config, &first, NULL), 0);
	assert_int_equal(image_open(&image, &config, &second, NULL), 0);
	assert_int_equal(fcntl(first, F_GETFL) & O_ACCMODE, O_RDWR);
	assert_int_equal(lseek(first, 10, SEEK_SET), 10);
	assert_int_equal(lseek(second, 0, SEEK_CUR), 0);
	close(first);
	close(second);
	image_release(&image);
}

static void notices_a_replaced_image(void **state)
{
	struct namespace_config config = file_config();
	struct image image = IMAGE_NONE;
	int fd;

	config.capacity = 1 * MiB;
	assert_int_equal(image_acquire(&image, &config, NULL), 0);
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	assert_int_equal(ftruncate(fd, 1 * MiB), 0);
	close(fd);
	assert_int_equal(image_open(&image, &config, &fd, NULL), -ESTALE);
	image_release(&image);
}

/* Its disk's content is the guest's affair: only what says so by its name as well is refused. */
static void serves_no_qcow2_as_raw(void **state)
{
	static const char magic[512] = "QFI\xfb";
	struct namespace_config config = file_config();
	struct image image = IMAGE_NONE;
	struct error *err = NULL;
	char qcow2[64];
	int fd;

	snprintf(qcow2, sizeof(qcow2), "%s/a.qcow2", directory);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(write(fd, magic, sizeof(magic)), sizeof(magic));
	close(fd);
	assert_int_equal(image_acquire(&image, &config, NULL), 0);
	image_release(&image);
	assert_int_equal(rename(path, qcow2), 0);
	config.path = qcow2;
	assert_int_equal(image_acquire(&image, &config, &err), -EINVAL);
	assert_non_null(strstr(err->message, "qemu-img convert -O raw"));
	error_free(err);
	assert_int_equal(image.lock_fd, -1);
	unlink(qcow2);
}

/* What the log says of an image of that size. */
static bool tells_of_tail(off_t size, uint64_t block_size)
{
	struct namespace_config config = file_config();
	struct image image = IMAGE_NONE;
	int saved = dup(STDERR_FILENO);
	FILE *log = tmpfile();
	char text[512] = "";
	int fd;

	config.block_size = block_size;
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
	assert_non_null(log);
	dup2(fileno(log), STDERR_FILENO);
	assert_int_equal(image_acquire(&image, &config, NULL), 0);
	dup2(saved, STDERR_FILENO);
	close(saved);
	image_release(&image);
	rewind(log);
	if (!fgets(text, sizeof(text), log))
		text[0] = '\0';
	fclose(log);
	return strstr(text, "bytes are not visible to the guest") != NULL;
}

static void tells_of_what_the_guest_does_not_see(void **state)
{
	assert_false(tells_of_tail(1 * MiB, 0));
	assert_true(tells_of_tail(1 * MiB + 100, 512));
	assert_false(tells_of_tail(1 * MiB + 512, 512));
	assert_true(tells_of_tail(1 * MiB + 512, 4096));
}

/* It is the keeper's, so that it outlives the controller, which shall know what it is. */
static void a_memory_disk_is_a_file_in_memory(void **state)
{
	static const char *const types[] = { "memory", "file" };

	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		_cleanup_json_ struct json_object *config = json_object_new_object();
		_cleanup_json_ struct json_object *copy = NULL;

		json_add_string(config, "type", types[i]);
		json_add_string(config, "cache", "none");
		copy = namespace_config_for_controller(config);
		assert_string_equal(json_string_or(copy, "type", ""), "file");
		assert_string_equal(json_string_or(copy, "cache", ""), i ? "none" : "writeback");
		assert_int_equal(json_bool_or(copy, "in_memory", false), !i);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(wants_a_capacity_for_a_missing_image),
		TEST(holds_the_lock_without_the_controllers_descriptor),
		TEST(is_held_without_the_lock),
		TEST(shareable_is_shared),
		TEST(opens_a_description_of_its_own),
		TEST(notices_a_replaced_image),
		TEST(serves_no_qcow2_as_raw),
		TEST(tells_of_what_the_guest_does_not_see),
		TEST(a_memory_disk_is_a_file_in_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
