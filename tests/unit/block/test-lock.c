// SPDX-License-Identifier: LGPL-2.1-or-later
/* Image locks among ourselves, byte by byte, and against the real qemu-img and qemu-io. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>

#include "block/lock.h"
#include "tests/unit/block/image.h"
#include "tests/unit/test.h"

static char *path;

static int setup(void **state)
{
	path = image_make(false, 1 * MiB);
	return 0;
}

static int teardown(void **state)
{
	image_remove(path);
	return 0;
}

static int open_image(void)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* The locked bytes below 500 that a stranger sees, as "100 101 ". */
static void assert_locked(const char *expected)
{
	_cleanup_close_ int fd = open_image();
	char seen[256] = "";
	off_t byte;

	for (byte = 0; byte < 500; byte++) {
		struct flock lock = { .l_type = F_WRLCK, .l_start = byte, .l_len = 1 };

		assert_int_equal(fcntl(fd, F_OFD_GETLK, &lock), 0);
		if (lock.l_type != F_UNLCK) {
			assert_int_equal(lock.l_type, F_RDLCK);
			snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), "%d ",
				 (int)byte);
		}
	}
	assert_string_equal(seen, expected);
}

static void locks_the_bytes_that_qemu_locks(void **state)
{
	static const char *const bytes[] = {
		[BLOCK_LOCK_READ_ONLY] = "100 201 203 ",
		[BLOCK_LOCK_EXCLUSIVE_WRITE] = "100 101 201 203 ",
		[BLOCK_LOCK_SHARED_WRITE] = "100 101 203 ",
	};
	enum block_lock_mode mode;

	for (mode = BLOCK_LOCK_READ_ONLY; mode <= BLOCK_LOCK_SHARED_WRITE; mode++) {
		int fd = open_image();

		assert_int_equal(block_lock_acquire(fd, mode, NULL), 0);
		assert_locked(bytes[mode]);
		assert_int_equal(block_lock_release(fd), 0);
		assert_locked("");
		assert_int_equal(block_lock_acquire(fd, mode, NULL), 0);
		close(fd);
		assert_locked("");
	}
}

static void two_of_ours(void **state)
{
	/* [first][second], in the order of enum block_lock_mode */
	static const bool allowed[3][3] = {
		{ true, false, false },
		{ false, false, false },
		{ false, false, true },
	};
	enum block_lock_mode a, b;

	for (a = 0; a < 3; a++) {
		for (b = 0; b < 3; b++) {
			_cleanup_close_ int first = open_image(), second = open_image();
			_cleanup_error_ struct error *err = NULL;
			int ret;

			assert_int_equal(block_lock_acquire(first, a, NULL), 0);
			ret = block_lock_acquire(second, b, &err);
			assert_int_equal(ret, allowed[a][b] ? 0 : -EAGAIN);
			if (ret == 0)
				continue;
			assert_non_null(strstr(err->message, path));
			assert_non_null(strstr(err->message, "in use"));
			/* The loser holds nothing. */
			block_lock_release(first);
			assert_locked("");
		}
	}
}

static void a_lock_lives_as_long_as_its_description(void **state)
{
	_cleanup_close_ int kept = -1, other = open_image();
	int fd = open_image();

	assert_int_equal(block_lock_acquire(fd, BLOCK_LOCK_EXCLUSIVE_WRITE, NULL), 0);
	kept = dup(fd);
	close(fd);
	assert_int_equal(block_lock_acquire(other, BLOCK_LOCK_EXCLUSIVE_WRITE, NULL), -EAGAIN);
	assert_int_equal(block_lock_release(kept), 0);
	assert_int_equal(block_lock_acquire(other, BLOCK_LOCK_EXCLUSIVE_WRITE, NULL), 0);
}

