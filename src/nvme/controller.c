// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/controller.h"

#include <errno.h>

#include "base/i18n.h"
#include "base/log.h"
#include "nvme/controller-private.h"
#include "nvme/doorbell.h"
#include "nvme/format.h"
#include "nvme/fused.h"
#include "nvme/interrupt.h"
#include "nvme/keep-alive.h"
#include "nvme/recovery.h"
#include "nvme/reservation-log.h"
#include "nvme/reservation.h"
#include "nvme/smart.h"

/*
 * Theory of operation
 *
 * A controller is stopped, running or stopping. Enabling is immediate: the control thread defines
 * the admin queue, sends it to worker 0 and says RDY; a doorbell that comes before the call has run
 * is found by it. Stopping (CC.EN 1 to 0, function level reset) is a round: every worker drops its
 * queues, so that what completes late posts nothing, and reports when it has nothing in flight.
 * After the last report the state is cleared and RDY goes. What arrives meanwhile, a reset or an
 * enable, is looked at then.
 *
 * A successor goes on with a stop that its predecessor had begun (`ending` in the state). Its own
 * workers have nothing to drain, but the predecessor's requests may still be under way, so it ends
 * when no namespace is haunted (namespace.h). Starting needs the guest's memory, which a successor
 * is given before the next message of the guest: an enable that a predecessor took, and has no RDY
 * to show for, is due at the next register access. So is asking for the end of what the predecessor
 * has posted to that memory; without a register access nobody sees that a stop has ended.
 */

struct nvme_reset_waiter {
	struct nvme_reset_waiter *next;
	void (*done)(void *opaque);
	void *opaque;
};

size_t nvme_controller_state_size(void)
{
	return sizeof(struct nvme_state);
}

size_t nvme_controller_state_used(unsigned queues)
{
	return offsetof(struct nvme_state, journals) +
	       (queues + 1) * sizeof(struct nvme_state_journal);
}

static bool serial_is_valid(const char *serial)
{
	size_t len = strnlen(serial, 21);

	if (!len || len > 20)
		return false;
	for (size_t i = 0; i < len; i++)
		if (serial[i] < ' ' || serial[i] > '~')
			return false;
	return true;
}

static int judge_config(const struct nvme_controller_config *config, const struct nvme_host *host,
			struct error **errp)
{
	if (!serial_is_valid(config->serial))
		return error_set(errp, EINVAL,
				 _("a serial number is 1 to 20 printable ASCII characters"));
	if (!config->queues || config->queues > NVME_MAX_IO_QUEUES)
		return error_set(errp, EINVAL, _("a controller has 1 to %u queues, not %u"),
				 NVME_MAX_IO_QUEUES, config->queues);
	if (!config->vectors || config->vectors > NVME_MAX_QUEUES)
		return error_set(errp, EINVAL, _("a controller has 1 to %u vectors, not %u"),
				 NVME_MAX_QUEUES, config->vectors);
	if (!host->workers || host->workers > NVME_MAX_WORKERS)
		return error_set(errp, EINVAL, _("a controller has 1 to %u I/O threads, not %u"),
				 NVME_MAX_WORKERS, host->workers);
	return 0;
}

static void reset_now(struct nvme_host_call *call);

static void start_on_worker(struct nvme_host_call *call)
{
	struct nvme_controller *ctrl = container_of(call, struct nvme_controller, start_call);

	nvme_cq_start(&ctrl->cqs[0], ctrl->workers[0]);
	nvme_sq_start(&ctrl->sqs[0], &ctrl->cqs[0]);
}

/* What was enabled and did not become ready, nor failed to. */
static bool start_is_due(const struct nvme_controller *ctrl)
{
	const struct nvme_state_registers *registers = &ctrl->state->registers;

	return registers->cc & NVME_CC_EN && !(registers->csts & (NVME_CSTS_RDY | NVME_CSTS_CFS));
}

