// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/keep-alive.h"

#include "base/clock.h"
#include "base/log.h"
#include "nvme/controller-private.h"
#include "nvme/log-pages.h"
#include "nvme/request.h"

/*
 * Theory of operation
 *
 * A guest that has set a Keep Alive Timeout (feature 0Fh) says with it that it wants to be given up
 * when it is silent for so long. It is never so by default, and then there is no timer.
 *
 * Keep alive is by traffic (TBKAS): at the end of a period worker 0 compares how many commands of all
 * queues have been fetched with how many had been at its beginning, so no command pays for it. Any is
 * enough for another period; the Keep Alive command has no other effect than to be one. So a silent
 * guest is given up after one period at least and two at most, as the specification has it.
 *
 * Time in which the guest cannot speak does not count. While we rest (frozen, handed over, waiting
 * for a predecessor's disks) nothing is looked at, and a new period begins afterwards, in a successor
 * too, because when it began is not in the state. Neither does time without bus mastering count, nor
 * a moment in which we have no room to fetch. Whether the guest ran at all only the machine knows:
 * at the end of a silent period it is asked (nvme_host_silent()) and says for how long it has run,
 * with nvme_controller_guest_ran(). No answer is an excuse.
 *
 * `step` hands the timer from worker 0 to the control thread and back, so each has it alone. The last
 * look is worker 0's, after it has fetched: what the guest has said while we asked still counts.
 *
 * Then the controller has failed: an entry in the error log, CSTS.CFS, and it rests until it is reset.
 * That is in the state: a successor rests, too.
 */

/* What KAS counts, and how long the shortest is. */
#define UNIT_MS	   1000
#define LONGEST_MS (UINT32_MAX / UNIT_MS * UNIT_MS)
_Static_assert(UNIT_MS == NVME_KEEP_ALIVE_UNITS * 100, "KAS");

static uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t period_ns(const struct nvme_controller *ctrl)
{
	return READ_ONCE(ctrl->state->keep_alive) * 1000000ULL;
}

static void call_control(struct nvme_controller *ctrl)
{
	struct nvme_keep_alive *timer = &ctrl->keep_alive;

	/* One that is under way looks at what is there now. */
	if (!__atomic_exchange_n(&timer->called, true, __ATOMIC_SEQ_CST))
		nvme_host_call(ctrl->host, NVME_HOST_CONTROL, &timer->call);
}

static void give_up(struct nvme_controller *ctrl)
{
	struct nvme_state_registers *registers = &ctrl->state->registers;

	if (ctrl->phase != NVME_RUNNING)
		return;
	log_guest(LOG_WARNING, "guest was silent for its Keep Alive Timeout of %u ms: failed",
		  READ_ONCE(ctrl->state->keep_alive));
	nvme_log_pages_add_timeout(ctrl);
	__atomic_store_n(&ctrl->failed, true, __ATOMIC_SEQ_CST);
	NVME_STORE(registers->csts, registers->csts | NVME_CSTS_CFS);
}

static void on_control(struct nvme_host_call *call)
{
	struct nvme_keep_alive *timer = container_of(call, struct nvme_keep_alive, call);
	struct nvme_controller *ctrl = container_of(timer, struct nvme_controller, keep_alive);

	__atomic_store_n(&timer->called, false, __ATOMIC_SEQ_CST);
	switch (LOAD_ACQUIRE(timer->step)) {
	case NVME_KEEP_ALIVE_ASKED:
		nvme_host_silent(ctrl->host);
		break;
	case NVME_KEEP_ALIVE_OVER:
		give_up(ctrl);
		break;
	}
}

void nvme_controller_guest_ran(struct nvme_controller *ctrl, uint64_t ms)
{
	struct nvme_keep_alive *timer = &ctrl->keep_alive;
	uint32_t asked = NVME_KEEP_ALIVE_ASKED;
	uint32_t next = ms >= READ_ONCE(ctrl->state->keep_alive) ? NVME_KEEP_ALIVE_CONFIRMED
								 : NVME_KEEP_ALIVE_EXCUSED;

	/* Worker 0 may begin anew meanwhile. */
	if (__atomic_compare_exchange_n(&timer->step, &asked, next, false, __ATOMIC_ACQ_REL,
					__ATOMIC_RELAXED))
		nvme_host_kick(ctrl->host, 0);
}

