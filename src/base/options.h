/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BASE_OPTIONS_H
#define BASE_OPTIONS_H

#include <stdio.h>

#include "base/error.h"

/*
 * Command line options, declared once in a table: the parser and --help come from it, and a test
 * holds the man page against --help.
 */
enum option_kind {
	OPTION_FLAG,   /* bool *target, set to true */
	OPTION_STRING, /* const char **target, points into argv */
	OPTION_NUMBER, /* unsigned long *target, decimal or 0x */
	OPTION_CALL,   /* call(value, target): may be given several times */
};

struct option_spec {
	const char *name; /* without the dashes */
	char letter;	  /* short form, or 0 */
	enum option_kind kind;
	const char *argument; /* what --help calls the value; NULL for a flag */
	const char *help;     /* one sentence, no full stop */
	void *target;
	int (*call)(const char *value, void *target, struct error **errp);
};

struct option_program {
	const char *name;      /* "virt-nvme attach-disk" */
	const char *arguments; /* positional ones as the usage line shows them, "" for none */
	const char *summary;   /* one sentence */
	const struct option_spec *options; /* ended by a NULL name */
	int min_arguments, max_arguments;  /* how many positional ones; max -1: any number */
	const char *notes;		   /* more for --help; may be NULL */
};

/**
 * options_parse() - parse argv by the table
 * @argv: argv[0] is skipped; options and positional arguments may be mixed, "--" ends the options.
 *	Permuted so that the positional arguments come last.
 * @ret_first: index of the first positional argument
 *
 * --help and --version are always there: they print and return 1.
 *
 * Return: 0, 1 when the answer has been printed and the program shall exit with success, or -EINVAL
 *with a sentence.
 */
int options_parse(const struct option_program *program, int argc, char **argv, int *ret_first,
		  struct error **errp);

/**
 * options_parse_size() - "4096", "64K", "10M", "2G", "1T" (powers of 1024; KiB, MiB... too) to
 * bytes
 *
 * Return: 0 or -EINVAL with a sentence.
 */
int options_parse_size(const char *text, uint64_t *ret_bytes, struct error **errp);

#endif