/* The end of a stop or reset. */
static void clear_state(struct nvme_state *state)
{
	struct nvme_state_registers *registers = &state->registers;

	if (registers->ending & NVME_ENDING_POWER) {
		nvme_smart_lost_power(state);
		NVME_STORE(registers->ending, registers->ending & ~NVME_ENDING_POWER);
	}
	nvme_state_reset(state);
	if (registers->ending & NVME_ENDING_RESET) {
		registers->cc = registers->aqa = 0;
		registers->asq = registers->acq = 0;
		nvme_crash_point();
	}
	NVME_STORE(registers->ending, 0);
}

static void adopt(struct nvme_controller *ctrl)
{
	struct nvme_state_registers *registers = &ctrl->state->registers;
	bool enabled, ready;

	nvme_doorbell_adopt(ctrl);
	ctrl->epoch = 1;
	ctrl->unfenced = ctrl->fence_due = true;
	/* Nothing was under way any more, and the guest may have seen that it is over. */
	if (registers->ending && !registers->csts)
		clear_state(ctrl->state);
	enabled = registers->cc & NVME_CC_EN;
	ready = registers->csts & NVME_CSTS_RDY;
	if (registers->ending || (ready && !enabled)) {
		registers->ending |= NVME_ENDING_STOP;
		ctrl->resetting = registers->ending & NVME_ENDING_RESET;
		ctrl->phase = NVME_STOPPING;
		ctrl->drained = ctrl->inherited_stop = ctrl->stop_waits = true;
	} else if (ready) {
		ctrl->phase = NVME_RUNNING;
		ctrl->failed = registers->csts & NVME_CSTS_CFS;
		nvme_recovery_adopt(ctrl);
	}
	ctrl->start_due = ctrl->phase == NVME_STOPPED && start_is_due(ctrl);
	ctrl->shutdown_due = (registers->csts & NVME_CSTS_SHST_MASK) == NVME_CSTS_SHST_OCCURS;
	nvme_namespace_adopt(ctrl);
}

struct nvme_controller *nvme_controller_new(const struct nvme_controller_config *config,
					    struct nvme_host *host, void *state,
					    struct error **errp)
{
	_cleanup_free_ struct nvme_controller *ctrl = NULL;
	bool is_new = !((struct nvme_state *)state)->magic;

	if (judge_config(config, host, errp) < 0)
		return NULL;
	if (!is_new && nvme_state_judge(state, config->queues, config->vectors, errp) < 0)
		return NULL;
	ctrl = calloc(1, sizeof(*ctrl));
	if (!ctrl) {
		error_set_errno(errp, ENOMEM, _("controller %s"), config->serial);
		return NULL;
	}
	ctrl->config = *config;
	ctrl->host = host;
	ctrl->state = state;
	ctrl->frozen = config->frozen;
	ctrl->start_call.run = start_on_worker;
	ctrl->reset_call.run = reset_now;
	nvme_keep_alive_init(ctrl);
	for (unsigned id = 0; id < NVME_MAX_QUEUES; id++) {
		ctrl->sqs[id].id = ctrl->cqs[id].id = id;
		ctrl->sqs[id].state = &ctrl->state->sqs[id];
		ctrl->cqs[id].state = &ctrl->state->cqs[id];
	}
	if (is_new)
		nvme_state_init(state);
	else
		adopt(ctrl);
	return steal_pointer(ctrl);
}

void nvme_controller_begin(struct nvme_controller *ctrl)
{
	nvme_controller_go_on(ctrl);
}

void nvme_controller_free(struct nvme_controller *ctrl)
{
	if (!ctrl)
		return;
	for (unsigned i = 0; i < NVME_MAX_NAMESPACES; i++)
		nvme_namespace_free(ctrl->namespaces[i]);
	while (ctrl->reset_waiters) {
		struct nvme_reset_waiter *waiter = ctrl->reset_waiters;

		ctrl->reset_waiters = waiter->next;
		free(waiter);
	}
	free(ctrl);
}

/* Section 7.6.1: what CC and AQA, ASQ, ACQ must say for the controller to become ready. */
static bool can_start(const struct nvme_controller *ctrl)
{
	const struct nvme_state_registers *registers = &ctrl->state->registers;
	uint32_t cc = registers->cc, sqs = NVME_AQA_ASQS(registers->aqa),
		 cqs = NVME_AQA_ACQS(registers->aqa);

	return !NVME_CC_CSS(cc) && !NVME_CC_MPS(cc) && !NVME_CC_AMS(cc) && sqs && cqs &&
	       nvme_host_contains(ctrl->host, registers->asq, (size_t)(sqs + 1) << NVME_SQE_SHIFT,
				  NVME_HOST_READ) &&
	       nvme_host_contains(ctrl->host, registers->acq, (size_t)(cqs + 1) << NVME_CQE_SHIFT,
				  NVME_HOST_WRITE);
}

