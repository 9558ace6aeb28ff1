// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <time.h>

#include "base/json.h"
#include "base/options.h"
#include "bench/clock.h"
#include "bench/load.h"

/*
 * One measurement of one controller: connects, makes queues, keeps commands in flight, prints JSON.
 * tests/bench/run starts it, many times.
 */
struct arguments {
	const char *pattern, *doorbells, *socket;
	unsigned long block_size, depth, queues, milliseconds, warm_up, idle, server, cpu, nsid;
	uint64_t span;
	bool interrupts, verify, fill, count_system_calls, hugepages;
};

static const char *const pattern_names[] = {
	[LOAD_RANDOM_READ] = "randread", [LOAD_RANDOM_WRITE] = "randwrite", [LOAD_READ] = "read",
	[LOAD_WRITE] = "write",		 [LOAD_MIXED] = "randrw",
};

static const char *const doorbell_names[] = {
	[DRIVER_DOORBELLS_AUTO] = "auto",
	[DRIVER_DOORBELLS_SHADOW] = "shadow",
	[DRIVER_DOORBELLS_TRAPPED] = "trapped",
	[DRIVER_DOORBELLS_MAPPED] = "mapped",
};

static int find_name(const char *const *names, size_t count, const char *name, struct error **errp)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (string_equal(names[i], name))
			return i;
	return error_set(errp, EINVAL, "what is \"%s\"?", name);
}

static int set_span(const char *value, void *target, struct error **errp)
{
	return options_parse_size(value, target, errp);
}

static int parse(int argc, char **argv, struct arguments *ret, struct error **errp)
{
	const struct option_spec table[] = {
		{ "socket", 0, OPTION_STRING, "PATH", "the controller's socket", &ret->socket },
		{ "pattern", 0, OPTION_STRING, "NAME",
		  "randread, randwrite, randrw, read or write (randread)", &ret->pattern },
		{ "block-size", 0, OPTION_NUMBER, "BYTES", "of a command, a power of two (4096)",
		  &ret->block_size },
		{ "depth", 0, OPTION_NUMBER, "N", "commands in flight, of each queue (1)",
		  &ret->depth },
		{ "queues", 0, OPTION_NUMBER, "N", "queue pairs (1)", &ret->queues },
		{ "doorbells", 0, OPTION_STRING, "KIND", "auto, shadow, trapped or mapped (auto)",
		  &ret->doorbells },
		{ "interrupts", 0, OPTION_FLAG, NULL, "sleep until an interrupt instead of polling",
		  &ret->interrupts },
		{ "milliseconds", 0, OPTION_NUMBER, "N", "measure that long (500)",
		  &ret->milliseconds },
		{ "warm-up", 0, OPTION_NUMBER, "N", "milliseconds before that (100)",
		  &ret->warm_up },
		{ "idle", 0, OPTION_NUMBER, "N",
		  "then do nothing for a second, and watch the server for so many milliseconds",
		  &ret->idle },
		{ "span", 0, OPTION_CALL, "SIZE", "only the beginning of the namespace", &ret->span,
		  set_span },
		{ "nsid", 0, OPTION_NUMBER, "N", "which namespace (1)", &ret->nsid },
		{ "verify", 0, OPTION_FLAG, NULL, "check what is read; slow", &ret->verify },
		{ "fill", 0, OPTION_FLAG, NULL, "write every block first", &ret->fill },
		{ "hugepages", 0, OPTION_FLAG, NULL, "guest memory of huge pages",
		  &ret->hugepages },
		{ "cpu", 0, OPTION_NUMBER, "N", "run on this processor", &ret->cpu },
		{ "server", 0, OPTION_NUMBER, "PID",
		  "the controller's process, to say what it costs", &ret->server },
		{ "count-system-calls", 0, OPTION_FLAG, NULL,
		  "count the server's; slows each a little", &ret->count_system_calls },
		{}
	};
	const struct option_program program = {
		.name = "bench-client",
		.arguments = "",
		.summary = "Measure an NVMe controller behind a vfio-user socket.",
		.options = table,
	};
	int first, ret_parse;

	*ret = (struct arguments){ .pattern = "randread",
				   .doorbells = "auto",
				   .block_size = 4096,
				   .depth = 1,
				   .queues = 1,
				   .milliseconds = 500,
				   .warm_up = 100,
				   .nsid = 1,
				   .cpu = ULONG_MAX };
	ret_parse = options_parse(&program, argc, argv, &first, errp);
	if (ret_parse)
		return ret_parse;
	if (!ret->socket)
		return error_set(errp, EINVAL, "--socket is missing");
	if (!is_power_of_two(ret->block_size) || ret->block_size < 512 || ret->block_size > 1 * MiB)
		return error_set(errp, EINVAL, "--block-size: a power of two, 512 to 1048576");
	if (!ret->depth || ret->depth > 1023)
		return error_set(errp, EINVAL, "--depth: 1 to 1023");
	if (!ret->queues || ret->queues > DRIVER_MAX_QUEUES)
		return error_set(errp, EINVAL, "--queues: 1 to %u", DRIVER_MAX_QUEUES);
	return 0;
}

