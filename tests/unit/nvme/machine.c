// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/unit/nvme/machine.h"

#include <errno.h>
#include <sys/mman.h>

#include "tests/unit/test.h"

static struct machine *machine_of(struct nvme_host *host)
{
	return container_of(host, struct machine, host);
}

static bool is_mapped(const struct machine *machine, uint64_t iova, uint64_t len)
{
	if (iova < MACHINE_BASE || len > MACHINE_MEMORY ||
	    iova - MACHINE_BASE > MACHINE_MEMORY - len)
		return false;
	return !machine->hole_len || iova + len <= machine->hole ||
	       iova >= machine->hole + machine->hole_len;
}

static bool host_contains(struct nvme_host *host, uint64_t iova, size_t len, unsigned access)
{
	struct machine *machine = machine_of(host);

	if (machine->meanwhile)
		machine->meanwhile(machine);
	return is_mapped(machine, iova, len) && !((access & NVME_HOST_WRITE) && machine->read_only);
}

static void *host_resolve(struct nvme_host *host, uint64_t iova, size_t len, unsigned access)
{
	struct machine *machine = machine_of(host);

	if (!host_contains(host, iova, len, access))
		return NULL;
	if ((machine->message_reads && (access & NVME_HOST_READ)) ||
	    (machine->message_writes && (access & NVME_HOST_WRITE)))
		return NULL;
	return machine_at(machine, iova);
}

static int host_read(struct nvme_host *host, unsigned worker, uint64_t iova, void *buf, size_t len)
{
	struct machine *machine = machine_of(host);

	if (machine->cancelled)
		return -ECANCELED;
	if (!host_contains(host, iova, len, NVME_HOST_READ))
		return -EFAULT;
	machine->reads += machine->message_reads;
	memcpy(buf, machine_at(machine, iova), len);
	return 0;
}

static void post(struct machine *machine, uint64_t iova, const void *buf, size_t len)
{
	struct machine_message *message = malloc(sizeof(*message) + len), **end;

	assert_non_null(message);
	message->next = NULL;
	message->old = false;
	message->iova = iova;
	message->len = len;
	memcpy(message->data, buf, len);
	for (end = &machine->messages; *end;)
		end = &(*end)->next;
	*end = message;
	machine->writes_pending = true;
}

static int host_write(struct nvme_host *host, unsigned worker, uint64_t iova, const void *buf,
		      size_t len)
{
	struct machine *machine = machine_of(host);

	if (!host_contains(host, iova, len, NVME_HOST_WRITE))
		return -EFAULT;
	machine->writes++;
	if (machine->queue_writes)
		post(machine, iova, buf, len);
	else
		memcpy(machine_at(machine, iova), buf, len);
	return 0;
}

static bool host_write_room(struct nvme_host *host)
{
	return !machine_of(host)->no_room;
}

static void host_after_writes(struct nvme_host *host, unsigned worker,
			      void (*fn)(void *opaque, unsigned value), void *opaque,
			      unsigned value)
{
	struct machine *machine = machine_of(host);

	if (!machine->writes_pending) {
		fn(opaque, value);
		return;
	}
	assert_true(machine->after_count < ARRAY_SIZE(machine->after));
	machine->after[machine->after_count++] = (struct machine_after){ fn, opaque, value };
}

void machine_execute_writes(struct machine *machine)
{
	unsigned count = machine->after_count;

	machine->writes_pending = false;
	machine->after_count = 0;
	for (unsigned i = 0; i < count; i++)
		machine->after[i].fn(machine->after[i].opaque, machine->after[i].value);
}

static bool has_old_messages(const struct machine *machine)
{
	return machine->messages && machine->messages->old;
}

static void tell_fence(struct machine *machine)
{
	struct machine_after fence = machine->fence;

	if (!fence.fn || has_old_messages(machine))
		return;
	machine->fence.fn = NULL;
	fence.fn(fence.opaque, fence.value);
}

static bool take_message(struct machine *machine, bool execute)
{
	struct machine_message *message = machine->messages;

	if (!message)
		return false;
	machine->messages = message->next;
	if (execute)
		memcpy(machine_at(machine, message->iova), message->data, message->len);
	machine->writes_executed += !message->old;
	free(message);
	if (machine->writes_executed == machine->writes)
		machine_execute_writes(machine);
	tell_fence(machine);
	return true;
}

bool machine_execute_one(struct machine *machine)
{
	return take_message(machine, true);
}

