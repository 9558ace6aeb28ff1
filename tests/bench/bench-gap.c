// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json.h"
#include "base/options.h"
#include "bench/clock.h"
#include "bench/driver.h"
#include "vfio-user/protocol.h"

/*
 * How long a guest waits while something behind its disk is replaced: keeps commands in flight and
 * reads a register all the time, and notes each pause between two completions, and each read, that
 * took more than a millisecond. Until SIGTERM; then prints them as JSON:
 * [[when it ended, how long], ...] in microseconds of CLOCK_MONOTONIC. tests/bench/run-gaps starts it.
 */
#define BLOCK	    4096u
#define MAX_NOTES   65536u
#define NOTABLE_NS  1000000u
#define READ_EVERY  500000u /* ns */
#define PATIENCE_NS 60000000000ULL

struct notes {
	uint64_t count;
	uint64_t longest;
	unsigned noted;
	struct {
		uint64_t end, ns;
	} list[MAX_NOTES];
};

struct gap {
	struct driver driver;
	struct nvme_command *commands;
	uint64_t blocks, random;
	unsigned depth;
	uint64_t last;	    /* completion */
	uint64_t read_sent; /* 0: none is under way */
	uint64_t next_read;
	struct notes completions, reads;
};

static volatile sig_atomic_t ended;

static void on_signal(int signo)
{
	ended = 1;
}

static void note(struct notes *notes, uint64_t end, uint64_t ns)
{
	notes->count++;
	notes->longest = MAX(notes->longest, ns);
	if (ns < NOTABLE_NS || notes->noted == MAX_NOTES)
		return;
	notes->list[notes->noted].end = end;
	notes->list[notes->noted++].ns = ns;
}

static void put(struct gap *gap, struct nvme_command *command)
{
	uint64_t lba;

	gap->random = gap->random * 6364136223846793005ULL + 1442695040888963407ULL;
	lba = (gap->random >> 33) % gap->blocks * (BLOCK >> gap->driver.block_shift);
	command->opcode = gap->random >> 63 ? NVME_IO_WRITE : NVME_IO_READ;
	command->cdw10 = lba;
	command->cdw11 = lba >> 32;
	driver_put(&gap->driver.queues[0], command);
}

static int prepare(struct gap *gap, struct error **errp)
{
	unsigned i;

	gap->blocks = (gap->driver.blocks << gap->driver.block_shift) / BLOCK;
	gap->commands = calloc(gap->depth, sizeof(*gap->commands));
	if (!gap->commands)
		return error_set_errno(errp, ENOMEM, "commands");
	for (i = 0; i < gap->depth; i++) {
		struct nvme_command *command = &gap->commands[i];
		void *buffer = driver_alloc(&gap->driver, BLOCK, errp);

		if (!buffer)
			return -ENOMEM;
		*command = (struct nvme_command){ .cid = i,
						  .nsid = 1,
						  .cdw12 = (BLOCK >> gap->driver.block_shift) - 1 };
		driver_set_buffer(&gap->driver, command, buffer, BLOCK, NULL);
		put(gap, command);
	}
	driver_ring(&gap->driver, &gap->driver.queues[0]);
	gap->last = clock_ns();
	return 0;
}

static int take_completions(struct gap *gap, struct error **errp)
{
	struct driver_queue *queue = &gap->driver.queues[0];
	bool any = false;
	uint32_t last;

	while ((last = driver_take(queue)) != UINT32_MAX) {
		uint64_t now = clock_ns();

		if (last >> 17)
			return error_set(errp, EIO, "status 0x%x", last >> 17);
		if ((last & 0xffff) >= gap->depth)
			return error_set(errp, EIO, "a completion of nothing");
		note(&gap->completions, now, now - gap->last);
		gap->last = now;
		put(gap, &gap->commands[last & 0xffff]);
		any = true;
	}
	if (any)
		driver_ring(&gap->driver, queue);
	else if (clock_ns() - gap->last > PATIENCE_NS)
		return error_set(errp, ETIMEDOUT, "no completion for a minute");
	return 0;
}