static void start(struct nvme_controller *ctrl)
{
	struct nvme_state *state = ctrl->state;
	struct nvme_state_registers *registers = &state->registers;

	if (!can_start(ctrl)) {
		log_guest(LOG_NOTICE,
			  "guest enables the controller with an impossible admin queue "
			  "or configuration: AQA 0x%x CC 0x%x",
			  registers->aqa, registers->cc);
		registers->csts = NVME_CSTS_CFS;
		return;
	}
	nvme_crash_point();
	state->sqs[0] = (struct nvme_state_sq){
		.base = registers->asq,
		.entries = NVME_AQA_ASQS(registers->aqa) + 1,
	};
	state->cqs[0] = (struct nvme_state_cq){
		.base = registers->acq,
		.entries = NVME_AQA_ACQS(registers->aqa) + 1,
		.position = 1u << NVME_POSITION_PHASE,
		.interrupts = true,
	};
	nvme_doorbell_start(ctrl);
	ctrl->epoch++;
	ctrl->phase = NVME_RUNNING;
	/* Before the first command can be fetched. */
	NVME_STORE(registers->csts, NVME_CSTS_RDY);
	nvme_host_call(ctrl->host, 0, &ctrl->start_call);
}

static void stop(struct nvme_controller *ctrl)
{
	if (ctrl->phase == NVME_STOPPING)
		return;
	/* A predecessor that was stopped had nothing under way. */
	ctrl->stop_waits = ctrl->phase == NVME_RUNNING;
	ctrl->phase = NVME_STOPPING;
	NVME_STORE(ctrl->state->registers.ending, ctrl->state->registers.ending | NVME_ENDING_STOP);
	ctrl->draining = ctrl->host->workers;
	nvme_host_cancel_reads(ctrl->host, true);
	for (unsigned i = 0; i < ctrl->host->workers; i++)
		nvme_host_call(ctrl->host, i, &ctrl->workers[i]->stop_call);
}

static void answer_waiters(struct nvme_controller *ctrl)
{
	struct nvme_reset_waiter *waiters = ctrl->reset_waiters;

	ctrl->reset_waiters = NULL;
	while (waiters) {
		struct nvme_reset_waiter *waiter = waiters;

		waiters = waiter->next;
		waiter->done(waiter->opaque);
		free(waiter);
	}
}

static void finish_stop(struct nvme_controller *ctrl)
{
	bool inherited = ctrl->inherited_stop;

	ctrl->drained = ctrl->inherited_stop = false;
	nvme_host_cancel_reads(ctrl->host, false);
	clear_state(ctrl->state);
	nvme_reservation_host_changed(ctrl);
	nvme_fused_forget(ctrl);
	nvme_format_forget(ctrl);
	nvme_keep_alive_begin(ctrl);
	ctrl->failed = false;
	ctrl->resetting = false;
	ctrl->phase = NVME_STOPPED;
	nvme_reservation_log_reset(ctrl);
	nvme_interrupt_update_intx(ctrl);
	answer_waiters(ctrl);
	if (inherited)
		ctrl->start_due = start_is_due(ctrl);
	else if (ctrl->phase == NVME_STOPPED && start_is_due(ctrl))
		start(ctrl);
}

/* A reset ends also while frozen: the machine stands still until it has, and wants nothing of what
 * there was; the one of a guest that arrives is reset before its state comes. */
void nvme_controller_go_on(struct nvme_controller *ctrl)
{
	bool alone = !ctrl->awaited && !ctrl->haunted;

	if (ctrl->drained && (alone || !ctrl->stop_waits) &&
	    (ctrl->resetting || (!ctrl->frozen && !ctrl->unfenced)))
		finish_stop(ctrl);
	if (ctrl->shutdown_due && alone && !ctrl->frozen)
		nvme_shutdown_go_on(ctrl);
}

