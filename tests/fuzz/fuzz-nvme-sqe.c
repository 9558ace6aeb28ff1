// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/log.h"
#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

/*
 * What a guest may do to the controller: any commands with any PRPs, SGLs and lists of them, any
 * register writes, at any moment, while its memory comes and goes, a migration freezes and thaws, and
 * the storage fails.
 *
 * The input is a sequence of steps: a byte that chooses one, and its operands. Addresses are taken
 * as offsets into guest memory unless their highest bit is set, so that mutations mostly hit it. The
 * fake machine holds the controller to its contracts: what reaches the disk is inside it, every
 * thread comes to rest, and after a reset nothing is left in flight.
 */
#define MAX_STEPS 96

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum step {
	STEP_ADMIN,
	STEP_IO,
	STEP_POKE, /* eight bytes of guest memory, as a PRP list has them, or an SGL descriptor */
	STEP_REGISTER,
	STEP_DOORBELL,
	STEP_RUN,
	STEP_MACHINE,
	STEP_NAMESPACE,
	STEPS,
};

struct input {
	const uint8_t *data;
	size_t size;
};

struct fuzz {
	struct machine *machine;
	struct machine_disk *disks[2];
	uint64_t allocated; /* by the fixed part */
	unsigned resets;    /* that have not ended */
	bool freezing;
};

/* Beyond the input's end there are zeroes. */
static uint64_t take(struct input *input, size_t bytes)
{
	uint64_t value = 0;
	size_t n = MIN(bytes, input->size);

	memcpy(&value, input->data, n);
	input->data += n;
	input->size -= n;
	return value;
}

static uint64_t take_address(struct input *input)
{
	uint64_t value = take(input, 4);

	return value >> 31 ? value << 32 | value : MACHINE_BASE + value;
}

static struct nvme_command take_command(struct input *input)
{
	struct nvme_command command = { 0 };

	command.opcode = take(input, 1);
	command.flags = take(input, 1) & 0xc3;
	command.nsid = take(input, 1);
	if (command.nsid == 0xff)
		command.nsid = NVME_NSID_ALL;
	command.prp1 = take_address(input);
	/* An SGL's first descriptor has its length and type there. */
	if (command.flags & NVME_PSDT_SGL) {
		command.prp2 = take(input, 3);
		command.prp2 |= take(input, 1) << 56;
	} else {
		command.prp2 = take_address(input);
	}
	command.cdw10 = take(input, 4);
	command.cdw11 = take(input, 4);
	command.cdw12 = take(input, 4);
	command.cdw13 = take(input, 1);
	return command;
}

static void reset_done(void *opaque)
{
	((struct fuzz *)opaque)->resets = 0;
}

static void detached(void *opaque)
{
}

static void frozen(void *opaque)
{
	((struct fuzz *)opaque)->freezing = false;
}

static void swallow_completions(struct machine *machine)
{
	struct machine_completion completion;

	for (unsigned id = 0; id <= MACHINE_QUEUES; id++)
		while (machine->queues[id].cq && machine_take(machine, id, &completion))
			;
}

static void release_all(struct fuzz *fuzz)
{
	for (unsigned i = 0; i < ARRAY_SIZE(fuzz->disks); i++) {
		fuzz->disks[i]->hold = false;
		while (fuzz->disks[i]->count)
			machine_release(fuzz->machine, fuzz->disks[i]);
	}
}

static void attach(struct fuzz *fuzz)
{
	const struct nvme_namespace_config config = { .nsid = 2, .error_policy = NVME_ERROR_STOP };

	machine_attach(fuzz->machine, 1, fuzz->disks[0]);
	assert_int_equal(nvme_controller_attach(fuzz->machine->ctrl, &config,
						(struct block *)fuzz->disks[1], NULL),
			 0);
}

static void set_up(struct fuzz *fuzz)
{
	struct machine *machine = fuzz->machine;

	machine->allocated = fuzz->allocated;
	machine_enable(machine);
	machine_create_queue(machine, 1, MACHINE_ENTRIES);
	machine_create_queue(machine, 2, MACHINE_ENTRIES);
	machine->allocated = MACHINE_MEMORY;
}

/* A freeze is waited for, as long as it may take. */
static void thaw(struct fuzz *fuzz)
{
	if (fuzz->freezing) {
		release_all(fuzz);
		machine_run(fuzz->machine);
		assert_false(fuzz->freezing);
	}
	nvme_controller_thaw(fuzz->machine->ctrl);
}

/* Everything ends, whatever has been done to it. */
static void reset(struct fuzz *fuzz)
{
	struct machine *machine = fuzz->machine;

	thaw(fuzz);
	fuzz->resets = 1;
	nvme_controller_reset(machine->ctrl, reset_done, fuzz);
	machine_run(machine);
	release_all(fuzz);
	machine_run(machine);
	assert_int_equal(fuzz->resets, 0);
	for (unsigned i = 0; i < machine->host.workers; i++)
		assert_int_equal(nvme_worker_in_flight(machine->workers[i]), 0);
	machine->hole_len = 0;
	machine->read_only = machine->message_reads = machine->message_writes = false;
	machine->host.map_generation++;
	nvme_controller_set_bus_master(machine->ctrl, true);
	nvme_controller_set_msix(machine->ctrl, true);
}