void nvme_keep_alive_init(struct nvme_controller *ctrl)
{
	ctrl->keep_alive.call.run = on_control;
}

void nvme_keep_alive(struct nvme_request *request)
{
	nvme_request_finish(request, NVME_SUCCESS);
}

nvme_status nvme_keep_alive_set(struct nvme_request *request)
{
	struct nvme_controller *ctrl = request->worker->ctrl;
	uint32_t ms = request->command.cdw11;

	if (ms > LONGEST_MS)
		return NVME_KEEP_ALIVE_INVALID | NVME_DNR;
	NVME_STORE(ctrl->state->keep_alive, DIV_ROUND_UP((uint64_t)ms, UNIT_MS) * UNIT_MS);
	nvme_keep_alive_begin(ctrl);
	return 0;
}

void nvme_keep_alive_begin(struct nvme_controller *ctrl)
{
	ctrl->keep_alive.since = 0;
	STORE_RELEASE(ctrl->keep_alive.step, NVME_KEEP_ALIVE_COUNTING);
}

/* Section 3.9.2: when the timer is active; and without bus mastering nothing is heard. */
static bool is_active(const struct nvme_controller *ctrl)
{
	const struct nvme_state_registers *registers = &ctrl->state->registers;

	return READ_ONCE(ctrl->state->keep_alive) && ctrl->sqs[0].live &&
	       !NVME_CC_SHN(READ_ONCE(registers->cc)) && READ_ONCE(ctrl->bus_master);
}

static void count(const struct nvme_controller *ctrl, uint64_t *ret_admin, uint64_t *ret_commands)
{
	*ret_commands = 0;
	*ret_admin = READ_ONCE(ctrl->state->sqs[0].fetched);
	for (unsigned id = 0; id < NVME_MAX_QUEUES; id++)
		*ret_commands += READ_ONCE(ctrl->state->sqs[id].fetched);
}

/* A queue that goes takes its number with it, and a command of the admin queue's has had it go. */
static bool has_spoken(const struct nvme_controller *ctrl)
{
	const struct nvme_keep_alive *timer = &ctrl->keep_alive;
	uint64_t admin, commands;

	count(ctrl, &admin, &commands);
	return admin != timer->admin || commands != timer->commands ||
	       !nvme_host_write_room(ctrl->host);
}

static void begin_now(struct nvme_controller *ctrl, uint64_t now)
{
	struct nvme_keep_alive *timer = &ctrl->keep_alive;

	timer->since = now;
	count(ctrl, &timer->admin, &timer->commands);
	STORE_RELEASE(timer->step, NVME_KEEP_ALIVE_COUNTING);
}

bool nvme_keep_alive_poll(struct nvme_controller *ctrl)
{
	struct nvme_keep_alive *timer = &ctrl->keep_alive;
	uint32_t step;
	uint64_t now;

	if (!READ_ONCE(ctrl->state->keep_alive))
		return false;
	if (!is_active(ctrl)) {
		nvme_keep_alive_begin(ctrl);
		return false;
	}
	step = LOAD_ACQUIRE(timer->step);
	if (step == NVME_KEEP_ALIVE_ASKED || step == NVME_KEEP_ALIVE_OVER)
		return false;
	now = now_ns();
	if (step == NVME_KEEP_ALIVE_COUNTING && timer->since &&
	    now - timer->since < period_ns(ctrl))
		return false;
	if (step == NVME_KEEP_ALIVE_EXCUSED || !timer->since || has_spoken(ctrl)) {
		begin_now(ctrl, now);
		return false;
	}
	STORE_RELEASE(timer->step, step == NVME_KEEP_ALIVE_COUNTING ? NVME_KEEP_ALIVE_ASKED
								    : NVME_KEEP_ALIVE_OVER);
	call_control(ctrl);
	return true;
}

int64_t nvme_keep_alive_wait(const struct nvme_controller *ctrl)
{
	const struct nvme_keep_alive *timer = &ctrl->keep_alive;
	uint64_t end, now;

	if (!is_active(ctrl) || !timer->since ||
	    LOAD_ACQUIRE(timer->step) != NVME_KEEP_ALIVE_COUNTING)
		return -1;
	end = timer->since + period_ns(ctrl);
	now = now_ns();
	return end > now ? (int64_t)(end - now) : 0;
}