void nvme_controller_wake(struct nvme_controller *ctrl)
{
	nvme_controller_go_on(ctrl);
	nvme_controller_check_frozen(ctrl);
	for (unsigned i = 0; i < ctrl->host->workers; i++)
		nvme_host_kick(ctrl->host, i);
}

/* Nothing of ours touches the guest's memory any more. */
static void stopped(struct nvme_controller *ctrl)
{
	ctrl->drained = true;
	nvme_controller_go_on(ctrl);
	nvme_controller_check_frozen(ctrl);
}

void nvme_controller_start_due(struct nvme_controller *ctrl)
{
	ctrl->start_due = false;
	if (ctrl->phase == NVME_STOPPED && start_is_due(ctrl))
		start(ctrl);
}

static void fenced(void *opaque, unsigned unused)
{
	struct nvme_controller *ctrl = opaque;

	ctrl->unfenced = false;
	nvme_controller_go_on(ctrl);
	nvme_controller_check_frozen(ctrl);
}

void nvme_controller_fence_due(struct nvme_controller *ctrl)
{
	ctrl->fence_due = false;
	nvme_host_fence(ctrl->host, fenced, ctrl, 0);
}

static void executed(void *opaque, unsigned stop_count)
{
	struct nvme_controller *ctrl = opaque;

	if (stop_count == ctrl->stop_count && --ctrl->unexecuted == 0)
		stopped(ctrl);
}

/*
 * The guest that sees CSTS.RDY at 0 takes its memory back: what goes by message must have been
 * executed. Whoever waits for a reset is the machine itself, which may execute nothing meanwhile;
 * there bus mastering, which a reset switches off, keeps late writes out.
 */
void nvme_controller_stopped(struct nvme_host_call *call)
{
	struct nvme_controller *ctrl = container_of(call, struct nvme_worker, stopped_call)->ctrl;

	if (--ctrl->draining)
		return;
	ctrl->stop_count++;
	if (ctrl->resetting) {
		stopped(ctrl);
		return;
	}
	ctrl->unexecuted = ctrl->host->workers;
	for (unsigned i = 0; i < ctrl->host->workers; i++)
		nvme_host_after_writes(ctrl->host, i, executed, ctrl, ctrl->stop_count);
}

/* A reset has come while the end of a stop waited for writes, own or a predecessor's. */
static void reset_now(struct nvme_host_call *call)
{
	struct nvme_controller *ctrl = container_of(call, struct nvme_controller, reset_call);

	ctrl->reset_called = false;
	if (ctrl->unexecuted) {
		ctrl->unexecuted = 0;
		ctrl->stop_count++;
		stopped(ctrl);
	} else {
		nvme_controller_go_on(ctrl);
	}
}

void nvme_controller_set_cc(struct nvme_controller *ctrl, uint32_t cc)
{
	uint32_t *csts = &ctrl->state->registers.csts, old = ctrl->state->registers.cc;

	if (ctrl->resetting)
		return;
	NVME_STORE(ctrl->state->registers.cc, cc);
	if (ctrl->phase == NVME_STOPPED && start_is_due(ctrl))
		start(ctrl);
	else if (old & ~cc & NVME_CC_EN && ctrl->phase == NVME_RUNNING)
		stop(ctrl);
	else if (old & ~cc & NVME_CC_EN)
		*csts &= ~NVME_CSTS_CFS;
	if (NVME_CC_SHN(cc) && !NVME_CC_SHN(old))
		nvme_shutdown_start(ctrl);
}

void nvme_controller_reset(struct nvme_controller *ctrl, void (*done)(void *opaque), void *opaque)
{
	struct nvme_reset_waiter **end = &ctrl->reset_waiters;

	/* A guest can ask again and again while we drain: the same waiter waits once. */
	for (; *end; end = &(*end)->next)
		if ((*end)->done == done && (*end)->opaque == opaque)
			return;
	*end = calloc(1, sizeof(**end));
	if (!*end)
		abort();
	(*end)->done = done;
	(*end)->opaque = opaque;
	ctrl->resetting = true;
	NVME_STORE(ctrl->state->registers.ending,
		   ctrl->state->registers.ending | NVME_ENDING_RESET);
	if ((ctrl->unexecuted || ctrl->drained) && !ctrl->reset_called) {
		ctrl->reset_called = true;
		nvme_host_call(ctrl->host, NVME_HOST_CONTROL, &ctrl->reset_call);
	}
	stop(ctrl);
}

