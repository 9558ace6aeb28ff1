// SPDX-License-Identifier: LGPL-2.1-or-later
/* Making and opening images: what is refused, with which sentence, and what is left behind. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>

#include "block/alignment.h"
#include "block/create.h"
#include "block/open.h"
#include "tests/unit/block/image.h"
#include "tests/unit/test.h"

static char dir[] = "block-open-XXXXXX";
static char path[64];

static int setup(void **state)
{
	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/image.raw", dir);
	return 0;
}

static int teardown(void **state)
{
	unlink(path);
	rmdir(path);
	return rmdir(dir);
}

static const struct block_create_options sparse = {
	.capacity = 8 * MiB, .mode = 0640, .uid = -1, .gid = -1
};

static void assert_dir_is_empty(void)
{
	DIR *d = opendir(dir);
	unsigned count = 0;

	while (readdir(d))
		count++;
	closedir(d);
	assert_int_equal(count, 2);
}

static void creates_sparse(void **state)
{
	struct stat st;
	mode_t mask = umask(0077);

	assert_int_equal(block_create_file(path, &sparse, NULL), 0);
	umask(mask);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 8 * MiB);
	assert_true(st.st_blocks < 128);
	assert_int_equal(st.st_mode & 07777, 0640);
}

static void creates_preallocated(void **state)
{
	struct block_create_options options = sparse;
	struct stat st;

	options.allocation = UINT64_MAX / 2;
	assert_int_equal(block_create_file(path, &options, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 8 * MiB);
	assert_true(st.st_blocks * 512ULL >= 8 * MiB);
	unlink(path);
	options.allocation = 1 * MiB;
	assert_int_equal(block_create_file(path, &options, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 8 * MiB);
	assert_in_range(st.st_blocks * 512ULL, 1 * MiB, 2 * MiB);
}

static void rounds_up(void **state)
{
	struct block_create_options options = sparse;
	struct stat st;

	options.capacity = 1000000;
	assert_int_equal(block_create_file(path, &options, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 1003520);
	assert_int_equal(options.capacity, 1000000);
}

static void never_overwrites(void **state)
{
	_cleanup_error_ struct error *file = NULL, *link = NULL, *directory = NULL;
	char text[8] = "";
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, "mine", 4), 4);
	assert_int_equal(block_create_file(path, &sparse, &file), -EEXIST);
	assert_non_null(strstr(file->message, path));
	assert_int_equal(pread(fd, text, sizeof(text), 0), 4);
	assert_string_equal(text, "mine");
	close(fd);
	unlink(path);

	assert_int_equal(symlink("elsewhere", path), 0);
	assert_int_equal(block_create_file(path, &sparse, &link), -EEXIST);
	unlink(path);
	assert_dir_is_empty();

	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(block_create_file(path, &sparse, &directory), -EEXIST);
}

static void refuses_impossible_sizes(void **state)
{
	struct block_create_options options = sparse;

	options.capacity = 0;
	assert_int_equal(block_create_file(path, &options, NULL), -EINVAL);
	options.capacity = UINT64_MAX;
	assert_int_equal(block_create_file(path, &options, NULL), -EINVAL);
	assert_int_equal(block_create_file("/nonexistent/image", &sparse, NULL), -ENOENT);
	assert_dir_is_empty();
}

static int create_beyond_the_limit(void)
{
	const struct rlimit limit = { 1 * MiB, 1 * MiB };

	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
		return 1;
	return block_create_file(path, &sparse, NULL) == -EFBIG ? 0 : 2;
}

static void leaves_nothing_after_a_failure(void **state)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(create_beyond_the_limit());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_dir_is_empty();
}

static void opens_for_each_cache_mode(void **state)
{
	struct block_path_options options = { .expect = BLOCK_PATH_FILE };
	enum block_cache cache;

	assert_int_equal(block_create_file(path, &sparse, NULL), 0);
	for (cache = BLOCK_CACHE_NONE; cache <= BLOCK_CACHE_WRITETHROUGH; cache++) {
		struct block_file_options file = { .cache = cache };
		struct block *block;
		int fd = -1;

		options.cache = file.cache = cache;
		if (cache == BLOCK_CACHE_NONE &&
		    block_open_path(path, &options, &fd, NULL) == -EINVAL)
			continue; /* a tmpfs, before Linux 6.6 */
		if (fd < 0)
			assert_int_equal(block_open_path(path, &options, &fd, NULL), 0);
		assert_int_equal(!!(fcntl(fd, F_GETFL) & O_DIRECT), cache == BLOCK_CACHE_NONE);
		assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		block = block_open_file(fd, &file, NULL);
		assert_non_null(block);
		assert_int_equal(block_get_info(block)->capacity, 8 * MiB);
		block_close(block);
	}
}

