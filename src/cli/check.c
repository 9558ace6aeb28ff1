// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/check.h"

#include <stdio.h>

void check_result(struct check *check, enum check_verdict verdict, const char *why)
{
	check->verdict = verdict;
	snprintf(check->why, sizeof(check->why), "%s", why);
}

void check_result_about(struct check *check, enum check_verdict verdict, const char *format,
			const char *subject)
{
	check->verdict = verdict;
	snprintf(check->why, sizeof(check->why), format, subject);
}

static void print_line(const struct check *check)
{
	static const char *const words[] = { "PASS", "WARN", "FAIL" };

	printf("%-52s : %s%s%s%s\n", check->what, words[check->verdict], *check->why ? " (" : "",
	       check->why, *check->why ? ")" : "");
}

static void add_json(struct json_object *list, const struct check *check)
{
	static const char *const words[] = { "pass", "warn", "fail" };
	struct json_object *entry = json_object_new_object();

	json_add_string(entry, "check", check->what);
	json_add_string(entry, "verdict", words[check->verdict]);
	if (*check->why)
		json_add_string(entry, "reason", check->why);
	json_object_array_add(list, entry);
}

void check_report_begin(struct check_report *report, bool as_json)
{
	*report = (struct check_report){ .list = as_json ? json_object_new_array() : NULL };
}

void check_report_add(struct check_report *report, const struct check *check)
{
	report->failed |= check->verdict == CHECK_FAIL;
	if (report->list)
		add_json(report->list, check);
	else
		print_line(check);
}

enum cli_exit check_report_end(struct check_report *report)
{
	if (report->list)
		cli_print_json(report->list);
	json_object_put(report->list);
	return report->failed ? CLI_FAILURE : CLI_OK;
}
