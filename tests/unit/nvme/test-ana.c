// SPDX-License-Identifier: LGPL-2.1-or-later
/* A controller that is one of several of a subsystem, and namespaces that others have as well. */
#include "tests/unit/nvme/machine.h"
#include "tests/unit/test.h"

static const uint8_t subsystem[16] = { 9, 8, 7 };
#define SUBNQN "nqn.2014-08.org.nvmexpress:uuid:09080700-0000-0000-0000-000000000000"

static struct machine_disk *second;

static void attach(struct machine *machine, uint32_t nsid, struct machine_disk *disk, bool shared)
{
	const struct nvme_namespace_config config = { .nsid = nsid, .shareable = shared };

	assert_int_equal(nvme_controller_attach(machine->ctrl, &config, (struct block *)disk, NULL),
			 0);
}

/* Namespace 1 is shared, 2 is not. */
static void restart(struct machine *machine)
{
	assert_non_null(machine_restart(machine, NULL));
	attach(machine, 1, machine_disk(machine), true);
	attach(machine, 2, second, false);
	machine_run(machine);
}

static int setup(void **state)
{
	struct machine *machine;

	machine_setup(state);
	machine = *state;
	second = machine_disk_new(MiB);
	memcpy(machine->config.subsystem, subsystem, sizeof(subsystem));
	restart(machine);
	return 0;
}

static int teardown(void **state)
{
	machine_teardown(state);
	machine_disk_free(second);
	return 0;
}

static const void *identify(struct machine *machine, uint32_t cns, uint32_t nsid)
{
	uint64_t page = machine_alloc(machine, 1);

	assert_status(machine_execute(machine, 0,
				      (struct nvme_command){ .opcode = NVME_ADMIN_IDENTIFY,
							     .nsid = nsid,
							     .cdw10 = cns,
							     .prp1 = page }),
		      0);
	return machine_at(machine, page);
}

static void alone_it_is_the_only_one(void **state)
{
	struct machine *machine = *state;
	const struct nvme_identify_controller *controller;
	const struct nvme_identify_namespace *ns;

	memset(machine->config.subsystem, 0, sizeof(machine->config.subsystem));
	restart(machine);
	controller = identify(machine, NVME_CNS_CONTROLLER, 0);
	assert_int_equal(controller->cmic, 0);
	assert_int_equal(controller->anacap, 0);
	assert_int_equal(controller->mnan, 0);
	ns = identify(machine, NVME_CNS_NAMESPACE, 1);
	assert_int_equal(ns->nmic, 0);
	assert_int_equal(ns->anagrpid, 0);
	assert_status(machine_execute(machine, 0,
				      machine_get_log(NVME_LOG_ANA, 16, 0, false,
						      machine_alloc(machine, 1))),
		      NVME_INVALID_FIELD);
}

static void identify_says_it(void **state)
{
	struct machine *machine = *state;
	const struct nvme_identify_controller *controller =
		identify(machine, NVME_CNS_CONTROLLER, 0);
	const struct nvme_identify_namespace *ns;
	const struct nvme_identify_independent *independent;

	assert_int_equal(controller->cmic, NVME_CMIC_CONTROLLERS | NVME_CMIC_ANA);
	assert_string_equal(controller->subnqn, SUBNQN);
	assert_int_equal(controller->cntlid, 7);
	assert_int_equal(controller->nanagrpid, 1);
	assert_int_equal(controller->anagrpmax, 1);
	assert_true(controller->anatt > 0);
	/* Linux refuses ANA without it. */
	assert_int_equal(controller->mnan, controller->nn);
	for (uint32_t nsid = 1; nsid <= 2; nsid++) {
		ns = identify(machine, NVME_CNS_NAMESPACE, nsid);
		assert_int_equal(ns->nmic, nsid == 1);
		assert_int_equal(ns->anagrpid, 1);
		independent = identify(machine, NVME_CNS_INDEPENDENT_NAMESPACE, nsid);
		assert_int_equal(independent->nmic, nsid == 1);
		assert_int_equal(independent->anagrpid, 1);
	}
}

/* What two controllers say of a namespace is what makes it one disk. */
static void ids_are_of_the_subsystem(void **state)
{
	struct machine *machine = *state;
	struct nvme_identify_namespace ns[2];

	memcpy(&ns[0], identify(machine, NVME_CNS_NAMESPACE, 1), sizeof(ns[0]));
	machine->config.uuid[5] = 1;
	machine->config.cntlid = 8;
	restart(machine);
	memcpy(&ns[1], identify(machine, NVME_CNS_NAMESPACE, 1), sizeof(ns[1]));
	assert_memory_equal(&ns[0], &ns[1], sizeof(ns[0]));
	memset(machine->config.subsystem, 0, sizeof(machine->config.subsystem));
	restart(machine);
	memcpy(&ns[1], identify(machine, NVME_CNS_NAMESPACE, 1), sizeof(ns[1]));
	assert_memory_not_equal(ns[0].nguid, ns[1].nguid, sizeof(ns[0].nguid));
}