static void change_machine(struct fuzz *fuzz, struct input *input)
{
	struct machine *machine = fuzz->machine;
	unsigned choice = take(input, 1);

	switch (choice & 15) {
	case 0:
		machine->message_reads = choice & 16;
		machine->message_writes = choice & 32;
		break;
	case 1:
		machine->hole = MACHINE_BASE + take(input, 2) * 256;
		machine->hole_len = choice & 16 ? 4096 : 0;
		break;
	case 2:
		machine->read_only = choice & 16;
		break;
	case 3:
		machine_move_memory(machine);
		break;
	case 4:
		nvme_controller_set_bus_master(machine->ctrl, choice & 16);
		break;
	case 5:
		nvme_controller_set_msix(machine->ctrl, choice & 16);
		break;
	case 6:
		fuzz->disks[choice >> 4 & 1]->hold = choice & 32;
		break;
	case 7:
		if (fuzz->disks[choice >> 4 & 1]->count)
			machine_release(machine, fuzz->disks[choice >> 4 & 1]);
		break;
	case 8:
		fuzz->disks[choice >> 4 & 1]->result = choice & 32 ? -(int)take(input, 1) : 0;
		break;
	case 9:
		reset(fuzz);
		set_up(fuzz);
		break;
	case 10:
		if (!nvme_controller_is_frozen(machine->ctrl)) {
			fuzz->freezing = true;
			nvme_controller_freeze(machine->ctrl, frozen, fuzz);
		}
		break;
	case 11:
		thaw(fuzz);
		break;
	case 12:
		nvme_controller_retry(machine->ctrl, choice & 16);
		break;
	}
	machine->host.map_generation++;
}

static void change_namespace(struct fuzz *fuzz, struct input *input)
{
	struct machine *machine = fuzz->machine;
	unsigned choice = take(input, 1);
	const struct nvme_namespace_config config = {
		.nsid = choice & 0x7f,
		.block_size = 4096,
	};

	if (choice & 0x80)
		nvme_controller_detach(machine->ctrl, config.nsid, detached, NULL);
	else
		nvme_controller_attach(machine->ctrl, &config, (struct block *)fuzz->disks[1],
				       NULL);
}

static void poke_descriptor(struct machine *machine, struct input *input)
{
	uint64_t offset = take(input, 2) % (MACHINE_MEMORY / 16) * 16;
	struct nvme_sgl_descriptor descriptor = { 0 };

	descriptor.address = take_address(input);
	descriptor.length = take(input, 3);
	descriptor.id = take(input, 1);
	memcpy(machine_at(machine, MACHINE_BASE + offset), &descriptor, sizeof(descriptor));
}

static void step(struct fuzz *fuzz, struct input *input)
{
	struct machine *machine = fuzz->machine;
	unsigned choice = take(input, 1);
	uint64_t offset;

	switch (choice % STEPS) {
	case STEP_ADMIN:
		machine_submit(machine, 0, take_command(input));
		break;
	case STEP_IO:
		machine_submit(machine, 1 + (choice / STEPS & 1), take_command(input));
		break;
	case STEP_POKE:
		if (choice & 0x40) {
			poke_descriptor(machine, input);
			return;
		}
		offset = take(input, 3) % (MACHINE_MEMORY / 8) * 8;
		*(uint64_t *)machine_at(machine, MACHINE_BASE + offset) = take_address(input);
		return;
	case STEP_REGISTER:
		offset = take(input, 1);
		machine_write32(machine, offset, take(input, 4));
		break;
	case STEP_DOORBELL:
		offset = take(input, 1) * 4;
		machine_write32(machine, NVME_BAR0_DOORBELLS + offset, take(input, 2));
		break;
	case STEP_RUN:
		swallow_completions(machine);
		break;
	case STEP_MACHINE:
		change_machine(fuzz, input);
		break;
	case STEP_NAMESPACE:
		change_namespace(fuzz, input);
		break;
	}
	if (choice & 0x80)
		machine_run(machine);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	struct fuzz fuzz = { 0 };

	log_open("fuzz", LOG_EMERG);
	fuzz.machine = machine_new(2);
	for (unsigned i = 0; i < ARRAY_SIZE(fuzz.disks); i++)
		fuzz.disks[i] = machine_disk_new(MiB);
	fuzz.disks[1]->info.memory_alignment = 512;
	attach(&fuzz);
	/* The rings are put where the input's small addresses do not reach them by chance. */
	fuzz.machine->allocated = fuzz.allocated = MACHINE_MEMORY / 2;
	set_up(&fuzz);
	for (unsigned i = 0; i < MAX_STEPS && input.size; i++)
		step(&fuzz, &input);
	reset(&fuzz);
	machine_free(fuzz.machine);
	for (unsigned i = 0; i < ARRAY_SIZE(fuzz.disks); i++)
		machine_disk_free(fuzz.disks[i]);
	return 0;
}