static int pin(unsigned long cpu, struct error **errp)
{
	cpu_set_t set;

	if (cpu == ULONG_MAX)
		return 0;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		return error_set_errno(errp, errno, "processor %lu", cpu);
	return 0;
}

static void add_double(struct json_object *object, const char *key, double value)
{
	json_add(object, key, json_object_new_double(value));
}

static struct json_object *per_million(const struct server_thread *thread, uint64_t commands,
				       bool counting)
{
	struct json_object *object = json_object_new_object();
	double each = commands ? 1.0 / (double)commands : 0;

	add_double(object, "cpu_ns_per_command", (double)thread->cpu_ns * each);
	add_double(object, "voluntary_switches_per_million",
		   (double)thread->voluntary * each * 1e6);
	add_double(object, "involuntary_switches_per_million",
		   (double)thread->involuntary * each * 1e6);
	if (counting)
		add_double(object, "system_calls_per_million",
			   (double)thread->system_calls * each * 1e6);
	return object;
}

static struct json_object *describe(const struct load_result *result, const struct server *server,
				    const struct load *load)
{
	static const struct {
		const char *name;
		double percent;
	} percentiles[] = { { "p50", 50 }, { "p90", 90 }, { "p99", 99 }, { "p99.9", 99.9 } };
	double per_ns = clock_ticks_per_ns(), commands = (double)result->commands;
	struct json_object *object = json_object_new_object(), *part;
	unsigned i;

	json_add_u64(object, "commands", result->commands);
	add_double(object, "seconds", result->seconds);
	add_double(object, "iops", commands / result->seconds);
	add_double(object, "bytes_per_second",
		   commands / result->seconds * load->options.block_size);
	json_add_bool(object, "shadow_doorbells", load->driver->shadow);
	part = json_object_new_object();
	for (i = 0; i < ARRAY_SIZE(percentiles); i++)
		add_double(part, percentiles[i].name,
			   histogram_percentile(&result->ticks, percentiles[i].percent) / per_ns);
	json_add(object, "latency_ns", part);
	part = json_object_new_object();
	add_double(part, "cpu_ns_per_command", (double)result->client_cpu_ns / MAX(commands, 1));
	add_double(part, "system_calls_per_million",
		   (double)result->client_system_calls * 1e6 / MAX(commands, 1));
	add_double(part, "sleeps_per_million", (double)result->sleeps * 1e6 / MAX(commands, 1));
	json_add(object, "client", part);
	if (server->pid) {
		part = per_million(&result->server.total, result->commands, server->counting);
		add_double(part, "cpu_seconds", (double)result->server.total.cpu_ns / 1e9);
		json_add(object, "server", part);
		part = json_object_new_object();
		for (i = 0; i < result->server.count; i++)
			json_add(part, result->server.threads[i].name,
				 per_million(&result->server.threads[i], result->commands,
					     server->counting));
		json_add(object, "threads", part);
	}
	return object;
}

