/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLI_CHECK_H
#define CLI_CHECK_H

#include "cli/cli.h"

/*
 * Lists of checks as virt-host-validate prints them: a line each, PASS, WARN (works, but; or: cannot
 * be seen) or FAIL (will not work).
 */
enum check_verdict {
	CHECK_PASS,
	CHECK_WARN,
	CHECK_FAIL,
};

struct check {
	const char *what;
	enum check_verdict verdict;
	char why[1024]; /* and what to do about it; empty for PASS */
};

/** check_result() - @why: a sentence, cut off where it is too long */
void check_result(struct check *check, enum check_verdict verdict, const char *why);

/** check_result_about() - @format: a translated sentence with one %s, for @subject */
void check_result_about(struct check *check, enum check_verdict verdict, const char *format,
			const char *subject);

/* Where the checks go. */
struct check_report {
	struct json_object *list; /* NULL: print lines */
	bool failed;
};

/** check_report_begin() - @as_json: gather, and print at the end */
void check_report_begin(struct check_report *report, bool as_json);

void check_report_add(struct check_report *report, const struct check *check);

/** check_report_end() - what the program exits with */
enum cli_exit check_report_end(struct check_report *report);

#endif