static void the_generation_byte_is_nobody_elses(void **state)
{
	_cleanup_close_ int keeper = open_image(), controller = open_image(), next = open_image();
	struct flock lock = { .l_type = F_WRLCK,
			      .l_start = BLOCK_LOCK_GENERATION_BYTE,
			      .l_len = 1 };

	assert_int_equal(block_lock_acquire(keeper, BLOCK_LOCK_EXCLUSIVE_WRITE, NULL), 0);
	assert_int_equal(fcntl(controller, F_OFD_SETLK, &lock), 0);
	assert_int_equal(fcntl(next, F_OFD_SETLK, &lock), -1);
	block_lock_release(keeper);
	assert_int_equal(fcntl(next, F_OFD_SETLK, &lock), -1);
	assert_int_equal(block_lock_acquire(keeper, BLOCK_LOCK_EXCLUSIVE_WRITE, NULL), 0);
}

static void a_descriptor_that_cannot_be_locked(void **state)
{
	_cleanup_error_ struct error *err = NULL;

	assert_int_equal(block_lock_acquire(-1, BLOCK_LOCK_READ_ONLY, &err), -EBADF);
	assert_non_null(err);
}

/*
 * QEMU's own programs
 */

static void require_qemu(void)
{
	if (system("qemu-img --version >/dev/null 2>&1 && qemu-io --version >/dev/null 2>&1") != 0)
		SKIP("qemu-img and qemu-io are not installed");
}

