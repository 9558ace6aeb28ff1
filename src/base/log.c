// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#define BURST	       10
#define WINDOW_SECONDS 10

static const char *program = "virtnvme";
static char *context_text;
static int max_level = LOG_INFO;
static bool to_journal;
static bool to_stream; /* stderr is the journal, which takes the level in front of a line */

/* systemd.exec(5), JOURNAL_STREAM: "device:inode" of the stream that stderr was connected to at
 * start. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

void log_open(const char *name, int level)
{
	program = name;
	max_level = level;
	to_journal = stderr_is_journal();
}

void log_confined(void)
{
	to_stream = to_journal;
	to_journal = false;
}

void log_set_context(const char *context)
{
	free(context_text);
	context_text = context ? strdup(context) : NULL;
}

static void write_stderr(int level, const char *message)
{
	struct timespec now;
	char stamp[40] = "";
	struct tm tm;

	if (to_stream) {
		dprintf(STDERR_FILENO, "<%d>%s%s%s\n", level, context_text ? context_text : "",
			context_text ? ": " : "", message);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	if (gmtime_r(&now.tv_sec, &tm))
		strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	/* One write a line: several processes may share the file. */
	dprintf(STDERR_FILENO, "%s.%03ldZ %s[%d]: %s%s%s%s\n", stamp, now.tv_nsec / 1000000,
		program, (int)getpid(), level <= LOG_ERR ? "error: " : "",
		context_text ? context_text : "", context_text ? ": " : "", message);
}

void log_write(int level, const char *format, ...)
{
	int saved_errno = errno;
	_cleanup_free_ char *message = NULL;
	va_list args;
	int n;

	if (level > max_level)
		return;
	va_start(args, format);
	n = vasprintf(&message, format, args);
	va_end(args);
	if (n < 0)
		message = NULL;
	else if (to_journal)
		sd_journal_send("PRIORITY=%i", level, "SYSLOG_IDENTIFIER=%s", program,
				"MESSAGE=%s%s%s", context_text ? context_text : "",
				context_text ? ": " : "", message, NULL);
	else
		write_stderr(level, message);
	errno = saved_errno;
}

bool log_limit_pass(struct log_limit *limit, const char *what)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if ((uint64_t)now.tv_sec >= limit->window_start + WINDOW_SECONDS) {
		unsigned suppressed = limit->suppressed;

		limit->window_start = now.tv_sec;
		limit->written = 0;
		limit->suppressed = 0;
		if (suppressed)
			log_write(LOG_WARNING, "%s: %u similar messages left out", what,
				  suppressed);
	}
	if (limit->written >= BURST) {
		limit->suppressed++;
		return false;
	}
	limit->written++;
	return true;
}
