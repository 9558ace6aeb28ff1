// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Golden tests of the rewrite: golden-rewrite config|incoming|examples DIRECTORY
 *
 * For each NAME.in.xml in the directory:
 *  - the rewrite gives NAME.out.xml, byte for byte (the input itself where there is none);
 *  - rewriting the result changes nothing, byte for byte; nor does rewriting it as libvirt would
 *    write it again, without white space;
 *  - config: `unmanage` of the result gives NAME.back.xml, or the input where there is none (white
 *    space and quotes aside); and the check finds the block in order.
 * examples: each NAME.xml is valid, its result has no golden file, and the rest as above.
 * With UPDATE_GOLDEN=1 in the environment the golden files are written instead.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include <libxml/parser.h>

#include "base/fd.h"
#include "domain-xml/rewrite.h"
#include "domain-xml/validate.h"

static int failures;

#define FAIL(name, format, ...)                                                                    \
	do {                                                                                       \
		printf("FAIL: %s: " format "\n", name, ##__VA_ARGS__);                             \
		failures++;                                                                        \
	} while (0)

/* NULL when there is no such file. */
static char *read_file(const char *dir, const char *name, const char *suffix)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;
	char *text;
	size_t len;

	if (asprintf(&path, "%s/%s%s", dir, name, suffix) < 0)
		exit(99);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	if (fd_read_all(fd, METADATA_MAX_XML, &text, &len) < 0)
		exit(99);
	return text;
}

static void write_golden(const char *dir, const char *name, const char *suffix, const char *text)
{
	_cleanup_free_ char *path = NULL;
	FILE *out;

	if (asprintf(&path, "%s/%s%s", dir, name, suffix) < 0 || !(out = fopen(path, "w")))
		exit(99);
	fputs(text, out);
	fclose(out);
}

/* As libvirt's own writing does: other white space and quotes, the same tree. */
static char *canonical(const char *text)
{
	xmlDoc *doc = xmlReadMemory(text, (int)strlen(text), NULL, NULL, XML_PARSE_NOBLANKS);
	xmlChar *out = NULL;
	int len;

	if (!doc)
		return strdup("");
	xmlDocDumpFormatMemory(doc, &out, &len, 0);
	xmlFreeDoc(doc);
	return (char *)out;
}

static bool same_tree(const char *a, const char *b)
{
	_cleanup_free_ char *a_text = canonical(a);
	_cleanup_free_ char *b_text = canonical(b);

	return *a_text && string_equal(a_text, b_text);
}

static void check_again(const char *name, const char *text, const struct rewrite_options *options)
{
	_cleanup_error_ struct error *err = NULL;
	_cleanup_free_ char *again = NULL;
	bool changed = true;

	if (domain_xml_rewrite(text, strlen(text), options, &again, &changed, &err) < 0)
		FAIL(name, "second rewrite: %s", error_message(err));
	else if (changed || !string_equal(text, again))
		FAIL(name, "the second rewrite changes something:\n%s", again);
}

static void check_back(const char *dir, const char *name, const char *in, const char *out)
{
	_cleanup_free_ char *wanted = read_file(dir, name, ".back.xml");
	_cleanup_error_ struct error *err = NULL;
	_cleanup_free_ char *back = NULL;

	if (domain_xml_unmanage(out, strlen(out), true, &back, NULL, &err) < 0)
		FAIL(name, "unmanage: %s", error_message(err));
	else if (getenv("UPDATE_GOLDEN") && !same_tree(back, in))
		write_golden(dir, name, ".back.xml", back);
	else if (!same_tree(back, wanted ? wanted : in))
		FAIL(name, "unmanage does not give back what there was:\n%s", back);
}

static void check_block(const char *name, const char *out, const struct rewrite_options *options)
{
	struct domain_xml_check check = { .block = DOMAIN_XML_BLOCK_STALE };
	_cleanup_error_ struct error *err = NULL;

	if (domain_xml_check_block(out, strlen(out), options, &check, &err) < 0)
		FAIL(name, "check: %s", error_message(err));
	else if (check.block == DOMAIN_XML_BLOCK_NONE)
		return;
	else if (check.block != DOMAIN_XML_BLOCK_OK)
		FAIL(name, "check: block %d, %s", check.block, check.detail ? check.detail : "");
	else if (!check.memory_shared)
		FAIL(name, "check: memory is not shared");
	domain_xml_check_clear(&check);
}

static void run_example(const char *dir, const char *name)
{
	const struct rewrite_options options = { .runtime_dir = "/run/virtnvme" };
	_cleanup_free_ char *in = read_file(dir, name, ".xml");
	_cleanup_error_ struct error *err = NULL;
	_cleanup_free_ char *out = NULL;
	bool changed = false;

	if (domain_xml_validate(in, strlen(in), name, &err) < 0 ||
	    domain_xml_rewrite(in, strlen(in), &options, &out, &changed, &err) < 0) {
		FAIL(name, "%s", error_message(err));
		return;
	}
	if (!changed)
		FAIL(name, "nothing was rewritten");
	check_again(name, out, &options);
	check_back(dir, name, in, out);
	check_block(name, out, &options);
}

static void run(const char *dir, const char *name, const struct rewrite_options *options)
{
	_cleanup_free_ char *in = read_file(dir, name, ".in.xml");
	_cleanup_free_ char *wanted = read_file(dir, name, ".out.xml");
	_cleanup_free_ char *out = NULL, *compact = NULL;
	_cleanup_error_ struct error *err = NULL;
	bool changed;

	if (domain_xml_rewrite(in, strlen(in), options, &out, &changed, &err) < 0) {
		FAIL(name, "%s", error_message(err));
		return;
	}
	if (changed == string_equal(in, out))
		FAIL(name, "the result is %s, but changed is %d", changed ? "the input" : "new",
		     changed);
	if (getenv("UPDATE_GOLDEN") && changed)
		write_golden(dir, name, ".out.xml", out);
	else if (!string_equal(out, wanted ? wanted : in))
		FAIL(name, "not as expected:\n%s", out);
	check_again(name, out, options);
	compact = canonical(out);
	check_again(name, compact, options);
	if (options->mode != REWRITE_CONFIG)
		return;
	check_back(dir, name, in, out);
	check_block(name, out, options);
}

int main(int argc, char **argv)
{
	struct rewrite_options options = { .runtime_dir = "/run/virtnvme" };
	struct dirent **entries;
	const char *suffix = ".in.xml";
	int i, count, done = 0;
	bool examples;

	if (argc != 3)
		return 99;
	examples = !strcmp(argv[1], "examples");
	if (examples)
		suffix = ".xml";
	if (!strcmp(argv[1], "incoming")) {
		options.mode = REWRITE_INCOMING;
		options.has_monitor_object = true;
	}
	count = scandir(argv[2], &entries, NULL, alphasort);
	for (i = 0; i < count; i++) {
		char *end = strstr(entries[i]->d_name, suffix);

		if (end) {
			*end = '\0';
			if (examples)
				run_example(argv[2], entries[i]->d_name);
			else
				run(argv[2], entries[i]->d_name, &options);
			done++;
		}
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	printf("%d rewrites, %d failures\n", done, failures);
	return failures || !done;
}