static void assert_refused(const char *name, struct block_path_options options, int code,
			   const char *part)
{
	_cleanup_error_ struct error *err = NULL;
	int fd = -7;

	assert_int_equal(block_open_path(name, &options, &fd, &err), -code);
	assert_int_equal(fd, -7);
	assert_int_equal(err->code, code);
	if (!strstr(err->message, name) || !strstr(err->message, part))
		fail_msg("%s", err->message);
}

static void refuses_what_is_no_image(void **state)
{
	const struct block_path_options file = { BLOCK_PATH_FILE, BLOCK_CACHE_WRITEBACK, false };
	const struct block_path_options device = { BLOCK_PATH_DEVICE, BLOCK_CACHE_NONE, true };
	const struct block_path_options direct = { BLOCK_PATH_FILE, BLOCK_CACHE_NONE, true };

	assert_refused(path, file, ENOENT, "<capacity>");
	assert_refused(dir, file, EISDIR, "regular file");
	assert_refused("/dev/null", file, EINVAL, "regular file");
	assert_refused("/dev/null", device, ENOTBLK, "block device");
	/* Nobody writes to it: opening it would hang. */
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_refused(path, file, EINVAL, "regular file");
	unlink(path);
	assert_int_equal(block_create_file(path, &sparse, NULL), 0);
	assert_refused(path, device, ENOTBLK, "type=\"file\"");
	assert_refused("/proc/version", direct, EINVAL, "cache=\"writeback\"");
}

static int as_somebody_else(void)
{
	const struct block_path_options options = { BLOCK_PATH_FILE, BLOCK_CACHE_WRITEBACK, false };
	_cleanup_error_ struct error *err = NULL;
	char id[32];
	int fd;

	/* Root may open anything. */
	if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
		return 77;
	snprintf(id, sizeof(id), "id %u ", geteuid());
	if (block_open_path(path, &options, &fd, &err) != -EACCES)
		return 1;
	return strstr(err->message, id) ? 0 : 2;
}

static int on_a_read_only_file_system(void)
{
	struct block_path_options options = { BLOCK_PATH_FILE, BLOCK_CACHE_WRITEBACK, false };
	_cleanup_error_ struct error *err = NULL;
	int fd;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(dir, dir, NULL, MS_BIND, NULL) < 0 ||
	    mount(NULL, dir, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
		return 77;
	if (block_open_path(path, &options, &fd, &err) != -EROFS)
		return 1;
	if (!strstr(err->message, "<readonly/>"))
		return 2;
	options.read_only = true;
	return block_open_path(path, &options, &fd, NULL) == 0 ? 0 : 3;
}

static void in_child(int (*body)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(body());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		SKIP("needs root");
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void says_who_may_not_open_it(void **state)
{
	assert_int_equal(block_create_file(path, &sparse, NULL), 0);
	assert_int_equal(chmod(path, 0), 0);
	in_child(as_somebody_else);
}

static void says_that_a_file_system_is_read_only(void **state)
{
	assert_int_equal(block_create_file(path, &sparse, NULL), 0);
	in_child(on_a_read_only_file_system);
}

/* What older kernels must find out by trying is not less than what newer ones say. */
static void probes_the_alignment(void **state)
{
	const struct block_path_options options = { BLOCK_PATH_FILE, BLOCK_CACHE_NONE, false };
	struct block_alignment asked, probed;
	_cleanup_close_ int fd = -1;

	assert_int_equal(block_create_file(path, &sparse, NULL), 0);
	if (block_open_path(path, &options, &fd, NULL) < 0)
		SKIP("no O_DIRECT on this file system");
	assert_int_equal(block_alignment_probe(fd, &probed), 0);
	assert_true(is_power_of_two(probed.offset) && probed.offset >= 512 &&
		    probed.offset <= 4096);
	if (block_alignment_ask(fd, &asked) < 0)
		SKIP("this kernel does not tell what O_DIRECT needs");
	assert_true(probed.offset >= asked.offset);
	assert_true(probed.memory >= asked.memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(creates_sparse, setup, teardown),
		cmocka_unit_test_setup_teardown(creates_preallocated, setup, teardown),
		cmocka_unit_test_setup_teardown(rounds_up, setup, teardown),
		cmocka_unit_test_setup_teardown(never_overwrites, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_impossible_sizes, setup, teardown),
		cmocka_unit_test_setup_teardown(leaves_nothing_after_a_failure, setup, teardown),
		cmocka_unit_test_setup_teardown(opens_for_each_cache_mode, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_what_is_no_image, setup, teardown),
		cmocka_unit_test_setup_teardown(says_who_may_not_open_it, setup, teardown),
		cmocka_unit_test_setup_teardown(says_that_a_file_system_is_read_only, setup,
						teardown),
		cmocka_unit_test_setup_teardown(probes_the_alignment, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
