/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdint.h>
#include <syslog.h>

#include "base/util.h"

/*
 * One line per call, never translated. To the journal when stderr is connected to it, else to
 * stderr (which the one who started us has pointed at the right file). Levels are syslog's, LOG_ERR
 * to LOG_DEBUG.
 */

/**
 * log_open() - name the program and choose what is written
 * @name: shown in front of each line on stderr and as the journal's SYSLOG_IDENTIFIER; must outlive
 * the program
 * @level: highest syslog level that is written
 */
void log_open(const char *name, int level);

/**
 * log_confined() - the journal's socket will be out of reach: write to stderr from here on, which
 * may be a stream to the journal
 */
void log_confined(void);

/**
 * log_set_context() - text in front of every message from here on, as the domain's name; NULL for
 * none; copied
 */
void log_set_context(const char *context);

void log_write(int level, const char *format, ...) __printf(2, 3);

#define log_error(...)	 log_write(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)
#define log_notice(...)	 log_write(LOG_NOTICE, __VA_ARGS__)
#define log_info(...)	 log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...)	 log_write(LOG_DEBUG, __VA_ARGS__)

/* State of one rate-limited message: at most `burst` lines in ten seconds, then a count of what was
 * left out. */
struct log_limit {
	uint64_t window_start; /* CLOCK_MONOTONIC, seconds */
	unsigned written;
	unsigned suppressed;
};

/**
 * log_limit_pass() - may this line be written now?
 *
 * Whatever a guest or a client can cause goes through here. Not exact across threads, and does not
 * have to be.
 */
bool log_limit_pass(struct log_limit *limit, const char *what);

/* A line that a guest or a client can cause. */
#define log_guest(level, format, ...)                                                              \
	do {                                                                                       \
		static struct log_limit _limit;                                                    \
		if (log_limit_pass(&_limit, __func__))                                             \
			log_write(level, format, ##__VA_ARGS__);                                   \
	} while (0)

#endif