static int start_read(struct gap *gap, struct error **errp)
{
	struct {
		struct vfio_user_header header;
		struct vfio_user_region_access access;
	} message = {
		.header = { .id = ++gap->driver.client.next_id,
			    .command = VFIO_USER_REGION_READ,
			    .size = sizeof(message),
			    .flags = VFIO_USER_FLAG_COMMAND },
		.access = { .offset = NVME_REG_CSTS,
			    .region = VFIO_PCI_BAR0_REGION_INDEX,
			    .count = 4 },
	};

	gap->read_sent = clock_ns();
	if (send(gap->driver.client.sock, &message, sizeof(message), MSG_NOSIGNAL) !=
	    sizeof(message))
		return error_set_errno(errp, errno, "the keeper has gone away");
	return 0;
}

static int look_for_reply(struct gap *gap, struct error **errp)
{
	struct {
		struct vfio_user_header header;
		struct vfio_user_region_access access;
		uint32_t csts;
	} __attribute__((packed)) reply;
	ssize_t n = recv(gap->driver.client.sock, &reply, sizeof(reply), MSG_DONTWAIT);
	uint64_t now = clock_ns();

	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n != sizeof(reply) || reply.csts != NVME_CSTS_RDY)
		return error_set(errp, EPROTO, "a register read of %zd bytes", n);
	note(&gap->reads, now, now - gap->read_sent);
	gap->read_sent = 0;
	gap->next_read = now + READ_EVERY;
	return 0;
}

static int run(struct gap *gap, struct error **errp)
{
	int ret = prepare(gap, errp);

	while (ret == 0 && !ended) {
		ret = take_completions(gap, errp);
		if (ret == 0 && gap->read_sent)
			ret = look_for_reply(gap, errp);
		else if (ret == 0 && clock_ns() >= gap->next_read)
			ret = start_read(gap, errp);
		clock_relax();
	}
	return ret;
}

static struct json_object *describe(const struct notes *notes)
{
	struct json_object *object = json_object_new_object(), *list = json_object_new_array();
	unsigned i;

	for (i = 0; i < notes->noted; i++) {
		struct json_object *entry = json_object_new_array();

		json_object_array_add(entry, json_object_new_int64(notes->list[i].end / 1000));
		json_object_array_add(entry, json_object_new_int64(notes->list[i].ns / 1000));
		json_object_array_add(list, entry);
	}
	json_add_u64(object, "count", notes->count);
	json_add_u64(object, "longest_us", notes->longest / 1000);
	json_add(object, "over_1_ms", list);
	return object;
}

int main(int argc, char **argv)
{
	_cleanup_error_ struct error *err = NULL;
	static struct gap gap = { .random = 1 };
	struct driver_options options = { .queues = 1, .entries = 1024, .nsid = 1 };
	unsigned long depth = 1;
	bool trapped = false;
	const struct option_spec table[] = {
		{ "socket", 0, OPTION_STRING, "PATH", "the keeper's socket", &options.socket },
		{ "depth", 0, OPTION_NUMBER, "N", "commands in flight (1)", &depth },
		{ "trapped", 0, OPTION_FLAG, NULL, "no shadow doorbells", &trapped },
		{}
	};
	const struct option_program program = {
		.name = "bench-gap",
		.arguments = "",
		.summary = "Note how long completions and registers take until SIGTERM.",
		.options = table,
	};
	struct json_object *result;
	int first, ret = options_parse(&program, argc, argv, &first, &err);

	if (ret > 0)
		return 0;
	if (ret == 0 && (!options.socket || !depth || depth > 1023))
		ret = error_set(&err, EINVAL, "--socket, --depth 1 to 1023");
	gap.depth = depth;
	options.memory = depth * BLOCK;
	options.doorbells = trapped ? DRIVER_DOORBELLS_TRAPPED : DRIVER_DOORBELLS_AUTO;
	signal(SIGTERM, on_signal);
	if (ret == 0)
		ret = driver_open(&gap.driver, &options, &err);
	if (ret == 0) {
		printf("ready\n");
		fflush(stdout);
		ret = run(&gap, &err);
		driver_close(&gap.driver);
	}
	free(gap.commands);
	if (ret < 0) {
		fprintf(stderr, "bench-gap: %s\n", error_message(err));
		return EXIT_FAILURE;
	}
	result = json_object_new_object();
	json_add(result, "completions", describe(&gap.completions));
	json_add(result, "reads", describe(&gap.reads));
	printf("%s\n", json_object_to_json_string_ext(result, JSON_C_TO_STRING_PLAIN));
	json_object_put(result);
	return 0;
}
