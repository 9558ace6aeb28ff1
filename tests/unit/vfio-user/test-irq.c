// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <sys/eventfd.h>

#include "base/fd.h"
#include "tests/unit/vfio-user/rig.h"

#define INTX	VFIO_PCI_INTX_IRQ_INDEX
#define MSIX	VFIO_PCI_MSIX_IRQ_INDEX
#define NONE	VFIO_IRQ_SET_DATA_NONE
#define BOOL	VFIO_IRQ_SET_DATA_BOOL
#define EVENTFD VFIO_IRQ_SET_DATA_EVENTFD
#define MASK	VFIO_IRQ_SET_ACTION_MASK
#define UNMASK	VFIO_IRQ_SET_ACTION_UNMASK
#define TRIGGER VFIO_IRQ_SET_ACTION_TRIGGER

static int events[4];

static int setup(void **state)
{
	unsigned i;

	for (i = 0; i < 4; i++)
		events[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return rig_setup(state);
}

static int teardown(void **state)
{
	fd_close_all(events, 4);
	return rig_teardown(state);
}

static int set_fds(struct rig *rig, uint32_t index, uint32_t start, uint32_t count)
{
	return rig_set_irqs(rig, EVENTFD | TRIGGER, index, start, count, NULL, 0, events, count);
}

static int set_none(struct rig *rig, uint32_t action, uint32_t index, uint32_t start,
		    uint32_t count)
{
	return rig_set_irqs(rig, NONE | action, index, start, count, NULL, 0, NULL, 0);
}

static void writes_the_eventfd_of_its_vector(void **state)
{
	struct rig *rig = *state;

	vfio_user_irq_trigger(rig->irq, 5); /* nobody there yet */
	assert_int_equal(set_fds(rig, MSIX, 5, 2), 0);
	assert_int_equal(rig->pauses, 1);
	assert_true(fd_eventfd_drain(events[0]));
	assert_false(fd_eventfd_drain(events[1]));
	vfio_user_irq_trigger(rig->irq, 5);
	assert_true(fd_eventfd_drain(events[0]));
	assert_false(fd_eventfd_drain(events[1]));
	vfio_user_irq_trigger(rig->irq, 6);
	assert_true(fd_eventfd_drain(events[1]));
	vfio_user_irq_trigger(rig->irq, RIG_VECTORS);
	vfio_user_irq_trigger(rig->irq, UINT32_MAX);
	vfio_user_irq_trigger_all(rig->irq);
	assert_true(fd_eventfd_drain(events[0]));
	assert_true(fd_eventfd_drain(events[1]));
}

static void takes_eventfds_away(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(set_fds(rig, MSIX, 0, 3), 0);
	/* A part of them: no descriptors. */
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, 1, 1, NULL, 0, NULL, 0), 0);
	vfio_user_irq_trigger_all(rig->irq);
	assert_true(fd_eventfd_drain(events[0]));
	assert_false(fd_eventfd_drain(events[1]));
	assert_true(fd_eventfd_drain(events[2]));
	/* All: no vectors. */
	assert_int_equal(set_none(rig, TRIGGER, MSIX, 0, 0), 0);
	vfio_user_irq_trigger_all(rig->irq);
	assert_false(fd_eventfd_drain(events[0]));
	assert_false(fd_eventfd_drain(events[2]));
}

static void triggers_on_request(void **state)
{
	struct rig *rig = *state;
	uint8_t which[3] = { 0, 1, 0 };

	assert_int_equal(set_fds(rig, MSIX, 0, 3), 0);
	assert_int_equal(set_none(rig, TRIGGER, MSIX, 0, 1), 0);
	assert_true(fd_eventfd_drain(events[0]));
	assert_false(fd_eventfd_drain(events[1]));
	assert_int_equal(rig_set_irqs(rig, BOOL | TRIGGER, MSIX, 0, 3, which, 3, NULL, 0), 0);
	assert_false(fd_eventfd_drain(events[0]));
	assert_true(fd_eventfd_drain(events[1]));
	assert_false(fd_eventfd_drain(events[2]));
}

static void a_masked_vector_is_pending(void **state)
{
	struct rig *rig = *state;
	uint8_t which[2] = { 0, 1 };

	assert_int_equal(set_fds(rig, MSIX, 0, 2), 0);
	assert_int_equal(set_none(rig, MASK, MSIX, 0, 2), 0);
	vfio_user_irq_trigger(rig->irq, 0);
	vfio_user_irq_trigger(rig->irq, 1);
	vfio_user_irq_trigger(rig->irq, 1);
	assert_false(fd_eventfd_drain(events[0]));
	assert_false(fd_eventfd_drain(events[1]));
	assert_int_equal(rig_set_irqs(rig, BOOL | UNMASK, MSIX, 0, 2, which, 2, NULL, 0), 0);
	assert_false(fd_eventfd_drain(events[0]));
	assert_true(fd_eventfd_drain(events[1]));
	assert_int_equal(set_none(rig, UNMASK, MSIX, 0, 2), 0);
	assert_true(fd_eventfd_drain(events[0]));
	assert_false(fd_eventfd_drain(events[1]));
}

