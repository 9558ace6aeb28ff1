// SPDX-License-Identifier: LGPL-2.1-or-later
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

/*
 * The guest polls a completion's phase on another CPU: it may look between any two of our
 * instructions. So look between any two: a child posts, and its parent steps it.
 */
#define STALE 0xeeeeeeeeu

static void post_in_child(struct machine *machine)
{
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	machine_run_worker(machine, 0);
	_exit(0);
}

static void the_phase_comes_last(void **state)
{
	struct machine *machine = *state;
	struct nvme_completion *slot = machine_at(machine, machine->queues[1].cq);
	struct nvme_command command = { .opcode = NVME_IO_FLUSH, .nsid = 1 };
	unsigned steps = 0, torn = 0;
	int status;
	pid_t child;

	slot->result = slot->reserved = STALE;
	slot->sq_head = slot->sqid = (uint16_t)STALE;
	machine_submit(machine, 1, command);
	child = fork();
	assert_true(child >= 0);
	if (!child)
		post_in_child(machine);
	assert_int_equal(waitpid(child, &status, 0), child);
	while (WIFSTOPPED(status)) {
		if ((READ_ONCE(slot->last) >> 16 & 1) == 1 &&
		    (READ_ONCE(slot->result) == STALE || READ_ONCE(slot->reserved) == STALE ||
		     READ_ONCE(slot->sqid) != 1 || READ_ONCE(slot->sq_head) != 1))
			torn++;
		ptrace(PTRACE_SINGLESTEP, child, NULL, NULL);
		assert_int_equal(waitpid(child, &status, 0), child);
		steps++;
	}
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_true(steps > 100);
	assert_int_equal(slot->last >> 16, 1); /* success, phase 1 */
	assert_int_equal(torn, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_phase_comes_last, machine_setup,
						machine_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