void machine_drop_messages(struct machine *machine)
{
	while (take_message(machine, false))
		;
}

static void host_fence(struct nvme_host *host, void (*fn)(void *opaque, unsigned value),
		       void *opaque, unsigned value)
{
	struct machine *machine = machine_of(host);

	if (!has_old_messages(machine)) {
		fn(opaque, value);
		return;
	}
	assert_null(machine->fence.fn);
	machine->fence = (struct machine_after){ fn, opaque, value };
}

static bool host_writes_pending(struct nvme_host *host, unsigned worker)
{
	return machine_of(host)->writes_pending;
}

static uint64_t host_writes_posted(struct nvme_host *host, unsigned worker)
{
	return machine_of(host)->writes;
}

static uint64_t host_writes_acknowledged(struct nvme_host *host, unsigned worker)
{
	struct machine *machine = machine_of(host);

	return machine->writes_pending ? machine->writes_executed : machine->writes;
}

static void host_interrupt(struct nvme_host *host, unsigned worker, unsigned vector)
{
	assert_true(vector < NVME_MAX_QUEUES);
	machine_of(host)->interrupts[vector]++;
}

static void host_set_intx(struct nvme_host *host, bool asserted)
{
	machine_of(host)->intx = asserted;
}

static void host_call(struct nvme_host *host, unsigned thread, struct nvme_host_call *call)
{
	struct machine *machine = machine_of(host);
	unsigned i = thread == NVME_HOST_CONTROL ? MACHINE_WORKERS : thread;

	assert_true(i == MACHINE_WORKERS || i < host->workers);
	if (i == MACHINE_WORKERS && machine->fast_control) {
		call->run(call);
		return;
	}
	call->next = NULL;
	*machine->calls[i].end = call;
	machine->calls[i].end = &call->next;
}

static void host_kick(struct nvme_host *host, unsigned worker)
{
	assert_true(worker < host->workers);
	machine_of(host)->kicks[worker]++;
}

static void host_cancel_reads(struct nvme_host *host, bool cancel)
{
	machine_of(host)->cancelled = cancel;
}

static void host_silent(struct nvme_host *host)
{
	machine_of(host)->silences++;
}

static void host_io_error(struct nvme_host *host, uint32_t nsid, enum block_op op, int error)
{
	struct machine *machine = machine_of(host);

	machine->io_errors++;
	machine->io_error.nsid = nsid;
	machine->io_error.op = op;
	machine->io_error.code = error;
}

static void host_block_size(struct nvme_host *host, uint32_t nsid, uint32_t block_size)
{
	struct machine *machine = machine_of(host);

	machine->block_sizes++;
	machine->block_size[0] = nsid;
	machine->block_size[1] = block_size;
	if (!machine->records_later)
		nvme_controller_set_block_size(machine->ctrl, nsid, block_size);
}

static const struct nvme_host_ops ops = {
	.resolve = host_resolve,
	.contains = host_contains,
	.read = host_read,
	.write = host_write,
	.write_room = host_write_room,
	.after_writes = host_after_writes,
	.fence = host_fence,
	.writes_pending = host_writes_pending,
	.writes_posted = host_writes_posted,
	.writes_acknowledged = host_writes_acknowledged,
	.interrupt = host_interrupt,
	.set_intx = host_set_intx,
	.call = host_call,
	.kick = host_kick,
	.cancel_reads = host_cancel_reads,
	.io_error = host_io_error,
	.silent = host_silent,
	.block_size = host_block_size,
};

static void make_workers(struct machine *machine)
{
	for (unsigned i = 0; i < machine->host.workers; i++) {
		machine->workers[i] = nvme_worker_new(machine->ctrl, i, NULL);
		assert_non_null(machine->workers[i]);
	}
	nvme_controller_begin(machine->ctrl);
	nvme_controller_set_bus_master(machine->ctrl, true);
	nvme_controller_set_msix(machine->ctrl, true);
}