static void sleep_ms(unsigned long ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
}

/* What the server does while nobody wants anything of it. */
static int watch_idle(struct json_object *object, const struct server *server, unsigned long ms,
		      struct error **errp)
{
	struct server_sample before, after;
	struct json_object *part;
	int ret;

	sleep_ms(1000);
	ret = server_sample(server, &before, errp);
	if (ret < 0)
		return ret;
	sleep_ms(ms);
	ret = server_sample(server, &after, errp);
	if (ret < 0)
		return ret;
	server_since(&after, &before);
	part = json_object_new_object();
	add_double(part, "seconds", (double)ms / 1000);
	json_add_u64(part, "wake_ups", after.total.voluntary);
	json_add_u64(part, "cpu_ns", after.total.cpu_ns);
	json_add(object, "idle", part);
	return 0;
}

static int measure(const struct arguments *arguments, struct driver *driver,
		   const struct load_options *options, struct error **errp)
{
	struct load_result *result = malloc(sizeof(*result));
	_cleanup_json_ struct json_object *object = NULL;
	struct server server;
	struct load load;
	int ret;

	if (!result)
		return error_set_errno(errp, ENOMEM, "result");
	server_open(&server, arguments->server, arguments->count_system_calls);
	ret = load_open(&load, driver, options, errp);
	if (ret < 0)
		goto out;
	if (arguments->fill || arguments->verify)
		ret = load_fill(&load, errp);
	if (ret == 0)
		ret = load_run(&load, &server, result, errp);
	if (ret == 0) {
		object = describe(result, &server, &load);
		if (arguments->idle)
			ret = watch_idle(object, &server, arguments->idle, errp);
	}
	if (ret == 0)
		puts(json_text(object));
	load_close(&load);
out:
	server_close(&server);
	free(result);
	return ret;
}

static int run(const struct arguments *arguments, struct error **errp)
{
	int pattern = find_name(pattern_names, ARRAY_SIZE(pattern_names), arguments->pattern, errp);
	int doorbells = pattern < 0 ? pattern
				    : find_name(doorbell_names, ARRAY_SIZE(doorbell_names),
						arguments->doorbells, errp);
	struct load_options load = {
		.block_size = arguments->block_size,
		.depth = arguments->depth,
		.span = arguments->span,
		.seconds = (double)arguments->milliseconds / 1000,
		.warm_up = (double)arguments->warm_up / 1000,
		.verify = arguments->verify,
		.nsid = arguments->nsid,
	};
	struct driver_options options = {
		.socket = arguments->socket,
		.memory = load_memory(&load, arguments->queues),
		.hugepages = arguments->hugepages,
		.queues = arguments->queues,
		/* As drivers have it: room enough that a completion queue is never full. */
		.entries = MIN(1024u, MAX(64u, 2 * (unsigned)arguments->depth)),
		.interrupts = arguments->interrupts,
		.nsid = arguments->nsid,
	};
	struct driver driver;
	int ret = doorbells < 0 ? doorbells : pin(arguments->cpu, errp);

	if (ret < 0)
		return ret;
	load.pattern = pattern;
	options.doorbells = doorbells;
	ret = driver_open(&driver, &options, errp);
	if (ret < 0)
		return ret;
	ret = measure(arguments, &driver, &load, errp);
	driver_close(&driver);
	return ret;
}

int main(int argc, char **argv)
{
	_cleanup_error_ struct error *err = NULL;
	struct arguments arguments;
	int ret = parse(argc, argv, &arguments, &err);

	if (ret > 0)
		return EXIT_SUCCESS;
	if (ret == 0)
		ret = run(&arguments, &err);
	if (err)
		fprintf(stderr, "bench-client: %s\n", error_message(err));
	return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
