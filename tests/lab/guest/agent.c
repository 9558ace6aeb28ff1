// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * agent: runs commands in a lab guest for a test on the other end of a serial line.
 *
 * Theory of operation
 *
 * The line (ttyS1) carries lines from the test and frames from here. A serial line has no
 * connections: the test may appear in mid-stream, a reboot may lose half a frame, firmware may eat
 * input. So every request names a number and every frame answers with it; anything the other side
 * does not understand is skipped up to the next newline.
 *
 *	test:	sync NUMBER			are you there?
 *		run NUMBER LENGTH		then LENGTH bytes, a shell command
 *		kill NUMBER			give up on that command
 *	agent:	ready NUMBER BOOT-ID		answer to sync (NUMBER 0: the agent has just started)
 *		out NUMBER LENGTH		then LENGTH bytes of stdout and stderr, in order
 *		exit NUMBER STATUS		the command is over; 128 + signal if it was killed
 *
 * One command runs at a time. It is over when its shell exits, not when the last holder of its
 * stdout does: a command may leave something in the background.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define COMMAND_MAX (32 * 1024)

static int line;
static int child_exited[2]; /* a pipe: poll() sees SIGCHLD without a race */

static struct {
	unsigned long number;
	pid_t pid;  /* 0: no command runs */
	int output; /* -1: closed */
} command = { .output = -1 };

static void write_all(const char *data, size_t length)
{
	while (length > 0) {
		ssize_t n = write(line, data, length);

		if (n < 0 && errno != EINTR)
			exit(1);
		if (n > 0) {
			data += n;
			length -= (size_t)n;
		}
	}
}

static void __attribute__((format(printf, 1, 2))) say(const char *format, ...)
{
	char text[128];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	write_all(text, (size_t)n);
}

static void say_ready(unsigned long number)
{
	char boot_id[64] = "unknown";
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");

	if (file) {
		if (fscanf(file, "%63s", boot_id) != 1)
			boot_id[0] = '\0';
		fclose(file);
	}
	say("\nready %lu %s\n", number, boot_id);
}

/* Read one byte that must come: the rest of a command whose header has been read. */
static char read_byte(void)
{
	char c;
	ssize_t n;

	while ((n = read(line, &c, 1)) != 1) {
		if (n < 0 && errno != EINTR)
			exit(1);
		poll(&(struct pollfd){ .fd = line, .events = POLLIN }, 1, -1);
	}
	return c;
}

static void run(unsigned long number, size_t length)
{
	static char text[COMMAND_MAX + 1];
	int output[2];

	for (size_t i = 0; i < length; i++)
		text[i] = read_byte();
	text[length] = '\0';
	if (pipe(output) < 0)
		exit(1);
	command.number = number;
	command.output = output[0];
	command.pid = fork();
	if (command.pid == 0) {
		setsid();
		signal(SIGCHLD, SIG_DFL);
		dup2(open("/dev/null", O_RDONLY), 0);
		dup2(output[1], 1);
		dup2(output[1], 2);
		for (int fd = 3; fd < 32; fd++)
			close(fd);
		execl("/bin/sh", "sh", "-c", text, (char *)NULL);
		_exit(127);
	}
	close(output[1]);
	fcntl(output[0], F_SETFL, O_NONBLOCK);
}

static void close_output(void)
{
	if (command.output >= 0)
		close(command.output);
	command.output = -1;
}

/* Returns false when there is nothing to read for now, or ever. */
static bool forward_output(void)
{
	static char data[16 * 1024];
	ssize_t n = read(command.output, data, sizeof(data));

	if (n == 0)
		close_output(); /* everybody closed it, the command may go on */
	if (n <= 0)
		return false;
	say("out %lu %zd\n", command.number, n);
	write_all(data, (size_t)n);
	return true;
}

static void reap(void)
{
	int status;

	if (!command.pid || waitpid(command.pid, &status, WNOHANG) != command.pid)
		return;
	while (forward_output())
		;
	close_output();
	say("exit %lu %d\n", command.number,
	    WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	command.pid = 0;
}

static void obey(const char *text)
{
	unsigned long number;
	size_t length;

	if (sscanf(text, "sync %lu", &number) == 1)
		say_ready(number);
	else if (sscanf(text, "kill %lu", &number) == 1 && command.pid && number == command.number)
		kill(-command.pid, SIGKILL);
	else if (sscanf(text, "run %lu %zu", &number, &length) == 2 && !command.pid &&
		 length <= COMMAND_MAX)
		run(number, length);
}

static void read_line(void)
{
	static char text[128];
	static size_t length;
	char c;

	while (read(line, &c, 1) == 1) {
		if (c == '\n') {
			text[length] = '\0';
			length = 0;
			obey(text);
			return;
		}
		if (length < sizeof(text) - 1)
			text[length++] = c;
	}
}

static void on_child(int signo)
{
	(void)!write(child_exited[1], &signo, 1);
}

int main(int argc, char **argv)
{
	struct termios mode;
	char c;

	line = open(argc > 1 ? argv[1] : "/dev/ttyS1", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (line < 0 || tcgetattr(line, &mode) < 0 || pipe(child_exited) < 0) {
		perror("agent");
		return 1;
	}
	cfmakeraw(&mode);
	cfsetspeed(&mode, B115200);
	mode.c_cflag |= CLOCAL;
	mode.c_cc[VMIN] = 0; /* a read returns at once; poll() does the waiting */
	tcsetattr(line, TCSANOW, &mode);
	fcntl(child_exited[0], F_SETFL, O_NONBLOCK);
	signal(SIGCHLD, on_child);
	say_ready(0);
	for (;;) {
		struct pollfd wait[] = {
			{ .fd = line, .events = POLLIN },
			{ .fd = child_exited[0], .events = POLLIN },
			{ .fd = command.output, .events = POLLIN },
		};

		if (poll(wait, 3, -1) < 0)
			continue;
		if (wait[0].revents)
			read_line();
		if (wait[2].revents)
			forward_output();
		while (read(child_exited[0], &c, 1) == 1)
			;
		reap();
	}
}