static void intx_is_a_level(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(set_fds(rig, INTX, 0, 1), 0);
	vfio_user_irq_set_intx(rig->irq, true);
	assert_true(fd_eventfd_drain(events[0]));
	vfio_user_irq_set_intx(rig->irq, true);
	assert_false(fd_eventfd_drain(events[0]));
	/* EOI with the level still high: again. */
	assert_int_equal(set_none(rig, UNMASK, INTX, 0, 1), 0);
	assert_true(fd_eventfd_drain(events[0]));
	vfio_user_irq_set_intx(rig->irq, false);
	assert_int_equal(set_none(rig, UNMASK, INTX, 0, 1), 0);
	assert_false(fd_eventfd_drain(events[0]));
	vfio_user_irq_set_intx(rig->irq, true);
	assert_true(fd_eventfd_drain(events[0]));
}

static void intx_raised_early_is_told_later(void **state)
{
	struct rig *rig = *state;

	vfio_user_irq_set_intx(rig->irq, true);
	assert_int_equal(set_fds(rig, INTX, 0, 1), 0);
	assert_true(fd_eventfd_drain(events[0]));
}

static void intx_is_unmasked_by_an_eventfd(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(set_fds(rig, INTX, 0, 1), 0);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | UNMASK, INTX, 0, 1, NULL, 0, &events[1], 1),
			 0);
	vfio_user_irq_set_intx(rig->irq, true);
	assert_true(fd_eventfd_drain(events[0]));
	fd_eventfd_signal(events[1]);
	assert_int_equal(rig_process(rig), 0);
	assert_true(fd_eventfd_drain(events[0]));
	assert_int_equal(set_none(rig, TRIGGER, INTX, 0, 0), 0);
	fd_eventfd_signal(events[1]);
	assert_int_equal(rig_process(rig), 0);
	assert_false(fd_eventfd_drain(events[0]));
}

static void refuses_what_is_not_a_request(void **state)
{
	static const struct {
		uint32_t flags, index, start, count;
	} bad[] = {
		{ NONE | TRIGGER, VFIO_PCI_NUM_IRQS, 0, 1 },
		{ NONE | TRIGGER, UINT32_MAX, 0, 1 },
		{ NONE | TRIGGER, VFIO_PCI_MSI_IRQ_INDEX, 0, 1 }, /* there is no MSI */
		{ NONE | TRIGGER, MSIX, RIG_VECTORS, 1 },
		{ NONE | TRIGGER, MSIX, RIG_VECTORS - 1, 2 },
		{ NONE | TRIGGER, MSIX, 1, UINT32_MAX },
		{ NONE | TRIGGER, MSIX, UINT32_MAX, 1 },
		{ NONE, MSIX, 0, 1 },
		{ TRIGGER, MSIX, 0, 1 },
		{ NONE | MASK | UNMASK, MSIX, 0, 1 },
		{ NONE | BOOL | TRIGGER, MSIX, 0, 1 },
		{ NONE | TRIGGER | 0x40, MSIX, 0, 1 },
		{ NONE | MASK, MSIX, 0, 0 },
		{ EVENTFD | TRIGGER, MSIX, 0, 0 },
		{ BOOL | TRIGGER, MSIX, 0, 1 }, /* without its byte */
		{ NONE | MASK, VFIO_PCI_ERR_IRQ_INDEX, 0, 1 },
		{ NONE | UNMASK, VFIO_PCI_REQ_IRQ_INDEX, 0, 1 },
	};
	struct rig *rig = *state;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(rig_set_irqs(rig, bad[i].flags, bad[i].index, bad[i].start,
					      bad[i].count, NULL, 0, NULL, 0),
				 EINVAL);
	/* The number of descriptors. */
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, 0, 2, NULL, 0, events, 1),
			 EINVAL);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, 0, 1, NULL, 0, events, 2),
			 EINVAL);
	assert_int_equal(rig_set_irqs(rig, NONE | TRIGGER, MSIX, 0, 1, NULL, 0, events, 1), EINVAL);
	/* Masking by eventfd is not for edges. */
	assert_int_equal(rig_set_irqs(rig, EVENTFD | UNMASK, MSIX, 0, 1, NULL, 0, events, 1),
			 ENOTTY);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | MASK, INTX, 0, 1, NULL, 0, events, 1), ENOTTY);
	assert_int_equal(rig->disconnects, 0);
}

/* A write to a pipe that nobody reads would stop the device. */
static void takes_only_eventfds(void **state)
{
	struct rig *rig = *state;
	_cleanup_close_ int memfd = rig_memfd(4096);
	int pipes[2];

	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, 0, 1, NULL, 0, &pipes[1], 1),
			 EINVAL);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, 0, 1, NULL, 0, &memfd, 1),
			 EINVAL);
	fd_close_all(pipes, 2);
}

static void keeps_no_descriptor_too_many(void **state)
{
	struct rig *rig = *state;
	int before = dup(0), after;

	close(before);
	assert_int_equal(set_fds(rig, MSIX, 0, 4), 0);
	assert_int_equal(set_fds(rig, MSIX, 0, 4), 0);
	assert_int_equal(rig_set_irqs(rig, EVENTFD | TRIGGER, MSIX, 0, 2, NULL, 0, events, 1),
			 EINVAL);
	assert_int_equal(set_none(rig, TRIGGER, MSIX, 0, 0), 0);
	after = dup(0);
	close(after);
	assert_int_equal(before, after);
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(writes_the_eventfd_of_its_vector),
		test(takes_eventfds_away),
		test(triggers_on_request),
		test(a_masked_vector_is_pending),
		test(intx_is_a_level),
		test(intx_raised_early_is_told_later),
		test(intx_is_unmasked_by_an_eventfd),
		test(refuses_what_is_not_a_request),
		test(takes_only_eventfds),
		test(keeps_no_descriptor_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
