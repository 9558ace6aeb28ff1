// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Theory of operation
 *
 * What SMART counts is in the state, for as long as the guest is powered on.
 *
 * The controller is busy while an I/O command of any queue is outstanding. `busy` is one word: how
 * many workers have any, and since when that is not none. A worker changes it with its first, and
 * when it goes to sleep and has none: so a command costs neither a shared word nor a clock, and the
 * moments for which a worker polls for the next one count too. Who makes it 0 adds the time that has
 * passed to a sum of its own, so that each sum has one writer. The clock is the coarse one: wrong by
 * some milliseconds, as often one way as the other.
 * What a process that dies has begun is not counted.
 *
 * To the device, a reset of the machine (DEVICE_RESET) is a loss of power: after it all registers
 * are as after power-on. It was unsafe if the guest had begun to use the controller and had not shut
 * it down.
 */
#include "nvme/smart.h"

#include <time.h>

#include "base/clock.h"
#include "nvme/controller-private.h"
#include "nvme/identify.h"

#define MINUTE_US	   60000000ULL

#define BUSY_WORKERS(busy) ((busy)&0xff)
#define BUSY_SINCE(busy)   ((busy) >> 8)
_Static_assert(NVME_MAX_WORKERS <= 0xff, "their number in the word");

static uint64_t now_us(void)
{
	return clock_us(CLOCK_MONOTONIC_COARSE);
}

void nvme_smart_busy(struct nvme_worker *worker)
{
	uint64_t *busy = &worker->ctrl->busy, old = READ_ONCE(*busy), next;

	worker->busy = true;
	do {
		next = BUSY_WORKERS(old) ? old + 1 : now_us() << 8 | 1;
	} while (!__atomic_compare_exchange_n(busy, &old, next, false, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
}

void nvme_smart_idle(struct nvme_worker *worker)
{
	uint64_t *busy = &worker->ctrl->busy, old = READ_ONCE(*busy), next;

	if (!worker->busy || worker->outstanding)
		return;
	worker->busy = false;
	do {
		next = BUSY_WORKERS(old) == 1 ? 0 : old - 1;
	} while (!__atomic_compare_exchange_n(busy, &old, next, false, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	if (!next)
		WRITE_ONCE(worker->hand->busy_us,
			   worker->hand->busy_us + now_us() - BUSY_SINCE(old));
}

static uint64_t busy_us(const struct nvme_controller *ctrl)
{
	uint64_t sum = 0, busy = READ_ONCE(ctrl->busy);

	/* A predecessor may have had more workers. */
	for (unsigned i = 0; i < NVME_MAX_WORKERS; i++)
		sum += READ_ONCE(ctrl->state->hands[i].busy_us);
	if (busy)
		sum += now_us() - BUSY_SINCE(busy);
	return sum;
}

static uint64_t data_units(uint64_t bytes)
{
	return DIV_ROUND_UP(bytes, 512 * 1000);
}

/* The clock of this host, which need not be the one that it was powered on at. */
static uint64_t hours_since(uint64_t then)
{
	uint64_t now = time(NULL);

	return then && now > then ? (now - then) / 3600 : 0;
}

bool nvme_smart_is_too_hot(const struct nvme_state_features *features)
{
	return NVME_TEMPERATURE >= READ_ONCE(features->over_temperature) ||
	       NVME_TEMPERATURE <= READ_ONCE(features->under_temperature);
}

void nvme_smart_page(struct nvme_controller *ctrl, struct nvme_smart_log *page)
{
	const struct nvme_state *state = ctrl->state;
	struct nvme_state_counters total;

	nvme_namespace_total(ctrl, &total);
	if (nvme_smart_is_too_hot(&state->features))
		page->critical_warning |= NVME_WARNING_OF_TEMPERATURE;
	page->temperature[0] = NVME_TEMPERATURE & 0xff;
	page->temperature[1] = NVME_TEMPERATURE >> 8;
	page->available_spare = 100;
	page->available_spare_threshold = 10;
	page->data_units_read.low = data_units(total.read_bytes);
	page->data_units_written.low = data_units(total.write_bytes);
	page->host_reads.low = total.read_commands;
	page->host_writes.low = total.write_commands;
	page->busy_minutes.low = busy_us(ctrl) / MINUTE_US;
	page->power_cycles.low = READ_ONCE(state->power_cycles);
	page->power_on_hours.low = hours_since(state->powered_on);
	page->unsafe_shutdowns.low = READ_ONCE(state->registers.unsafe_shutdowns);
	page->media_errors.low = READ_ONCE(state->media_errors);
	page->error_log_entries.low = READ_ONCE(state->error_count);
}

/* A machine resets also what nobody has used yet: that is how it starts. */
void nvme_smart_lost_power(struct nvme_state *state)
{
	struct nvme_state_registers *registers = &state->registers;

	if (!registers->cc)
		return;
	NVME_STORE(state->power_cycles, state->power_cycles + 1);
	if ((registers->csts & NVME_CSTS_SHST_MASK) != NVME_CSTS_SHST_OVER)
		NVME_STORE(registers->unsafe_shutdowns, registers->unsafe_shutdowns + 1);
}
