// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/i18n.h"
#include "cli/cli.h"
#include "cli/client.h"

static struct {
	const char *type, *cache, *io, *discard, *serial, *capacity, *allocation;
	unsigned long block_size;
	bool read_only, shareable, live, config;
} given;

static const struct option_spec options[] = {
	{ "type", 0, OPTION_STRING, "TYPE",
	  N_("file, block, volume or memory; without it the source tells"), &given.type },
	{ "cache", 0, OPTION_STRING, "MODE", N_("none, writeback or writethrough"), &given.cache },
	{ "io", 0, OPTION_STRING, "MODE", N_("io_uring or threads"), &given.io },
	{ "discard", 0, OPTION_STRING, "MODE", N_("unmap or ignore"), &given.discard },
	{ "serial", 0, OPTION_STRING, "SERIAL", N_("serial number of a new controller"),
	  &given.serial },
	{ "block-size", 0, OPTION_NUMBER, "BYTES", N_("logical block size, 512 or 4096"),
	  &given.block_size },
	{ "capacity", 0, OPTION_STRING, "SIZE", N_("create the source with this size if missing"),
	  &given.capacity },
	{ "allocation", 0, OPTION_STRING, "SIZE", N_("preallocate that much of a created source"),
	  &given.allocation },
	{ "readonly", 0, OPTION_FLAG, NULL, N_("the guest cannot write"), &given.read_only },
	{ "shareable", 0, OPTION_FLAG, NULL, N_("other domains may use the source too"),
	  &given.shareable },
	{ "live", 0, OPTION_FLAG, NULL, N_("attach to the running domain"), &given.live },
	{ "config", 0, OPTION_FLAG, NULL, N_("attach at the next start"), &given.config },
	{},
};

static const struct option_program program = {
	.name = "virt-nvme attach-disk",
	.arguments = "DOMAIN SOURCE TARGET",
	.summary = N_("attach a disk; TARGET is nvme<controller>n<namespace>"),
	.notes = N_(
		"SOURCE is the path of an image or block device, POOL/VOLUME, or a size for a disk "
		"in memory.\nWithout --live and --config the domain is changed where it runs, else "
		"its definition."),
	.options = options,
	.min_arguments = 3,
	.max_arguments = 3,
};

/* A path is a block device or (to be) a file, POOL/VOLUME is a volume, a size is memory. */
static const char *guess_type(const char *source)
{
	struct stat st;
	uint64_t bytes;

	if (*source == '/')
		return stat(source, &st) == 0 && S_ISBLK(st.st_mode) ? "block" : "file";
	if (strchr(source, '/'))
		return "volume";
	return options_parse_size(source, &bytes, NULL) == 0 ? "memory" : "file";
}

static int add_size(struct json_object *arguments, const char *key, const char *text,
		    struct error **errp)
{
	uint64_t bytes;
	int r;

	if (!text)
		return 0;
	r = options_parse_size(text, &bytes, errp);
	if (r == 0)
		json_add_u64(arguments, key, bytes);
	return r;
}

/* It may be attached or not. */
static void add_remedy(const char *domain, struct error **errp)
{
	struct error *lost = *errp;

	*errp = NULL;
	error_set(errp, lost->code, _("%s; see virt-nvme info %s"), error_message(lost), domain);
	error_free(lost);
}

static int run(int argc, char **argv)
{
	_cleanup_json_ struct json_object *result = NULL;
	struct json_object *arguments;
	struct error *err = NULL;
	int first, code, r;

	if (!cli_parse(&program, argc, argv, &first, &code))
		return code;
	arguments = json_object_new_object();
	json_add_string(arguments, "domain", argv[first]);
	json_add_string(arguments, "source", argv[first + 1]);
	json_add_string(arguments, "target", argv[first + 2]);
	json_add_string(arguments, "type", given.type ? given.type : guess_type(argv[first + 1]));
	json_add_string(arguments, "cache", given.cache);
	json_add_string(arguments, "io", given.io);
	json_add_string(arguments, "discard", given.discard);
	json_add_string(arguments, "serial", given.serial);
	if (given.block_size)
		json_add_u64(arguments, "block_size", given.block_size);
	if (add_size(arguments, "capacity", given.capacity, &err) < 0 ||
	    add_size(arguments, "allocation", given.allocation, &err) < 0) {
		json_object_put(arguments);
		cli_fail(err);
		return CLI_USAGE;
	}
	json_add_bool(arguments, "read_only", given.read_only);
	json_add_bool(arguments, "shareable", given.shareable);
	json_add_bool(arguments, "live", given.live);
	json_add_bool(arguments, "config", given.config);
	r = client_call("attach-disk", arguments, CLIENT_TIMEOUT_MS, &result, &err);
	if (r == -ECONNRESET || r == -ETIMEDOUT)
		add_remedy(argv[first], &err);
	if (r < 0)
		return cli_fail(err);
	printf(_("Disk attached as %s\n"), json_string_or(result, "target", argv[first + 2]));
	return CLI_OK;
}

const struct cli_command cli_attach_disk = { "attach-disk", run, &program };
