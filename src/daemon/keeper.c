// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/keeper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/i18n.h"
#include "base/log.h"
#include "control/channel.h"

/*
 * Theory of operation
 *
 * A keeper gets its configuration in a memfd and says on a pipe when it serves. It runs in a session
 * of its own and is not tied to us: the daemon may end while it runs. Our children must be reaped
 * all the same, by pid, since other threads wait for other children (probe.c).
 */

#define KEEPER_PROGRAM	 VIRTNVME_PROGRAM_DIR "/virtnvme-keeper"
#define CHILD_CONFIG_FD	 3
#define CHILD_READY_FD	 4
#define MAX_READY_ANSWER (64 * KiB)
#define GONE_POLL_MS	 10

extern char **environ;

static pthread_mutex_t children_lock = PTHREAD_MUTEX_INITIALIZER;
static pid_t *children;
static size_t child_count;

static void children_add(pid_t pid)
{
	pid_t *grown;

	pthread_mutex_lock(&children_lock);
	grown = realloc(children, (child_count + 1) * sizeof(*grown));
	if (grown) {
		children = grown;
		children[child_count++] = pid;
	}
	pthread_mutex_unlock(&children_lock);
}

void keeper_reap(void)
{
	size_t i = 0;

	pthread_mutex_lock(&children_lock);
	while (i < child_count) {
		int status;

		if (waitpid(children[i], &status, WNOHANG) == 0) {
			i++;
			continue;
		}
		log_debug("keeper %d has ended", (int)children[i]);
		children[i] = children[--child_count];
	}
	pthread_mutex_unlock(&children_lock);
}

char *keeper_directory(const char *uuid)
{
	char *path;

	return asprintf(&path, "%s/%s", VIRTNVME_RUNTIME_DIR, uuid) < 0 ? NULL : path;
}