/* Run a command on the image; what it printed is in @output. Return: exit status. */
static int command(char output[4096], const char *format)
{
	char line[4096];
	size_t n;
	FILE *f;
	int status;

	snprintf(line, sizeof(line), format, path);
	f = popen(line, "r");
	assert_non_null(f);
	n = fread(output, 1, 4095, f);
	output[n] = '\0';
	status = pclose(f);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void assert_refused(const char *format)
{
	char output[4096];

	if (command(output, format) == 0 || !strstr(output, "Failed to get"))
		fail_msg("not refused: %s: %s", format, output);
}

static void assert_allowed(const char *format)
{
	char output[4096];

	if (command(output, format) != 0)
		fail_msg("refused: %s: %s", format, output);
}

#define INFO	   "qemu-img info -f qcow2 %s 2>&1"
#define INFO_SHARE "qemu-img info -U -f qcow2 %s 2>&1"
#define READ	   "qemu-io -r -f raw -c 'read 0 512' %s 2>&1"
#define WRITE	   "qemu-io -f raw -c 'write 0 512' %s 2>&1"
#define RESIZE	   "qemu-img resize -f raw %s 2M 2>&1"

/* To read a raw image QEMU asks for nothing that we forbid: as when a guest of its own uses it. A
 * format with metadata must not change meanwhile. */
static void qemu_respects_our_locks(void **state)
{
	_cleanup_close_ int fd = open_image();

	require_qemu();
	assert_int_equal(block_lock_acquire(fd, BLOCK_LOCK_EXCLUSIVE_WRITE, NULL), 0);
	assert_allowed(READ);
	assert_refused(WRITE);
	assert_refused(RESIZE);
	block_lock_release(fd);
	assert_allowed(WRITE);

	assert_int_equal(block_lock_acquire(fd, BLOCK_LOCK_READ_ONLY, NULL), 0);
	assert_allowed(READ);
	assert_refused(WRITE);
	assert_refused(RESIZE);
	block_lock_release(fd);

	assert_int_equal(block_lock_acquire(fd, BLOCK_LOCK_SHARED_WRITE, NULL), 0);
	assert_allowed(WRITE);
	assert_refused(RESIZE);
	block_lock_release(fd);
	assert_allowed(RESIZE);
}

static void make_qcow2(void)
{
	assert_allowed("qemu-img create -f qcow2 %s 1M 2>&1");
}

static void qemu_img_info_fails_on_an_image_that_we_write(void **state)
{
	_cleanup_close_ int fd = -1;

	require_qemu();
	make_qcow2();
	fd = open_image();
	assert_int_equal(block_lock_acquire(fd, BLOCK_LOCK_EXCLUSIVE_WRITE, NULL), 0);
	assert_refused(INFO);
	assert_allowed(INFO_SHARE);
	block_lock_release(fd);
	assert_int_equal(block_lock_acquire(fd, BLOCK_LOCK_SHARED_WRITE, NULL), 0);
	assert_refused(INFO);
	block_lock_release(fd);
	assert_int_equal(block_lock_acquire(fd, BLOCK_LOCK_READ_ONLY, NULL), 0);
	assert_allowed(INFO);
}

/* A qemu-io that has opened the image and waits. */
struct holder {
	pid_t pid;
	int in, out;
};

static struct holder hold(const char *format, const char *option)
{
	int in[2], out[2];
	struct holder holder;
	char text[512] = "";
	size_t n = 0;

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	holder.pid = fork();
	assert_true(holder.pid >= 0);
	if (holder.pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		execlp("qemu-io", "qemu-io", "-f", format, path, option, (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	holder.in = in[1];
	holder.out = out[0];
	/* The answer to a command says that the image is open. */
	assert_int_equal(write(holder.in, "length\n", 7), 7);
	while (!strstr(text, "MiB")) {
		ssize_t got = read(holder.out, text + n, sizeof(text) - 1 - n);

		assert_true(got > 0);
		n += got;
		text[n] = '\0';
	}
	return holder;
}

static void let_go(struct holder holder)
{
	int status;

	close(holder.in);
	assert_int_equal(waitpid(holder.pid, &status, 0), holder.pid);
	close(holder.out);
}

static void assert_ours(const char *format, const char *option, bool read_only, bool exclusive,
			bool shared)
{
	const bool allowed[] = {
		[BLOCK_LOCK_READ_ONLY] = read_only,
		[BLOCK_LOCK_EXCLUSIVE_WRITE] = exclusive,
		[BLOCK_LOCK_SHARED_WRITE] = shared,
	};
	struct holder holder = hold(format, option);
	_cleanup_close_ int fd = open_image();
	enum block_lock_mode mode;

	for (mode = BLOCK_LOCK_READ_ONLY; mode <= BLOCK_LOCK_SHARED_WRITE; mode++) {
		_cleanup_error_ struct error *err = NULL;
		int ret = block_lock_acquire(fd, mode, &err);

		assert_int_equal(ret, allowed[mode] ? 0 : -EAGAIN);
		if (ret == 0)
			block_lock_release(fd);
		else
			assert_non_null(strstr(err->message, "in use"));
	}
	let_go(holder);
	assert_int_equal(block_lock_acquire(fd, BLOCK_LOCK_EXCLUSIVE_WRITE, NULL), 0);
}

/* qemu-io shares a raw image with everybody, a qcow2 image with readers at most. */
static void we_respect_qemus_locks(void **state)
{
	require_qemu();
	assert_ours("raw", NULL, false, false, true);
	assert_ours("raw", "-r", true, true, true);
	make_qcow2();
	assert_ours("qcow2", NULL, false, false, false);
	assert_ours("qcow2", "-r", true, false, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(locks_the_bytes_that_qemu_locks, setup, teardown),
		cmocka_unit_test_setup_teardown(two_of_ours, setup, teardown),
		cmocka_unit_test_setup_teardown(a_lock_lives_as_long_as_its_description, setup,
						teardown),
		cmocka_unit_test_setup_teardown(the_generation_byte_is_nobody_elses, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_descriptor_that_cannot_be_locked, setup,
						teardown),
		cmocka_unit_test_setup_teardown(qemu_respects_our_locks, setup, teardown),
		cmocka_unit_test_setup_teardown(qemu_img_info_fails_on_an_image_that_we_write,
						setup, teardown),
		cmocka_unit_test_setup_teardown(we_respect_qemus_locks, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