void nvme_controller_lose_power(struct nvme_controller *ctrl)
{
	NVME_STORE(ctrl->state->registers.ending,
		   ctrl->state->registers.ending | NVME_ENDING_POWER);
}

void nvme_controller_set_bus_master(struct nvme_controller *ctrl, bool on)
{
	if (ctrl->bus_master == on)
		return;
	__atomic_store_n(&ctrl->bus_master, on, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; on && i < ctrl->host->workers; i++)
		nvme_host_kick(ctrl->host, i);
}

void nvme_controller_set_msix(struct nvme_controller *ctrl, bool enabled)
{
	__atomic_store_n(&ctrl->msix, enabled, __ATOMIC_SEQ_CST);
	nvme_interrupt_update_intx(ctrl);
}

void nvme_controller_status(const struct nvme_controller *ctrl, uint32_t *ret_cc,
			    uint32_t *ret_csts)
{
	*ret_cc = READ_ONCE(ctrl->state->registers.cc);
	*ret_csts = READ_ONCE(ctrl->state->registers.csts);
}

unsigned nvme_controller_direct_reads(const struct nvme_controller *ctrl)
{
	unsigned count = 0;

	for (unsigned i = 0; i < ctrl->host->workers; i++)
		count += READ_ONCE(ctrl->workers[i]->direct_reads);
	return count;
}

static uint64_t bytes_being_read(const struct nvme_controller *ctrl,
				 const struct nvme_command *command)
{
	const struct nvme_namespace *ns = nvme_namespace_find(ctrl, command->nsid);
	uint64_t blocks = (command->cdw12 & 0xffff) + 1;

	/* It may begin in the middle of a page. */
	return ns && command->opcode == NVME_IO_READ
		       ? ROUND_UP(blocks << ns->block_shift, NVME_PAGE_SIZE) + NVME_PAGE_SIZE
		       : 0;
}

uint64_t nvme_controller_bytes_being_read(const struct nvme_controller *ctrl)
{
	uint64_t bytes = 0;

	for (unsigned id = 1; id < NVME_MAX_QUEUES; id++) {
		const struct nvme_state_journal *journal = &ctrl->state->journals[id];

		for (unsigned slot = 0; slot < ctrl->state->sqs[id].slots; slot++)
			if (nvme_journal_stage(journal->slots[slot].word) != NVME_JOURNAL_FREE)
				bytes += bytes_being_read(ctrl, &journal->commands[slot]);
	}
	return bytes;
}

uint64_t nvme_controller_most_bytes_of_ours(const struct nvme_controller *ctrl)
{
	return (uint64_t)(NVME_MAX_ADMIN_ENTRIES << NVME_CQE_SHIFT) +
	       (uint64_t)ctrl->config.queues * (NVME_MAX_IO_ENTRIES << NVME_CQE_SHIFT) +
	       2 * NVME_PAGE_SIZE;
}

int nvme_controller_each_page_of_ours(const struct nvme_controller *ctrl,
				      int (*run)(void *opaque, uint64_t iova, uint64_t len),
				      void *opaque)
{
	const struct nvme_state_shadow *shadow = &ctrl->state->shadow;
	int ret = 0;

	for (unsigned id = 0; id < NVME_MAX_QUEUES && !ret; id++) {
		const struct nvme_state_cq *cq = &ctrl->state->cqs[id];

		if (LOAD_ACQUIRE(cq->entries))
			ret = run(opaque, cq->base, (uint64_t)cq->entries << NVME_CQE_SHIFT);
	}
	/* Event indexes, and once in a while a doorbell of a new queue. */
	if (!ret && LOAD_ACQUIRE(shadow->doorbells)) {
		ret = run(opaque, shadow->events, NVME_PAGE_SIZE);
		if (!ret)
			ret = run(opaque, shadow->doorbells, NVME_PAGE_SIZE);
	}
	return ret;
}