static void one_group_has_all(void **state)
{
	struct machine *machine = *state;
	uint64_t page = machine_alloc(machine, 1);
	const struct nvme_ana_log *log = machine_at(machine, page);
	const struct nvme_ana_group *group = (const void *)(log + 1);
	const uint32_t *nsids = (const void *)(group + 1);
	const uint32_t *supported = machine_at(machine, page);
	struct nvme_command command = machine_get_log(NVME_LOG_ANA, 512, 0, false, page);

	memset(machine_at(machine, page), 0xff, 4096);
	assert_status(machine_execute(machine, 0, command), 0);
	assert_int_equal(log->groups, 1);
	assert_int_equal(group->id, 1);
	assert_int_equal(group->state, NVME_ANA_OPTIMIZED);
	assert_int_equal(group->namespaces, 2);
	assert_int_equal(nsids[0], 1);
	assert_int_equal(nsids[1], 2);
	assert_int_equal(nsids[2], 0);

	command.cdw10 |= NVME_LOG_ANA_GROUPS_ONLY;
	assert_status(machine_execute(machine, 0, command), 0);
	assert_int_equal(group->state, NVME_ANA_OPTIMIZED);
	assert_int_equal(group->namespaces, 0);
	assert_int_equal(nsids[0], 0);

	assert_status(machine_execute(machine, 0,
				      machine_get_log(NVME_LOG_SUPPORTED, 1024, 0, false, page)),
		      0);
	assert_int_equal(supported[NVME_LOG_ANA], NVME_SUPPORTED);
}

static void expect_controllers(struct machine *machine, uint32_t cns, uint32_t nsid, unsigned count,
			       uint16_t id, uint16_t next)
{
	const uint16_t *list = identify(machine, cns, nsid);

	assert_int_equal(list[0], count);
	assert_int_equal(list[1], id);
	assert_int_equal(list[2], next);
	assert_int_equal(list[3], 0);
}

static void controllers_know_of_each_other(void **state)
{
	struct machine *machine = *state, *other = machine_new(1);
	struct nvme_peers peers = {};
	struct nvme_command command = { .opcode = NVME_ADMIN_IDENTIFY,
					.prp1 = machine_alloc(machine, 1),
					.cdw10 = NVME_CNS_ATTACHED_CONTROLLERS };

	expect_controllers(machine, NVME_CNS_CONTROLLERS, 0, 1, 7, 0);
	expect_controllers(machine, NVME_CNS_ATTACHED_CONTROLLERS, 1, 1, 7, 0);
	expect_controllers(machine, NVME_CNS_ATTACHED_CONTROLLERS, 3, 0, 0, 0);

	other->config.cntlid = 3;
	assert_non_null(machine_restart(other, NULL));
	nvme_controller_add_peer(machine->ctrl, other->ctrl, &peers);
	assert_int_equal(peers.all, 0); /* it is alone in its own */
	memcpy(other->config.subsystem, subsystem, sizeof(subsystem));
	assert_non_null(machine_restart(other, NULL));
	attach(other, 1, machine_disk(machine), true);
	attach(other, 3, second, false);
	nvme_controller_add_peer(machine->ctrl, other->ctrl, &peers);
	nvme_controller_add_peer(machine->ctrl, machine->ctrl, &peers);
	nvme_controller_set_peers(machine->ctrl, &peers);
	expect_controllers(machine, NVME_CNS_CONTROLLERS, 0, 2, 3, 7);
	expect_controllers(machine, NVME_CNS_CONTROLLERS | 4 << 16, 0, 1, 7, 0);
	expect_controllers(machine, NVME_CNS_CONTROLLERS | 8 << 16, 0, 0, 0, 0);
	expect_controllers(machine, NVME_CNS_ATTACHED_CONTROLLERS, 1, 2, 3, 7);
	expect_controllers(machine, NVME_CNS_ATTACHED_CONTROLLERS, 2, 1, 7, 0);
	expect_controllers(machine, NVME_CNS_ATTACHED_CONTROLLERS, 3, 1, 3, 0);
	machine_free(other);

	assert_status(machine_execute(machine, 0, command), NVME_INVALID_NAMESPACE);
	command.nsid = NVME_MAX_NAMESPACES + 1;
	assert_status(machine_execute(machine, 0, command), NVME_INVALID_NAMESPACE);
	command.nsid = NVME_NSID_ALL;
	assert_status(machine_execute(machine, 0, command), NVME_INVALID_FIELD);
}