static int keeper_socket(const char *uuid, int *ret_fd)
{
	_cleanup_free_ char *path = NULL;
	int r;

	if (asprintf(&path, "%s/%s/keeper.sock", VIRTNVME_RUNTIME_DIR, uuid) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	r = control_connect(path, ret_fd);
	return r == -ECONNREFUSED ? -ENOENT : r;
}

/* Where the keeper and its controller write: the journal, when we do, else a file a domain. */
static int open_log(const char *name)
{
	_cleanup_free_ char *path = NULL;
	int fd;

	if (getenv("JOURNAL_STREAM"))
		return -1;
	if (asprintf(&path, "%s/%s.log", VIRTNVME_LOG_DIR, name) < 0) {
		path = NULL;
		return -1;
	}
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		log_warning("%s: %s", path, strerror(errno));
	return fd;
}

static int config_memfd(struct json_object *config)
{
	_cleanup_close_ int fd = memfd_create("virtnvme-keeper-config", MFD_CLOEXEC);
	const char *text = json_text(config);
	int r;

	if (fd < 0)
		return -errno;
	r = fd_write_full(fd, text, strlen(text));
	if (r < 0)
		return r;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	return steal_fd(&fd);
}

static int spawn(const char *name, int config_fd, int ready_fd, pid_t *ret_pid)
{
	static const char *const argv[] = { "virtnvme-keeper", "--config-fd=3", "--ready-fd=4",
					    NULL };
	_cleanup_close_ int log_fd = open_log(name);
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t set;
	int r;

	posix_spawnattr_init(&attributes);
	sigemptyset(&set);
	posix_spawnattr_setsigmask(&attributes, &set);
	sigfillset(&set);
	posix_spawnattr_setsigdefault(&attributes, &set);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
						      POSIX_SPAWN_SETSIGDEF);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (log_fd >= 0) {
		posix_spawn_file_actions_adddup2(&actions, log_fd, STDOUT_FILENO);
		posix_spawn_file_actions_adddup2(&actions, log_fd, STDERR_FILENO);
	}
	posix_spawn_file_actions_adddup2(&actions, config_fd, CHILD_CONFIG_FD);
	posix_spawn_file_actions_adddup2(&actions, ready_fd, CHILD_READY_FD);
	r = posix_spawn(ret_pid, KEEPER_PROGRAM, &actions, &attributes, (char **)(uintptr_t)argv,
			environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return -r;
}

/* One line, or everything up to the end of the pipe. */
static int read_ready(int fd, char *text, size_t size, struct error **errp)
{
	int64_t end = clock_ms(CLOCK_MONOTONIC) + KEEPER_START_TIMEOUT_MS;
	size_t len = 0;

	while (len + 1 < size) {
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		int64_t left = end - clock_ms(CLOCK_MONOTONIC);
		ssize_t n;

		if (left <= 0 || poll(&poll_fd, 1, left) == 0)
			return error_set(errp, ETIMEDOUT, _("the keeper did not start in %d s"),
					 KEEPER_START_TIMEOUT_MS / 1000);
		n = read(fd, text + len, size - 1 - len);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			break;
		len += n;
		if (text[len - 1] == '\n')
			break;
	}
	text[len] = '\0';
	return 0;
}

static int judge_ready(const char *text, struct error **errp)
{
	_cleanup_json_ struct json_object *answer = NULL;
	struct json_object *failure;
	size_t len = strlen(text);

	while (len && text[len - 1] == '\n')
		len--;
	if (!len)
		return error_set(errp, EIO, _("the keeper ended while it started; see its log"));
	answer = json_parse(text, len, errp);
	if (!answer)
		return -EIO;
	failure = json_child(answer, "error", json_type_object);
	if (failure)
		return error_set(errp, MAX(json_u64_or(failure, "code", EIO), (uint64_t)1), "%s",
				 json_string_or(failure, "message", "unknown error"));
	return 0;
}

/* dup2() onto 3 and 4 must not overwrite the other one before it was used. */
static int move_up(int *fd)
{
	int moved = fcntl(*fd, F_DUPFD_CLOEXEC, CHILD_READY_FD + 1);

	if (moved < 0)
		return -errno;
	close(*fd);
	*fd = moved;
	return 0;
}

int keeper_start(const char *name, struct json_object *config, struct error **errp)
{
	_cleanup_close_ int config_fd = config_memfd(config);
	_cleanup_close_ int read_fd = -1;
	_cleanup_close_ int write_fd = -1;
	_cleanup_free_ char *text = malloc(MAX_READY_ANSWER);
	int fds[2], r;
	pid_t pid;

	if (config_fd < 0 || !text || pipe2(fds, O_CLOEXEC) < 0)
		return error_set_errno(errp, config_fd < 0 ? -config_fd : ENOMEM, "keeper");
	read_fd = fds[0];
	write_fd = fds[1];
	r = move_up(&config_fd);
	if (r == 0)
		r = move_up(&write_fd);
	if (r == 0)
		r = spawn(name, config_fd, write_fd, &pid);
	if (r < 0)
		return error_set_errno(errp, -r, "%s", KEEPER_PROGRAM);
	children_add(pid);
	close(steal_fd(&write_fd));

	r = read_ready(read_fd, text, MAX_READY_ANSWER, errp);
	if (r == 0)
		r = judge_ready(text, errp);
	else
		kill(pid, SIGTERM);
	if (r == 0)
		log_info("%s: its keeper runs", name);
	return r;
}

int keeper_call(const char *uuid, const char *command, struct json_object *arguments,
		struct json_object **ret_result, struct error **errp)
{
	_cleanup_json_ struct json_object *owned = arguments;
	_cleanup_close_ int fd = -1;
	int r;

	r = keeper_socket(uuid, &fd);
	if (r < 0)
		return error_set(errp, -r, _("the domain's keeper does not run"));
	return control_call(fd, command, owned, KEEPER_TIMEOUT_MS, ret_result, errp);
}

bool keeper_runs(const char *uuid)
{
	_cleanup_close_ int fd = -1;

	return keeper_socket(uuid, &fd) == 0;
}

/*
 * A keeper that ends closes its socket first and takes the lock beside its directory away last. One
 * that was killed leaves the file, but no lock on it.
 */
static bool is_gone(const char *uuid)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;

	if (asprintf(&path, "%s/%s.lock", VIRTNVME_RUNTIME_DIR, uuid) < 0) {
		path = NULL;
		return true;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0;
}

static bool wait_gone(const char *uuid)
{
	int64_t end = clock_ms(CLOCK_MONOTONIC) + KEEPER_STOP_TIMEOUT_MS;

	while (!is_gone(uuid)) {
		if (clock_ms(CLOCK_MONOTONIC) >= end)
			return false;
		usleep(GONE_POLL_MS * 1000);
	}
	return true;
}

/*
 * Of a keeper that was killed. With its lock in our hand no other one can be starting here; the lock
 * of a file that is no longer there would be worth nothing.
 */
static void remove_leftovers(const char *uuid)
{
	_cleanup_free_ char *directory = keeper_directory(uuid);
	_cleanup_free_ char *lock = NULL;
	_cleanup_close_ int fd = -1;
	struct stat ours, there;
	struct dirent *entry;
	DIR *dir;

	if (!directory || asprintf(&lock, "%s.lock", directory) < 0) {
		lock = NULL;
		return;
	}
	fd = open(lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &ours) < 0 ||
	    stat(lock, &there) < 0 || ours.st_ino != there.st_ino)
		return;
	dir = opendir(directory);
	while (dir && (entry = readdir(dir)))
		if (!string_equal(entry->d_name, ".") && !string_equal(entry->d_name, ".."))
			unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(directory);
	unlink(lock);
}

int keeper_stop(const char *uuid, struct error **errp)
{
	struct error *err = NULL;
	_cleanup_close_ int fd = -1;
	int r = 0;

	if (keeper_socket(uuid, &fd) == 0)
		r = control_call(fd, "stop", NULL, KEEPER_STOP_TIMEOUT_MS, NULL, &err);
	/* It may have been about to go by itself. */
	if (r < 0 && keeper_runs(uuid))
		return error_propagate(errp, err);
	error_free(err);
	if (!wait_gone(uuid))
		return error_set(errp, ETIMEDOUT, _("the domain's keeper does not end"));
	remove_leftovers(uuid);
	return 0;
}

void keeper_for_each(void (*visit)(const char *uuid))
{
	struct dirent *entry;
	DIR *dir;

	dir = opendir(VIRTNVME_RUNTIME_DIR);
	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (strlen(entry->d_name) == 36)
			visit(entry->d_name);
	closedir(dir);
}

static bool is_qemus(const char *name)
{
	return string_has_prefix(name, "nvme") || string_equal(name, "qmp.sock") ||
	       string_equal(name, "bus.sock");
}

int keeper_own_sockets(const char *uuid, uid_t uid, gid_t gid)
{
	_cleanup_free_ char *path = keeper_directory(uuid);
	struct dirent *entry;
	int r = 0;
	DIR *dir;

	dir = path ? opendir(path) : NULL;
	if (!dir)
		return -errno;
	while ((entry = readdir(dir)))
		if (is_qemus(entry->d_name) &&
		    fchownat(dirfd(dir), entry->d_name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
			r = -errno;
	closedir(dir);
	return r;
}
