// SPDX-License-Identifier: LGPL-2.1-or-later
#include "controller/options.h"

#include <errno.h>
#include <limits.h>
#include <syslog.h>

#include "base/cpuset.h"
#include "base/i18n.h"
#include "base/options.h"
#include "controller/polling.h"

#define DEFAULT_QUEUES 4
#define MAX_QUEUES     64
#define MAX_POLL_US    1000000

static int add_namespace(const char *value, void *target, struct error **errp)
{
	struct options *options = target;
	struct namespace_spec *larger;
	int ret;

	larger = realloc(options->namespaces, (options->namespace_count + 1) * sizeof(*larger));
	if (!larger)
		return error_set(errp, ENOMEM, _("out of memory"));
	options->namespaces = larger;
	ret = namespace_spec_parse(value, &larger[options->namespace_count], errp);
	if (ret < 0)
		return ret;
	larger[options->namespace_count].nvme.nsid = options->namespace_count + 1;
	options->namespace_count++;
	return 0;
}

static int set_ring(const char *value, void *target, struct error **errp)
{
	enum block_ring_kind *ring = target;

	if (string_equal(value, "auto"))
		*ring = BLOCK_RING_AUTO;
	else if (string_equal(value, "io_uring"))
		*ring = BLOCK_RING_URING;
	else if (string_equal(value, "threads"))
		*ring = BLOCK_RING_THREADS;
	else
		return error_set(errp, EINVAL, _("--io=%s: use auto, io_uring or threads"), value);
	return 0;
}

static int set_doorbells(const char *value, void *target, struct error **errp)
{
	enum nvme_doorbells *doorbells = target;

	if (string_equal(value, "auto"))
		*doorbells = NVME_DOORBELLS_AUTO;
	else if (string_equal(value, "trapped"))
		*doorbells = NVME_DOORBELLS_TRAPPED;
	else if (string_equal(value, "mapped"))
		*doorbells = NVME_DOORBELLS_MAPPED;
	else
		return error_set(errp, EINVAL, _("--doorbells=%s: use auto, trapped or mapped"),
				 value);
	return 0;
}

/* "1:0-3" */
static int add_pin(const char *value, void *target, struct error **errp)
{
	_cleanup_error_ struct error *why = NULL;
	struct options *options = target;
	unsigned long thread;
	char *end;

	errno = 0;
	thread = strtoul(value, &end, 10);
	if (*value < '0' || *value > '9' || errno || *end != ':' || thread < 1 ||
	    thread > IO_THREADS_MAX)
		return error_set(errp, EINVAL,
				 _("--io-thread-pin=%s: use N:CPUSET, for example 1:0-3"), value);
	if (cpuset_parse(end + 1, &options->pins[thread - 1], &why) < 0)
		return error_set(errp, EINVAL, "--io-thread-pin: %s", error_message(why));
	return 0;
}

static int judge(struct options *options, struct error **errp)
{
	unsigned long i;

	options->under_keeper = options->control_fd != ULONG_MAX;
	if (options->print_capabilities)
		return 0;
	if (options->io_threads < 1 || options->io_threads > IO_THREADS_MAX)
		return error_set(errp, EINVAL, _("--io-threads: use 1 to %u"), IO_THREADS_MAX);
	for (i = options->io_threads; i < IO_THREADS_MAX; i++)
		if (CPU_COUNT(&options->pins[i]))
			return error_set(errp, EINVAL,
					 _("--io-thread-pin: there is no I/O thread %lu"), i + 1);
	if (options->under_keeper) {
		if (options->socket || options->namespace_count || options->serial)
			return error_set(errp, EINVAL,
					 _("--control-fd: the devices come from the keeper, not "
					   "from options"));
		if (options->control_fd < 3 || options->control_fd > INT32_MAX)
			return error_set(errp, EINVAL, _("--control-fd=%lu is no descriptor"),
					 options->control_fd);
		return 0;
	}
	if (!options->socket)
		return error_set(errp, EINVAL,
				 _("--socket is missing; see virtnvme-controller --help"));
	if (!options->namespace_count)
		return error_set(errp, EINVAL,
				 _("--namespace is missing; see virtnvme-controller --help"));
	if (options->queues < 1 || options->queues > MAX_QUEUES)
		return error_set(errp, EINVAL, _("--queues: use 1 to %u"), MAX_QUEUES);
	return 0;
}

int controller_options_parse(int argc, char **argv, struct options *ret, struct error **errp)
{
	const struct option_spec table[] = {
		{ "socket", 's', OPTION_STRING, N_("PATH"),
		  N_("serve one vfio-user client at a time on this UNIX socket"), &ret->socket },
		{ "namespace", 'n', OPTION_CALL, N_("SPEC"),
		  N_("a disk: file:PATH, block:PATH, memory:SIZE or null:SIZE"), ret,
		  add_namespace },
		{ "queues", 'q', OPTION_NUMBER, N_("N"), N_("I/O queue pairs, 1 to 64 (4)"),
		  &ret->queues },
		{ "doorbells", 0, OPTION_CALL, N_("KIND"),
		  N_("where the guest leaves its doorbells: auto, trapped or mapped (auto)"),
		  &ret->doorbells, set_doorbells },
		{ "serial", 0, OPTION_STRING, N_("TEXT"),
		  N_("serial number (derived from the socket's path)"), &ret->serial },
		{ "io-threads", 't', OPTION_NUMBER, N_("N"), N_("threads that do I/O, 1 to 16 (1)"),
		  &ret->io_threads },
		{ "io-thread-pin", 0, OPTION_CALL, N_("N:CPUSET"),
		  N_("where the N-th of them (from 1) runs, for example 1:0-3,^2"), ret, add_pin },
		{ "poll-max", 0, OPTION_NUMBER, N_("MICROSECONDS"),
		  N_("look for more work for at most so long before sleeping (50)"),
		  &ret->poll_max },
		{ "io", 0, OPTION_CALL, N_("KIND"),
		  N_("how images are accessed: auto, io_uring or threads (auto)"), &ret->ring,
		  set_ring },
		{ "user", 'u', OPTION_STRING, N_("NAME"),
		  N_("give up root for this user once everything is open"), &ret->user },
		{ "control-fd", 0, OPTION_NUMBER, N_("FD"),
		  N_("take devices from virtnvme-keeper on this descriptor"), &ret->control_fd },
		{ "log-level", 0, OPTION_NUMBER, N_("N"),
		  N_("what is logged: 3 errors, 4 warnings, 6 information, 7 everything (6)"),
		  &ret->log_level },
		{ "print-capabilities", 0, OPTION_FLAG, NULL,
		  N_("print what this program can do as JSON, and exit"),
		  &ret->print_capabilities },
		{}
	};
	const struct option_program program = {
		.name = "virtnvme-controller",
		.arguments = "",
		.summary = N_("An NVMe controller for a virtual machine, over vfio-user."),
		.options = table,
	};
	int first, r;

	*ret = (struct options){
		.queues = DEFAULT_QUEUES,
		.control_fd = ULONG_MAX,
		.io_threads = 1,
		.poll_max = POLLING_MAX_US,
		.log_level = LOG_INFO,
	};
	r = options_parse(&program, argc, argv, &first, errp);
	return r ? r : judge(ret, errp);
}

void controller_options_clear(struct options *options)
{
	free(options->namespaces);
	options->namespaces = NULL;
	options->namespace_count = 0;
}