static struct nvme_command read_one(struct machine *machine, uint32_t nsid)
{
	struct nvme_command command = machine_rw(NVME_IO_READ, 0, 1, machine_alloc(machine, 1), 0);

	command.nsid = nsid;
	return command;
}

static void count(void *opaque)
{
	++*(unsigned *)opaque;
}

static void detach(struct machine *machine, uint32_t nsid)
{
	unsigned gone = 0;

	assert_int_equal(nvme_controller_detach(machine->ctrl, nsid, count, &gone), 0);
	machine_run(machine);
	assert_int_equal(gone, 1);
}

/* No path is there for what is not shared. */
static void taken_is_to_be_tried_elsewhere(void **state)
{
	struct machine *machine = *state;
	struct machine_completion completion;

	detach(machine, 1);
	detach(machine, 2);
	completion = machine_execute(machine, 1, read_one(machine, 1));
	assert_status(completion, NVME_ANA_PERSISTENT_LOSS);
	assert_false(completion.dnr);
	completion = machine_execute(machine, 1, read_one(machine, 2));
	assert_status(completion, NVME_INVALID_FIELD);
	assert_true(completion.dnr);
	assert_status(machine_execute(machine, 1, read_one(machine, 3)), NVME_INVALID_FIELD);
	assert_status(machine_execute(machine, 1, read_one(machine, 0)), NVME_INVALID_NAMESPACE);

	assert_non_null(machine_restart(machine, NULL));
	assert_status(machine_execute(machine, 1, read_one(machine, 1)), NVME_ANA_PERSISTENT_LOSS);
	attach(machine, 1, machine_disk(machine), true);
	assert_status(machine_execute(machine, 1, read_one(machine, 1)), 0);
	assert_status(machine_execute(machine, 1, read_one(machine, 2)), NVME_INVALID_FIELD);
}

/* The command before it is executed, the next one is not lost between the two. */
static void taken_under_load(void **state)
{
	struct machine *machine = *state;
	struct machine_completion completion;
	unsigned gone = 0;

	machine_disk(machine)->hold = true;
	machine_submit(machine, 1, read_one(machine, 1));
	machine_run(machine);
	assert_int_equal(nvme_controller_detach(machine->ctrl, 1, count, &gone), 0);
	machine_submit(machine, 1, read_one(machine, 1));
	machine_run(machine);
	assert_int_equal(gone, 0);
	assert_true(machine_take(machine, 1, &completion));
	assert_status(completion, NVME_ANA_PERSISTENT_LOSS);
	machine_release(machine, machine_disk(machine));
	machine_run(machine);
	assert_int_equal(gone, 1);
	assert_true(machine_take(machine, 1, &completion));
	assert_status(completion, 0);
}

/* A process that dies in the middle of it has a successor that knows. */
static void taken_and_not_given_back(void **state)
{
	struct machine *machine = *state;
	const size_t size = nvme_controller_state_size();
	void *then = malloc(size);
	unsigned gone = 0;

	assert_int_equal(nvme_controller_detach(machine->ctrl, 1, count, &gone), 0);
	assert_non_null(then);
	memcpy(then, machine->state, size);
	machine_run(machine);
	assert_int_equal(gone, 1);
	memcpy(machine->state, then, size);
	free(then);
	assert_non_null(machine_restart(machine, NULL));
	nvme_controller_await_no_more(machine->ctrl);
	machine_run(machine);
	assert_status(machine_execute(machine, 1, read_one(machine, 1)), NVME_ANA_PERSISTENT_LOSS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(alone_it_is_the_only_one, setup, teardown),
		cmocka_unit_test_setup_teardown(identify_says_it, setup, teardown),
		cmocka_unit_test_setup_teardown(ids_are_of_the_subsystem, setup, teardown),
		cmocka_unit_test_setup_teardown(one_group_has_all, setup, teardown),
		cmocka_unit_test_setup_teardown(controllers_know_of_each_other, setup, teardown),
		cmocka_unit_test_setup_teardown(taken_is_to_be_tried_elsewhere, setup, teardown),
		cmocka_unit_test_setup_teardown(taken_under_load, setup, teardown),
		cmocka_unit_test_setup_teardown(taken_and_not_given_back, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
