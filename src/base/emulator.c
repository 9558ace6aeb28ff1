// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/emulator.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/i18n.h"

#define TIMEOUT_MS 10000
#define MAX_OUTPUT (1 * MiB)

extern char **environ;

static int start(const char *program, const char *option, int output, pid_t *ret_pid)
{
	const char *const argv[] = { program, "-machine", "none", option, "help", NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	int r;

	sigemptyset(&none);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, output, 1);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	r = posix_spawn(ret_pid, program, &actions, &attributes, (char **)(uintptr_t)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return -r;
}

/* To the end of the output; NULL when it does not end, or is too long. */
static char *read_output(int fd)
{
	int64_t deadline = clock_ms(CLOCK_MONOTONIC) + TIMEOUT_MS;
	_cleanup_free_ char *text = malloc(MAX_OUTPUT + 1);
	struct pollfd output = { .fd = fd, .events = POLLIN };
	size_t len = 0;

	while (text && len < MAX_OUTPUT) {
		int r = poll(&output, 1, MAX(deadline - clock_ms(CLOCK_MONOTONIC), (int64_t)0));
		ssize_t n = r > 0 ? read(fd, text + len, MAX_OUTPUT - len) : -1;

		if (n < 0 && r != 0 && errno == EINTR)
			continue;
		if (n < 0)
			return NULL;
		if (n == 0) {
			text[len] = '\0';
			return steal_pointer(text);
		}
		len += n;
	}
	return NULL;
}

static bool in_word(char c)
{
	return isalnum((unsigned char)c) || c == '-' || c == '_';
}

static bool names(const char *text, const char *word)
{
	const char *hit = text;

	for (; (hit = strstr(hit, word)); hit++)
		if ((hit == text || !in_word(hit[-1])) && !in_word(hit[strlen(word)]))
			return true;
	return false;
}

int emulator_has(const char *program, const char *option, const char *type, struct error **errp)
{
	_cleanup_free_ char *text = NULL;
	int ends[2], r;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set_errno(errp, errno, "%s", program);
	r = start(program, option, ends[1], &pid);
	close(ends[1]);
	if (r == 0) {
		text = read_output(ends[0]);
		if (!text)
			kill(pid, SIGKILL);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	close(ends[0]);
	if (r < 0)
		return error_set_errno(errp, -r, "%s", program);
	if (!text)
		return error_set(errp, EIO, _("%s did not say what devices it has"), program);
	return names(text, type);
}