/* Shared, as a guest's is: a test looks at it from another process. */
static uint8_t *memory_new(void)
{
	void *memory = mmap(NULL, MACHINE_MEMORY, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

static void memory_free(uint8_t *memory)
{
	if (memory)
		munmap(memory, MACHINE_MEMORY);
}

struct machine *machine_new(unsigned workers)
{
	struct machine *machine = calloc(1, sizeof(*machine));

	assert_non_null(machine);
	machine->host.ops = &ops;
	machine->host.workers = workers;
	machine->memory = memory_new();
	machine->state = calloc(1, nvme_controller_state_size());
	assert_non_null(machine->state);
	for (unsigned i = 0; i < ARRAY_SIZE(machine->calls); i++)
		machine->calls[i].end = &machine->calls[i].first;
	machine->config = (struct nvme_controller_config){
		.serial = "VN0001",
		.uuid = { 1, 2, 3 },
		.cntlid = 7,
		.queues = MACHINE_QUEUES,
		.vectors = MACHINE_QUEUES + 1,
	};
	machine->ctrl = nvme_controller_new(&machine->config, &machine->host, machine->state, NULL);
	assert_non_null(machine->ctrl);
	make_workers(machine);
	return machine;
}

static void end_process(struct machine *machine)
{
	for (unsigned i = 0; i < machine->host.workers; i++) {
		nvme_worker_free(machine->workers[i]);
		machine->workers[i] = NULL;
	}
	nvme_controller_free(machine->ctrl);
	machine->ctrl = NULL;
	machine->fence.fn = NULL;
}

void machine_die(struct machine *machine, struct machine_disk *disk)
{
	machine_disk_die(machine, disk);
	end_process(machine);
	for (unsigned i = 0; i < ARRAY_SIZE(machine->calls); i++) {
		machine->calls[i].first = NULL;
		machine->calls[i].end = &machine->calls[i].first;
	}
	for (struct machine_message *message = machine->messages; message; message = message->next)
		message->old = true;
	machine->after_count = 0;
	machine->writes = machine->writes_executed = 0;
	machine->writes_pending = machine->cancelled = false;
}

void machine_lose_messages(struct machine *machine, unsigned (*choose)(unsigned n))
{
	struct machine_message **end = &machine->messages, *message;

	while (*end && choose(4))
		end = &(*end)->next;
	while ((message = *end)) {
		*end = message->next;
		free(message);
	}
}

struct nvme_controller *machine_restart(struct machine *machine, struct error **errp)
{
	end_process(machine);
	return machine_adopt(machine, errp);
}

struct nvme_controller *machine_adopt(struct machine *machine, struct error **errp)
{
	machine->ctrl = nvme_controller_new(&machine->config, &machine->host, machine->state, errp);
	if (machine->ctrl)
		make_workers(machine);
	return machine->ctrl;
}

void machine_free(struct machine *machine)
{
	while (machine_execute_one(machine))
		;
	end_process(machine);
	free(machine->state);
	memory_free(machine->memory);
	memory_free(machine->retired);
	free(machine);
}

static bool run_calls(struct machine *machine, unsigned i)
{
	struct nvme_host_call *call = machine->calls[i].first, *next;
	bool any = call;

	/* Those that are sent meanwhile have their turn later. */
	machine->calls[i].first = NULL;
	machine->calls[i].end = &machine->calls[i].first;
	for (; call; call = next) {
		next = call->next;
		call->run(call);
	}
	return any;
}

bool machine_run_worker(struct machine *machine, unsigned worker)
{
	bool any = run_calls(machine, worker);

	return nvme_worker_poll(machine->workers[worker]) || any;
}

bool machine_run_control(struct machine *machine)
{
	return run_calls(machine, MACHINE_WORKERS);
}

void machine_run(struct machine *machine)
{
	bool any = true;

	for (unsigned turns = 0; any; turns++) {
		assert_true(turns < 100000);
		any = machine_run_control(machine);
		for (unsigned i = 0; i < machine->host.workers; i++)
			any |= machine_run_worker(machine, i);
	}
	for (unsigned i = 0; i < machine->host.workers; i++)
		assert_true(nvme_worker_arm(machine->workers[i]));
}

uint64_t machine_alloc(struct machine *machine, unsigned pages)
{
	uint64_t iova = MACHINE_BASE + machine->allocated;

	machine->allocated += (uint64_t)pages * NVME_PAGE_SIZE;
	assert_true(machine->allocated <= MACHINE_MEMORY);
	return iova;
}

void *machine_at(struct machine *machine, uint64_t iova)
{
	return machine->memory + (iova - MACHINE_BASE);
}

void machine_move_memory(struct machine *machine)
{
	uint8_t *memory = memory_new();

	memcpy(memory, machine->memory, MACHINE_MEMORY);
	memory_free(machine->retired);
	machine->retired = machine->memory;
	machine->memory = memory;
	machine->host.map_generation++;
}

uint32_t machine_read32(struct machine *machine, uint64_t offset)
{
	uint32_t value;

	nvme_controller_read(machine->ctrl, offset, &value, sizeof(value));
	return value;
}

uint64_t machine_read64(struct machine *machine, uint64_t offset)
{
	uint64_t value;

	nvme_controller_read(machine->ctrl, offset, &value, sizeof(value));
	return value;
}

void machine_write32(struct machine *machine, uint64_t offset, uint32_t value)
{
	nvme_controller_write(machine->ctrl, offset, &value, sizeof(value));
}

static void make_rings(struct machine *machine, unsigned id, unsigned entries)
{
	struct machine_queue *queue = &machine->queues[id];

	*queue = (struct machine_queue){
		.sq = machine_alloc(machine, DIV_ROUND_UP(entries * 64, NVME_PAGE_SIZE)),
		.cq = machine_alloc(machine, DIV_ROUND_UP(entries * 16, NVME_PAGE_SIZE)),
		.sq_entries = entries,
		.cq_entries = entries,
		.phase = 1,
	};
	memset(machine_at(machine, queue->cq), 0, (size_t)entries * 16);
}

void machine_enable(struct machine *machine)
{
	struct machine_queue *admin = &machine->queues[0];

	make_rings(machine, 0, MACHINE_ENTRIES);
	machine_write32(machine, NVME_REG_AQA, (MACHINE_ENTRIES - 1) << 16 | (MACHINE_ENTRIES - 1));
	nvme_controller_write(machine->ctrl, NVME_REG_ASQ, &admin->sq, 8);
	nvme_controller_write(machine->ctrl, NVME_REG_ACQ, &admin->cq, 8);
	machine_write32(machine, NVME_REG_CC, 4 << 20 | 6 << 16 | NVME_CC_EN);
	machine_run(machine);
	assert_int_equal(machine_read32(machine, NVME_REG_CSTS), NVME_CSTS_RDY);
}

void machine_create_queue(struct machine *machine, unsigned id, unsigned entries)
{
	struct machine_queue *queue = &machine->queues[id];

	make_rings(machine, id, entries);
	assert_status(machine_execute(machine, 0, machine_create_cq(id, entries, queue->cq, id)),
		      0);
	assert_status(machine_execute(machine, 0, machine_create_sq(id, entries, queue->sq, id)),
		      0);
}

uint16_t machine_put(struct machine *machine, unsigned id, struct nvme_command command)
{
	struct machine_queue *queue = &machine->queues[id];
	struct nvme_command *slots = machine_at(machine, queue->sq);

	command.cid = machine->next_cid++;
	slots[queue->tail] = command;
	queue->tail = (queue->tail + 1) % queue->sq_entries;
	return command.cid;
}

/* Section 7.13: has the new value passed the event index? */
static bool passes(uint16_t event, uint16_t value, uint16_t old)
{
	return (uint16_t)(value - event - 1) < (uint16_t)(value - old);
}

static void doorbell(struct machine *machine, unsigned index, uint32_t value)
{
	if (machine->config.doorbell_page) {
		machine->config.doorbell_page[index] = value;
		return;
	}
	if (machine->shadow && index >= 2) {
		uint32_t *shadow = machine_at(machine, machine->shadow), old = shadow[index];
		const uint32_t *events = machine_at(machine, machine->events);

		shadow[index] = value;
		if (!passes(events[index], value, old))
			return;
	}
	machine->trapped++;
	machine_write32(machine, NVME_BAR0_DOORBELLS + index * 4, value);
}

void machine_shadow(struct machine *machine)
{
	uint64_t shadow = machine_alloc(machine, 1), events = machine_alloc(machine, 1);
	const struct nvme_command command = { .opcode = NVME_ADMIN_DOORBELL_BUFFER,
					      .prp1 = shadow,
					      .prp2 = events };

	assert_status(machine_execute(machine, 0, command), 0);
	machine->shadow = shadow;
	machine->events = events;
}

void machine_ring(struct machine *machine, unsigned id)
{
	doorbell(machine, id * 2, machine->queues[id].tail);
}

uint16_t machine_submit(struct machine *machine, unsigned id, struct nvme_command command)
{
	uint16_t cid = machine_put(machine, id, command);

	machine_ring(machine, id);
	return cid;
}

bool machine_peek(struct machine *machine, unsigned id, struct machine_completion *ret)
{
	struct machine_queue *queue = &machine->queues[id];
	struct nvme_completion *slots = machine_at(machine, queue->cq);
	const struct nvme_completion *slot = &slots[queue->head];
	uint16_t status = slot->last >> 17;

	if ((slot->last >> 16 & 1) != queue->phase)
		return false;
	*ret = (struct machine_completion){
		.cid = slot->last,
		.sqid = slot->sqid,
		.sq_head = slot->sq_head,
		.status = status & 0x7ff,
		.dnr = status & NVME_DNR,
		.result = slot->result,
	};
	if (++queue->head == queue->cq_entries) {
		queue->head = 0;
		queue->phase ^= 1;
	}
	return true;
}

bool machine_take(struct machine *machine, unsigned id, struct machine_completion *ret)
{
	if (!machine_peek(machine, id, ret))
		return false;
	doorbell(machine, id * 2 + 1, machine->queues[id].head);
	return true;
}

struct machine_completion machine_execute(struct machine *machine, unsigned id,
					  struct nvme_command command)
{
	struct machine_completion completion, second;
	uint16_t cid = machine_submit(machine, id, command);

	machine_run(machine);
	assert_true(machine_take(machine, id, &completion));
	assert_int_equal(completion.cid, cid);
	assert_int_equal(completion.sqid, id);
	assert_false(machine_take(machine, id, &second));
	return completion;
}

struct nvme_command machine_rw(uint8_t opcode, uint64_t lba, unsigned blocks, uint64_t prp1,
			       uint64_t prp2)
{
	return (struct nvme_command){
		.opcode = opcode,
		.nsid = 1,
		.prp1 = prp1,
		.prp2 = prp2,
		.cdw10 = lba,
		.cdw11 = lba >> 32,
		.cdw12 = (blocks - 1) & 0xffff,
	};
}

struct nvme_command machine_create_cq(unsigned id, unsigned entries, uint64_t base, unsigned vector)
{
	return (struct nvme_command){
		.opcode = NVME_ADMIN_CREATE_CQ,
		.prp1 = base,
		.cdw10 = id | (entries - 1) << 16,
		.cdw11 = NVME_QUEUE_CONTIGUOUS | NVME_CQ_INTERRUPTS | vector << 16,
	};
}

struct nvme_command machine_create_sq(unsigned id, unsigned entries, uint64_t base, unsigned cqid)
{
	return (struct nvme_command){
		.opcode = NVME_ADMIN_CREATE_SQ,
		.prp1 = base,
		.cdw10 = id | (entries - 1) << 16,
		.cdw11 = NVME_QUEUE_CONTIGUOUS | cqid << 16,
	};
}

struct nvme_command machine_get_log(uint8_t page, unsigned bytes, uint64_t offset, bool retain,
				    uint64_t prp1)
{
	uint32_t dwords = bytes / 4 - 1;

	return (struct nvme_command){
		.opcode = NVME_ADMIN_GET_LOG,
		.nsid = NVME_NSID_ALL,
		.prp1 = prp1,
		.cdw10 = page | (retain ? NVME_LOG_RAE : 0) | dwords << 16,
		.cdw11 = dwords >> 16,
		.cdw12 = offset,
		.cdw13 = offset >> 32,
	};
}

static struct machine_disk *fixture_disk;

static int setup(void **state, unsigned workers)
{
	struct machine *machine = machine_new(workers);

	fixture_disk = machine_disk_new(8 * MiB);
	machine_attach(machine, 1, fixture_disk);
	machine_enable(machine);
	machine_create_queue(machine, 1, MACHINE_ENTRIES);
	machine_create_queue(machine, 2, MACHINE_ENTRIES);
	*state = machine;
	return 0;
}

struct machine_disk *machine_disk(struct machine *machine)
{
	return fixture_disk;
}

int machine_setup(void **state)
{
	return setup(state, 1);
}

int machine_setup_two_workers(void **state)
{
	return setup(state, 2);
}

int machine_setup_pattern(void **state)
{
	int r = machine_setup(state);

	for (size_t i = 0; i < fixture_disk->info.capacity; i++)
		fixture_disk->data[i] = i / 512 * 31 + i;
	return r;
}

int machine_teardown(void **state)
{
	machine_free(*state);
	machine_disk_free(fixture_disk);
	return 0;
}
